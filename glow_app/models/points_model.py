"""The density of points in the plane."""

import math
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from glow_app.bijections import ActNorm, Bijection, Chain, Reshape
from glow_app.likelihood import standard_normal_log_density
from glow_app.models.module_state import is_initialized, model_hash, require_wide_weights, weights_device, weights_dtype
from glow_app.nn.class_path import describe_part
from glow_app.nn.shape_checks import require_at_least, require_vector
from glow_app.priors import GaussianPrior
from glow_app.seeding import image_generator


class PointsModel(nn.Module):
    r"""A prior of Glow as a density of points in the plane.

    .. math:: \log p(x) = \log \mathcal N(f(x); 0, I) + \log|\det J|

    in the units of the data: the first bijection standardises it and is part of the density. The prior sees a point as
    a latent of two channels and one pixel.

    Args:
        prior: Function of ``((2, 1, 1), 0)`` that returns the bijection onto N(0, I).
    Shape:
        x, z: (B, 2), real.
    Raises:
        ValueError: If points have another shape.
    """

    unit = "nats"
    examples = "points"
    dtype, device, initialized = property(weights_dtype), property(weights_device), property(is_initialized)
    hash = property(model_hash)

    def __init__(self, prior: Callable[[tuple[int, int, int], int], Bijection] = GaussianPrior) -> None:
        super().__init__()
        vector, shape = (2,), (2, 1, 1)
        # Not learned: its gradients would be in units of the data, and clipping the large ones of a small column would
        # make all others vanish. The Gaussian that begins every prior learns the same in standardised units.
        standardise = ActNorm(2, learned=False)
        self.flow = Chain(Reshape(vector, shape), standardise, prior(shape, 0), Reshape(shape, vector))

    @property
    def config(self) -> dict[str, object]:
        """Everything needed to rebuild the model without its weights, as plain types."""
        return {"prior": describe_part(self.flow.bijections[2])}

    @property
    def facts(self) -> dict[str, object]:
        """Facts about the data; none."""
        return {}

    def initialize(self, x: Tensor) -> None:
        """Set the standardisation from a batch; does nothing in an initialised model."""
        with torch.no_grad():
            self.flow.initialize(x.to(self.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Return the negative log-likelihood in nats, (B,): the training loss."""
        require_vector("this model", x, 2)
        z, log_det = self.flow(x.to(self.dtype))
        return -(standard_normal_log_density([z]) + log_det)

    @torch.no_grad()
    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of ``x``, (B,), nats."""
        return -self(x.to(self.device))

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Return the whitened latents of ``x``."""
        require_vector("this model", x, 2)
        return self.flow.encode(x.to(self.device, self.dtype))

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Return the points of the latents ``z``."""
        require_vector("this model", z, 2)
        return self.flow.decode(z.to(self.device, self.dtype))

    def sample(self, num: int, temperature: float = 1.0, seed: int = 0) -> Tensor:
        """Return ``num`` points, (num, 2), from base noise times the temperature.

        Raises:
            ValueError: If ``num`` is below 1, or the temperature is negative or not finite.
        """
        require_at_least(1, num=num)
        if not (math.isfinite(temperature) and temperature >= 0):
            raise ValueError(
                f"temperature is {temperature}; expected a finite number of at least 0 (1 samples the density)"
            )
        return self.decode(temperature * torch.randn(num, 2, generator=image_generator(seed)))

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        require_wide_weights(fn)
        return super()._apply(fn, recurse)
