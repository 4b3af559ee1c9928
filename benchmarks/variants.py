"""Variants of this project's Glow, for the trials against the clock.

Steps with what is not part of the product are run in parts, and not as wholes as the product's own in training: "parts"
is its Glow run so, to tell what an idea brings from what it costs to do without.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from ideas import CheckerboardCoupling, MapCoupling, VariationalDequantisation, WeightNormConditioner
from peers import Architecture, Ours
from torch import Tensor

from glow_app.bijections import SplineMap
from glow_app.flows.glow import COUPLINGS
from glow_app.likelihood import bits_per_dim
from glow_app.nn import ConvConditioner

__all__ = ["VARIANTS"]

SPLINE = SplineMap(num_bins=4, tail_bound=3.0)


class Parts(ConvConditioner):
    """The paper's conditioner under another name, for which steps are run in parts."""


class Dequantised(Ours):
    """This project's Glow with variational dequantisation."""

    def __init__(self, architecture: Architecture, **options: Any) -> None:
        super().__init__(architecture, **options)
        self.noise = VariationalDequantisation(architecture.channels, architecture.width)

    def initialize(self, images: Tensor) -> None:
        super().initialize(images)
        self.noise.initialize(images)

    def forward(self, images: Tensor) -> Tensor:
        noise, log_density = self.noise(images)
        log_prob = self.log_prob((images + noise) / 256 - 0.5) - log_density
        return bits_per_dim(log_prob, math.prod(images.shape[1:]), num_bits=8)


class Checkerboards(Ours):
    """This project's Glow, every second of whose couplings is one of checkerboards."""

    def __init__(self, architecture: Architecture, **options: Any) -> None:
        super().__init__(architecture, **options)
        for level in self.model.flow.levels:
            steps: Any = list(level.bijections)[1:]  # type: ignore[arg-type]
            for number, step in enumerate(steps[1::2]):
                channels = step.bijections[1].num_channels
                conditioner = ConvConditioner(channels, 2 * channels, architecture.width)
                step.bijections[1] = CheckerboardCoupling(channels, conditioner, number % 2)


COUPLINGS["spline"] = (partial(MapCoupling, function=SPLINE), SPLINE.num_parameters)
VARIANTS: dict[str, Callable[..., Ours]] = {
    "whole": Ours,
    "parts": partial(Ours, conditioner=Parts),
    "weight-norm": partial(Ours, conditioner=WeightNormConditioner),
    "additive": partial(Ours, coupling="additive"),
    "spline": partial(Ours, coupling="spline"),
    "checkerboard": Checkerboards,
    "dequantised": Dequantised,
}
