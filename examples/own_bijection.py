"""Write your own bijection, check its log-determinant, and compare it with the affine coupling.

    python examples/own_bijection.py

An affine coupling only shifts and scales, so a flow needs many of them to bend a Gaussian into separate clusters.
A coupling by splines bends on its own. Both learn eight Gaussians on a circle, whose entropy is known: the figure
printed is the Kullback-Leibler divergence of the flow from the truth, and 0 is perfect. A model of images takes the
class: ``Glow(image_shape, coupling=SplineCoupling)``.
"""

import argparse
import math
from collections.abc import Callable

import torch
from torch import Tensor

from glow_app.bijections import ActNorm, AffineCoupling, Bijection, Chain, Coupling, InvertibleConv1x1, SplineMap
from glow_app.likelihood import standard_normal_log_density
from glow_app.nn import ConvConditioner


class SplineCoupling(Coupling):
    r"""Spline coupling: bend the second half by monotone splines whose knots are functions of the first.

    .. math:: z_a = x_a, \qquad z_b = g(x_b; \theta(x_a)), \qquad \log|\det J| = \sum \log g'(x_b; \theta(x_a))

    The base class splits and joins the halves, runs the conditioner and initialises its actnorms. Identity at
    initialisation, because the conditioner's last layer starts at zero.

    Args:
        num_channels: Number of input channels :math:`C`; must be even.
        conditioner: From (B, C/2, H, W) to (B, 23 C/2, H, W).
    Shape:
        x: (B, C, H, W); context: (B, E), (B, E, H, W) or None, for the conditioner; z: same as x; log_det: (B,), nats.
    Raises:
        ValueError: If ``num_channels`` is odd, or the input has a different number of channels.
    References:
        Neural Spline Flows, Durkan et al. 2019, arXiv:1906.04032, section 3.
    """

    spline = SplineMap(num_bins=8, tail_bound=3.0)
    outputs_per_channel = spline.num_parameters

    def interpret(self, output: Tensor) -> tuple[Tensor, ...]:
        """Return the parameters of each value's spline, (B, C/2, H, W, 23)."""
        return (output.unflatten(1, (-1, self.outputs_per_channel)).movedim(2, -1),)

    def transform(self, x_b: Tensor, *theta: Tensor) -> tuple[Tensor, Tensor]:
        """Bend."""
        z_b, log_derivative = self.spline.forward(x_b, *theta)
        return z_b, log_derivative.flatten(1).sum(1)

    def inverse_transform(self, z_b: Tensor, *theta: Tensor) -> tuple[Tensor, Tensor]:
        """Bend back."""
        x_b, log_derivative = self.spline.inverse(z_b, *theta)
        return x_b, log_derivative.flatten(1).sum(1)


def spline_coupling(num_channels: int, hidden_channels: int) -> SplineCoupling:
    """Return a spline coupling with the conditioner of the Glow paper."""
    half = num_channels // 2
    return SplineCoupling(
        num_channels, ConvConditioner(half, SplineCoupling.outputs_per_channel * half, hidden_channels)
    )


def log_det_error() -> float:
    """Return the largest difference between the log-determinant and that of autograd's full Jacobian, in nats."""
    coupling = spline_coupling(num_channels=4, hidden_channels=8).double()
    x = torch.randn(3, 4, 2, 2, dtype=torch.float64)
    with torch.no_grad():
        coupling.initialize(x)
        for parameter in coupling.parameters():  # the identity's log-determinant would hide every mistake
            parameter.add_(0.3 * torch.randn_like(parameter))
        jacobians = [torch.func.jacrev(lambda x: coupling(x)[0])(image).view(16, 16) for image in x.split(1)]
        return float((torch.linalg.slogdet(torch.stack(jacobians)).logabsdet - coupling(x)[1]).abs().max())


CENTRES = 4 / 1.414 * torch.tensor([(math.cos(k * math.pi / 4), math.sin(k * math.pi / 4)) for k in range(8)])
STD = 0.5 / 1.414


def draw_gaussians(count: int, generator: torch.Generator) -> Tensor:
    """Return points, (count, 2), of eight equal Gaussians on a circle, as in FFJORD's toy code (arXiv:1810.01367)."""
    centres = CENTRES[torch.randint(8, (count,), generator=generator)]
    return centres + STD * torch.randn(count, 2, generator=generator)


def log_density(points: Tensor) -> Tensor:
    """Return their log-density at points (N, 2), (N,), nats."""
    squares = (points[:, None] - CENTRES).square().sum(-1) / (2 * STD**2)
    return (-squares).logsumexp(1) - math.log(8 * 2 * math.pi * STD**2)


def divergence(coupling: Callable[[], Bijection], steps: int) -> float:
    """Train a flow with these couplings; return its divergence from the truth on fresh points, in nats."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    flow = Chain(*(Chain(ActNorm(2), InvertibleConv1x1(2), coupling()) for _ in range(4)))

    def draw(count: int) -> Tensor:
        return draw_gaussians(count, generator)[:, :, None, None]  # a point is an image of two channels and one pixel

    def log_prob(x: Tensor) -> Tensor:
        z, log_det = flow(x)
        return standard_normal_log_density([z]) + log_det

    with torch.no_grad():
        flow.initialize(draw(1024))
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    for _ in range(steps):
        loss = -log_prob(draw(256)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        x = draw(10_000)
        return float((log_density(x[:, :, 0, 0]) - log_prob(x)).mean())


def main() -> None:
    """Print the error of the log-determinant, and the divergence of both flows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400, help="training steps of each flow (default: %(default)s)")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)  # networks this small gain nothing from more
    print(f"log-det: largest error {log_det_error():.1e} nats")
    couplings: dict[str, Callable[[], Bijection]] = {
        "affine": lambda: AffineCoupling(2, ConvConditioner(1, 2, hidden_channels=32)),
        "spline": lambda: spline_coupling(2, hidden_channels=32),
    }
    for name, coupling in couplings.items():
        print(f"{name} coupling: {divergence(coupling, arguments.steps):.3f} nats from the truth", flush=True)


if __name__ == "__main__":
    main()
