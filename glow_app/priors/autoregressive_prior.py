"""Autoregressive priors: MAF and IAF."""

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal

from glow_app.bijections import AffineMap, Bijection, Inverse, MaskedAutoregressive, SplineMap
from glow_app.nn import MADE
from glow_app.nn.shape_checks import require_at_least, require_choice
from glow_app.priors.head_prior import HeadPrior, LatentShape
from glow_app.spec import register

# With more steps per layer, an IAF prior takes most of the time of a training step of a small Glow.
MANY_STEPS = 1024


@register("maf")
class MAFPrior(HeadPrior):
    r"""A Gaussian and a masked autoregressive flow on the flattened latent: fast to train, slow to sample.

    Every other layer has the values in reversed order.

    Density takes one network evaluation per layer. Sampling is sequential: one step per value or per hidden unit,
    whichever are fewer, in each layer; see :class:`~glow_app.bijections.MaskedAutoregressive`.

    Args:
        latent_shape: (C, H, W) of the last latent; or (D,), of vectors.
        context_features: Size :math:`E` of the context; 0 for none.
        num_layers: Autoregressive layers.
        hidden_features: Width of their networks.
        elementwise: "affine", or "spline" (rational-quadratic).
        num_bins: Bins of the spline.
        tail_bound: Half the interval of the spline.
        **options: As for their networks, :class:`~glow_app.nn.MADE`.
    Shape:
        x, z: (B, C, H, W) or (B, D); context: (B, E), (B, E, H, W) or None; log_det: (B,), nats.
    Raises:
        ValueError: If an argument is invalid.
    References:
        MAF, Papamakarios et al. 2017, arXiv:1705.07057; splines: arXiv:1906.04032.
    """

    options_of = MADE

    def __init__(
        self,
        latent_shape: LatentShape,
        context_features: int = 0,
        num_layers: int = 2,
        hidden_features: int = 64,
        elementwise: Literal["affine", "spline"] = "affine",
        num_bins: int = 8,
        tail_bound: float = 5.0,
        **options: Any,
    ) -> None:
        require_at_least(1, num_layers=num_layers)
        require_choice(("affine", "spline"), elementwise=elementwise)
        function = SplineMap(num_bins, tail_bound) if elementwise == "spline" else AffineMap()
        size = math.prod(latent_shape)
        layers = [
            MaskedAutoregressive(size, hidden_features, context_features, function, layer % 2 == 1, **options)
            for layer in range(num_layers)
        ]
        super().__init__(latent_shape, context_features, self._directed(layers))

    def _directed(self, layers: list[MaskedAutoregressive]) -> Sequence[Bijection]:
        return layers


@register("iaf")
class IAFPrior(MAFPrior):
    r"""A Gaussian and an inverse autoregressive flow: :class:`MAFPrior` with the costs exchanged.

    Sampling takes one network evaluation per layer. Density, and so training, is sequential; ``max_groups`` bounds the
    number of steps, and a warning is given where they will be slow. Arguments, shapes and errors as :class:`MAFPrior`.

    References:
        IAF, Kingma et al. 2016, arXiv:1606.04934.
    """

    def _directed(self, layers: list[MaskedAutoregressive]) -> Sequence[Bijection]:
        if (num_steps := layers[0].num_steps) > MANY_STEPS:
            warnings.warn(
                f"IAFPrior on a latent of {layers[0].num_features} values: training takes {num_steps} sequential "
                f"steps in each of {len(layers)} layers; use MAFPrior, which takes one, max_groups or more levels",
                stacklevel=3,
            )
        return [Inverse(layer) for layer in layers]
