"""Ideas of other papers, for the trials against the clock; none of them is part of the product."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from glow_app.bijections import AffineCoupling, AffineMap, Bijection, Chain, Squeeze
from glow_app.bijections.coupling import Coupling
from glow_app.bijections.elementwise import ElementwiseMap
from glow_app.nn import Conditioner, ConvConditioner, ZeroConv2d
from glow_app.running.reversible import recompute

__all__ = ["CheckerboardCoupling", "MapCoupling", "VariationalDequantisation", "WeightNormConditioner"]

TINY = 1e-6


class WeightNormConditioner(Conditioner):
    r"""The paper's network with weight normalisation, :math:`w = g\, v / \lVert v \rVert`, in place of actnorm.

    Args:
        in_channels: Channels of the conditioning half.
        out_channels: Parameters a pixel.
        hidden_channels: Width.
        context_features: Must be 0.
    References:
        Salimans & Kingma 2016, arXiv:1602.07868, with its initialisation on the first batch.
    """

    def __init__(self, in_channels: int, out_channels: int, hidden_channels: int, context_features: int = 0) -> None:
        super().__init__()
        assert context_features == 0, "the trials are without classes"
        self.first = weight_norm(nn.Conv2d(in_channels, hidden_channels, 3, padding=1))
        self.second = weight_norm(nn.Conv2d(hidden_channels, hidden_channels, 1))
        self.last = ZeroConv2d(hidden_channels, out_channels)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the parameters for ``x``."""
        x = x.contiguous(memory_format=torch.channels_last)
        return self.last(F.relu_(self.second(F.relu_(self.first(x)))))

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Normalise both hidden layers on the batch ``x`` and return ``forward(x, context)``."""
        h = x
        for layer in (self.first, self.second):
            found = layer(h)
            mean, std = found.mean((0, 2, 3)), found.std((0, 2, 3)) + TINY
            layer.parametrizations.weight.original0.div_(std[:, None, None, None])
            layer.bias.sub_(mean).div_(std)
            h = F.relu_(layer(h))
        return self.last(h)


class MapCoupling(Coupling):
    """A coupling of any increasing function of one number: splines, or an affine map that starts as the identity.

    References:
        Neural Spline Flows, Durkan et al. 2019, arXiv:1906.04032.
    """

    def __init__(self, num_channels: int, conditioner: Conditioner, function: ElementwiseMap) -> None:
        super().__init__(num_channels, conditioner)
        self.function = function

    def _interpret(self, output: Tensor) -> tuple[Tensor, ...]:
        return (output.unflatten(1, (-1, self.function.num_parameters)).movedim(2, -1),)

    def change(self, x_b: Tensor, *theta: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the function."""
        z_b, log_derivative = self.function.forward(x_b, theta[0])
        return z_b, log_derivative.flatten(1).sum(1)

    def change_back(self, z_b: Tensor, *theta: Tensor) -> tuple[Tensor, Tensor]:
        """Apply its inverse."""
        x_b, log_derivative = self.function.inverse(z_b, theta[0])
        return x_b, log_derivative.flatten(1).sum(1)


class CheckerboardCoupling(AffineCoupling):
    r"""An affine coupling whose halves are the squares of a chessboard: all channels of a pixel pass, or change.

    Args:
        num_channels: Channels :math:`C`.
        conditioner: From (B, C, H, W) to (B, 2C, H, W).
        parity: 0 or 1: which squares pass.
    References:
        RealNVP, Dinh et al. 2017, arXiv:1605.08803, section 3.4.
    """

    def __init__(self, num_channels: int, conditioner: Conditioner, parity: int) -> None:
        super().__init__(num_channels, conditioner)
        self.parity = parity

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Change every second pixel."""
        passes, *theta = self._theta(x, context)
        z, log_det = self.change(x, *theta)
        return torch.where(passes, x, z), log_det

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Change every second pixel back."""
        passes, *theta = self._theta(z, context)
        x, log_det = self.change_back(z, *theta)
        return torch.where(passes, z, x), log_det

    def initialize(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Initialise the conditioner on what it will see and return ``forward(x, context)``."""
        self.conditioner.initialize(x * self._passes(x), context)
        return self.forward(x, context)

    def _passes(self, x: Tensor) -> Tensor:
        rows, columns = (torch.arange(side, device=x.device) for side in x.shape[2:])
        return (rows[:, None] + columns + self.parity) % 2 == 0

    def _theta(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        passes = self._passes(x)
        shift, scale_minus_one = self.parameters_of(x * passes, context)
        return passes, shift, scale_minus_one.masked_fill(passes, 0.0)


# A coupling's own is for halves of the channels.
recompute.register(CheckerboardCoupling, recompute.dispatch(object))


class Swap(Bijection):
    """The halves of the channels change places."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return torch.cat(x.chunk(2, dim=1)[::-1], dim=1), x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.forward(z)


class SeesFeatures(Conditioner):
    """The paper's conditioner, which sees a map of features beside its half."""

    def __init__(self, in_channels: int, out_channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.network = ConvConditioner(in_channels + hidden_channels, out_channels, hidden_channels)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        assert context is not None
        return self.network(torch.cat([x, context.to(x.dtype)], dim=1))

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        assert context is not None
        return self.network.initialize(torch.cat([x, context.to(x.dtype)], dim=1))


class VariationalDequantisation(nn.Module):
    r"""Noise :math:`u \sim q(u \mid q)` that a small flow makes of uniform noise, given the image; uniform at first.

    .. math:: \log P(q) \ge \mathbb E_{u \sim q(u \mid q)} \left[\log p(q + u) - \log q(u \mid q)\right], \qquad
              u = \sigma(g(\sigma^{-1}(u_0); q))

    Args:
        num_channels: Of the images.
        hidden_channels: Width of features and conditioners.
        num_steps: Couplings.
    References:
        Flow++, Ho et al. 2019, arXiv:1902.00275, section 3.1.
    """

    def __init__(self, num_channels: int, hidden_channels: int, num_steps: int = 4) -> None:
        super().__init__()
        channels, width = 4 * num_channels, hidden_channels
        self.squeeze = Squeeze()
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()
        )
        steps: list[Bijection] = []
        for _ in range(num_steps):
            conditioner = SeesFeatures(channels // 2, 2 * (channels // 2), width)
            steps += [MapCoupling(channels, conditioner, AffineMap()), Swap()]
        self.flow = Chain(*steps)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return :math:`u`, (B, C, H, W), and :math:`\log q(u \mid q)`, (B,), nats, for uint8 images."""
        return self.noise(images, _uniform(images))

    def initialize(self, images: Tensor) -> None:
        """Initialise the conditioners on a batch."""
        self.noise(images, _uniform(images), initialize=True)

    def noise(self, images: Tensor, start: Tensor, initialize: bool = False) -> tuple[Tensor, Tensor]:
        """Return what :meth:`forward` does, of the uniform noise ``start``."""
        features = self.features(self.squeeze(images.to(start.dtype) / 255 - 0.5)[0])
        v, _ = self.squeeze(start.logit())
        v, log_det = self.flow.initialize(v, features) if initialize else self.flow(v, features)
        v, _ = self.squeeze.inverse(v)
        before, after = (_log_slope(one).flatten(1).sum(1) for one in (start.logit(), v))
        return v.sigmoid().clamp(TINY, 1 - TINY), before - log_det - after


def _uniform(images: Tensor) -> Tensor:
    return torch.rand(images.shape).clamp(TINY, 1 - TINY)


def _log_slope(v: Tensor) -> Tensor:
    return F.logsigmoid(v) + F.logsigmoid(-v)
