"""The wavelet flow: a small Glow of coarse means, and for each finer scale a flow of the details given the means."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from glow_app.bijections import Bijection, Coupling, Haar
from glow_app.conditioning import Conditioning
from glow_app.flows.detail_flow import DetailFlow
from glow_app.flows.glow import Glow
from glow_app.flows.multiscale import MultiscaleFlow
from glow_app.flows.steps import ConditionerFactory, coupling_class, glow_step, per_level
from glow_app.likelihood import standard_normal_log_density
from glow_app.nn import ConvConditioner
from glow_app.nn.context import Context, prior_context
from glow_app.nn.shape_checks import require_at_least
from glow_app.priors import GaussianPrior
from glow_app.seeding import draw_rows
from glow_app.spec import register

# Pixels of the low band around a window in training; those beyond change the window by little more than rounding.
MARGIN = 4


@register("wavelet")
class WaveletFlow(MultiscaleFlow):
    r"""Each level splits an image into means of 2x2 pixels and details, and models the details given the means.

    .. math:: \log p(x) = \log p(l_n) + \sum_{i=1}^n \left(\log p(d_i \mid l_i) - D_i \log 2\right),
              \qquad (l_i, d_i) = \mathrm{Haar}(l_{i-1}), \quad l_0 = x

    where :math:`D_i` is the number of values of the low band :math:`l_i`. The coarsest means are modelled by a
    :class:`Glow` of ``num_levels`` levels, ``num_steps`` steps and ``hidden_channels``. Levels share no parameters. In
    training each detail level therefore sees only a window of an image, so that a step costs levels, not pixels.

    Args:
        image_shape: (C, H, W); H and W divisible by 2 as often as there are levels.
        num_levels: Levels of the Glow of the coarsest means.
        num_steps: Its steps per level; one number for all, or a list, the finest level first.
        hidden_channels: Width of its conditioners.
        detail_steps: Steps of each detail level, the finest first; as many as there are detail levels.
        detail_channels: Width of their conditioners.
        detail_features: Channels of the feature maps of their low bands.
        detail_blocks: Residual blocks of the networks of their low bands.
        coupling, conditioner, init: As for :class:`Glow`, for all levels.
        prior, conditioning: As for :class:`Glow`; the conditioning is also given to the detail levels, and must have a
            context of vectors.
        window: Side of the windows of details in training.
        images_per_window: In training, one in this many images of a batch shows a window; of smaller details, as many
            images as have that many values. One number for all detail levels, or a list, the finest first.
    Shape:
        See :class:`MultiscaleFlow`.
    Raises:
        ValueError: If a size does not fit, or the context of ``conditioning`` has feature maps.
    References:
        Wavelet Flow: Fast Training of High Resolution Normalizing Flows, Yu, Derpanis & Brubaker 2020,
        arXiv:2010.13821.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_levels: int = 2,
        num_steps: int | list[int] = 12,
        hidden_channels: int = 64,
        detail_steps: Sequence[int] = (8, 10),
        detail_channels: int | list[int] = 48,
        detail_features: int | list[int] = 48,
        detail_blocks: int | list[int] = 4,
        coupling: str | type[Coupling] = "affine",
        conditioner: ConditionerFactory = ConvConditioner,
        prior: Callable[[tuple[int, int, int], int], Bijection] = GaussianPrior,
        conditioning: Conditioning | None = None,
        init: Literal["whiten", "rotation"] = "whiten",
        window: int = 16,
        images_per_window: int | list[int] = 1,
    ) -> None:
        channels, height, width = image_shape
        num_details = len(detail_steps)
        if height % 2 ** (num_details + 1) or width % 2 ** (num_details + 1):
            raise ValueError(
                f"image_shape is {tuple(image_shape)}; with {num_details} detail levels, height and width must be "
                f"multiples of {2 ** (num_details + 1)}"
            )
        require_at_least(1, window=window)
        low_shape = (channels, height >> num_details, width >> num_details)
        base = Glow(low_shape, num_levels, num_steps, hidden_channels, coupling, conditioner, prior, conditioning, init)
        context_features = base.conditioning.features
        if not isinstance(context_features, int):
            kind = type(base.conditioning).__name__
            raise ValueError(f"{kind} has a context of feature maps, which a WaveletFlow does not take; use a Glow")
        of_details = {
            "detail_channels": detail_channels,
            "detail_features": detail_features,
            "detail_blocks": detail_blocks,
            "images_per_window": images_per_window,
        }
        widths, features, blocks, each_window = (
            per_level(value, num_details, name) for name, value in of_details.items()
        )
        of_coupling, whitens, details = coupling_class(coupling), init == "whiten", list[DetailFlow]()
        for k, w, f, b in zip(detail_steps, widths, features, blocks, strict=True):
            steps = [glow_step(3 * channels, w, f, of_coupling, conditioner, whitens and n == 0) for n in range(k)]
            details.append(DetailFlow(channels, context_features, steps, f, b))
        super().__init__(
            image_shape,
            [*([Haar()] for _ in details), *(level.bijections for level in base.levels)],  # type: ignore[list-item]
            [*details, *base.split_priors],
            base.prior,
            base.any_size,
            [*(channels for _ in details), *(sizes[0] for sizes in base.split_sizes[:-1])],
            base.conditioning,
        )
        self.num_details, self.window, self.images_per_window = num_details, window, each_window
        self.hidden_channels = max(widths[0], features[0])  # of the finest details, which have the most pixels

    @property
    def num_windowed(self) -> int:
        """Number of the finer levels, up to the coarsest of which training does not see all of all images."""
        sides = self.image_shape[1:]
        lows = [[side >> level + 1 for side in sides] for level in range(self.num_details)]
        windowed = [level for level, low in enumerate(lows) if max(low) > self.window or self._share(level, *low) < 1]
        return max(windowed, default=-1) + 1

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of images, and of their means of 2x2 pixels, 4x4 and so on, the coarsest last."""
        _, height, width = self.image_shape
        return [(height >> skipped, width >> skipped) for skipped in range(self.num_details + 1)]

    def latent_shapes_at(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Return the shape of each latent of an image of this height and width, the finest first.

        For half, a quarter and so on of ``image_shape``, these are the latents of the coarser levels alone: the means
        of 2x2 pixels, 4x4 and so on, which are images with a density of their own.

        Raises:
            ValueError: If the flow has no latents for images of this size.
        """
        if (height, width) in self.sizes[1:]:
            return self.latent_shapes[self.sizes.index((height, width)) :]
        return super().latent_shapes_at(height, width)

    def decode_details(self, low: Tensor, latents: Sequence[Tensor], first: int = 0, context: Context = None) -> Tensor:
        """Return images of which ``low`` are the means of 2x2 pixels, 4x4 and so on, with the latents of their details.

        Args:
            low: (B, C, H, W), of any height and width.
            latents: Latents of detail levels, one after another, the finest first: (B, 3C, H, W) for the last one, and
                twice the sides of the next for the others.
            first: Number of the first of these levels, 0 for the finest of the flow.
        """
        return self._decode_levels(low, latents, self._parts(context)[first : first + len(latents)])

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Context = None, generator: torch.Generator | None = None) -> None:
        """Initialise every data-dependent parameter from the batch ``x``, the details on a window of each image."""
        places = self._places(x, generator)
        for (_, _, prior, of_level), place in zip(self._parts_for(x, context)[: self.num_details], places, strict=True):
            assert isinstance(prior, DetailFlow)
            low = Haar.low_band(x)
            prior.level.initialize(*self._window(prior, x, low, of_level, place))
            x = low
        self._initialize_levels(x, self._parts(context)[self.num_details :])

    def detail_log_prob(
        self, x: Tensor, context: Context = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        r"""Return the means from which on all images are shown whole, and an estimate of the log-density of the rest.

        The estimate, (B,) in nats, is of all finer details given these means. Each of their levels shows a window of
        the first images of the batch; its terms are multiplied by the number of windows in an image, and by the images
        of the batch for each image shown. So the mean over the batch is unbiased, except for the borders of windows,
        beyond which steps see zeros.

        The gradient is that of the bits/dim of each level's own values. In the sum of all, the finest level, which has
        three quarters of the values, would have most of it.
        """
        num, total = x.shape[0], x.new_zeros(x.shape[0])
        places, parts = self._places(x, generator), self._parts_for(x, context)
        for level, (_, _, prior, of_level) in enumerate(parts[: self.num_windowed]):
            assert isinstance(prior, DetailFlow)
            low = Haar.low_band(x)
            shown = math.ceil(self._share(level, *low.shape[2:]) * num)
            of_shown = None if of_level is None else of_level[:shown]
            details, maps = self._window(prior, x[:shown], low[:shown], of_shown, places[level][:shown])
            z, log_det = prior.level(details, maps)
            log_prob = standard_normal_log_density([z]) + log_det - math.log(2) * (details[0].numel() // 3)
            log_prob = log_prob * (num / shown * low.shape[2:].numel() / details.shape[2:].numel())
            total = total + F.pad(_with_gradient_of(log_prob, 4.0 ** (level + 1) / 3), (0, num - shown))
            x = low
        return x, total

    def coarse_log_prob(self, x: Tensor, context: Context = None) -> Tensor:
        """Return the log-density of means that are shown whole, (B,), nats; gradients as in :meth:`detail_log_prob`."""
        log_probs = self.level_log_probs(x, context)
        factors = [4.0 ** (level + 1) / 3 for level in range(self.num_windowed, self.num_details)]
        factors += [4.0**self.num_details] * (log_probs.shape[1] - len(factors))
        return _with_gradient_of(log_probs, log_probs.new_tensor(factors)).sum(1)

    def _share(self, level: int, height: int, width: int) -> float:
        """Return the share of a batch's images that show a window of these means."""
        window = min(height, self.window) * min(width, self.window)
        return min(1.0, self.window**2 / (self.images_per_window[level] * window))

    def _places(self, x: Tensor, generator: torch.Generator | None) -> list[list[list[float]]]:
        """Return where windows lie, from 0 to 1, for each detail level and image: from above and from the left."""
        draws = draw_rows(torch.rand, (x.shape[0], self.num_details, 2), generator, x.device)
        return draws.transpose(0, 1).tolist()

    def _window(
        self, prior: DetailFlow, x: Tensor, low: Tensor, context: Tensor | None, place: Sequence[Sequence[float]]
    ) -> tuple[Tensor, Tensor]:
        """Return a window of the details of each image, and of their feature maps."""
        sides = low.shape[2:]
        window = [min(side, self.window) for side in sides]
        around = [min(side, w + 2 * MARGIN) for side, w in zip(sides, window, strict=True)]
        starts = [[int(p * (side - w + 1)) for p, side, w in zip(at, sides, window, strict=True)] for at in place]
        begins = [
            [min(max(start - MARGIN, 0), side - a) for start, side, a in zip(each, sides, around, strict=True)]
            for each in starts
        ]
        details = Haar()(_crops(x, [[2 * start for start in each] for each in starts], [2 * w for w in window]))[0]
        lows = _crops(low, begins, around)
        inner = [[s - b for s, b in zip(*pair, strict=True)] for pair in zip(starts, begins, strict=True)]
        maps = prior.feature_maps(prior_context(lows, lows, context))
        return details[:, prior.num_channels :], _crops(maps, inner, window)


def _crops(x: Tensor, starts: Sequence[Sequence[int]], size: Sequence[int]) -> Tensor:
    """Return the part of each image of a size, from its own start on."""
    height, width = size
    if x.shape[2:] == (height, width):
        return x
    return torch.stack(
        [image[:, top : top + height, left : left + width] for image, (top, left) in zip(x, starts, strict=True)]
    )


def _with_gradient_of(value: Tensor, factor: float | Tensor) -> Tensor:
    """Return the value with its gradient multiplied by a factor."""
    return value + (factor - 1) * (value - value.detach())
