"""Autoregressive priors: masked, and its inverse."""

import math
import warnings
from collections.abc import Sequence
from typing import Literal

from glow_app.bijections import AffineMap, Bijection, Inverse, MaskedAutoregressive, SplineMap
from glow_app.priors.head import HeadPrior, LatentShape, require_layers

__all__ = ["IAFPrior", "MAFPrior"]

# Beyond it a training step of an inverse autoregressive prior takes longer than all the rest of a small Glow.
MANY_STEPS = 1024


class MAFPrior(HeadPrior):
    r"""A Gaussian and a masked autoregressive flow on the flattened latent: quick to train, slow to sample.

    Density in one pass a layer, sampling in a step a value (or a hidden unit, if these are fewer) a layer; see
    :class:`~glow_app.bijections.MaskedAutoregressive`.

    Args:
        latent_shape: (C, H, W) of the last latent.
        context_features: Size :math:`E` of the context; 0 for none.
        num_layers: Autoregressive layers.
        hidden_features: Width of their networks.
        num_blocks: Hidden blocks of a network.
        residual: Whether these are residual.
        elementwise: "affine", or "spline" (rational-quadratic).
        num_bins: Of the spline.
        tail_bound: Of the spline.
        ordering: "reversed", every other layer; or "random", another fixed permutation each.
        max_groups: Groups in which the values are taken, at most; as many as the width allows if None.
    Shape:
        x, z: (B, C, H, W); context: (B, E) or None; log_det: (B,), nats.
    Raises:
        ValueError: If a size or a name is none that there is.
    References:
        MAF, Papamakarios et al. 2017, arXiv:1705.07057; splines: arXiv:1906.04032.
    """

    def __init__(
        self,
        latent_shape: LatentShape,
        context_features: int = 0,
        num_layers: int = 2,
        hidden_features: int = 64,
        num_blocks: int = 1,
        residual: bool = True,
        elementwise: Literal["affine", "spline"] = "affine",
        num_bins: int = 8,
        tail_bound: float = 5.0,
        ordering: Literal["reversed", "random"] = "reversed",
        max_groups: int | None = None,
    ) -> None:
        require_layers(num_layers)
        if elementwise not in ("affine", "spline"):
            raise ValueError(f"elementwise is {elementwise!r}; expected affine or spline")
        if ordering not in ("reversed", "random"):
            raise ValueError(f"ordering is {ordering!r}; expected reversed or random")
        function = SplineMap(num_bins, tail_bound) if elementwise == "spline" else AffineMap()
        layers = [
            MaskedAutoregressive(
                math.prod(latent_shape),
                hidden_features,
                context_features,
                function,
                num_blocks,
                residual,
                "random" if ordering == "random" else "reversed" if layer % 2 else "natural",
                max_groups,
            )
            for layer in range(num_layers)
        ]
        config: dict[str, object] = {
            "num_layers": num_layers,
            "hidden_features": hidden_features,
            "num_blocks": num_blocks,
            "residual": residual,
            "elementwise": elementwise,
            "num_bins": num_bins,
            "tail_bound": tail_bound,
            "ordering": ordering,
            "max_groups": max_groups,
        }
        super().__init__(latent_shape, context_features, self._directed(layers), config)

    def _directed(self, layers: list[MaskedAutoregressive]) -> Sequence[Bijection]:
        return layers


class IAFPrior(MAFPrior):
    r"""A Gaussian and an inverse autoregressive flow: :class:`MAFPrior` with the costs exchanged.

    Sampling in one pass a layer; density, and so training, in a step a value (or a hidden unit, if these are fewer) a
    layer, each computing only what is new. ``max_groups`` bounds them; a warning says where they will be slow.
    Arguments, shapes and errors as :class:`MAFPrior`.

    References:
        IAF, Kingma et al. 2016, arXiv:1606.04934.
    """

    def _directed(self, layers: list[MaskedAutoregressive]) -> Sequence[Bijection]:
        if (num_steps := layers[0].num_steps) > MANY_STEPS:
            warnings.warn(
                f"IAFPrior on a latent of {layers[0].num_features} values: a training step takes {num_steps} steps in "
                f"each of {len(layers)} layers; MAFPrior trains in one, max_groups or more levels take fewer",
                stacklevel=3,
            )
        return [Inverse(layer) for layer in layers]
