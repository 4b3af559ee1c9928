"""What a bijection onto N(0, I) answers as a density: log-probabilities and samples."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from glow_app.bijections.bijection import Bijection
from glow_app.likelihood import standard_normal_log_density


class NormalDensity:
    r"""A mixin of priors and flows: the density whose latents are N(0, I).

    .. math:: \log p(x) = \log \mathcal N(f(x); 0, I) + \log|\det J|
    """

    latent_shape: tuple[int, ...]  # of a prior, which has one latent

    @property
    def latent_shapes(self) -> Sequence[tuple[int, ...]]:
        """The shape of each latent, without the batch."""
        return [self.latent_shape]

    def log_prob(self, x: Tensor, context: Any = None) -> Tensor:
        """Return the log-density of ``x`` in nats, (B,)."""
        latents, log_det = self(x, context)  # type: ignore[operator]
        return standard_normal_log_density([latents] if isinstance(latents, Tensor) else latents) + log_det

    @torch.no_grad()
    def sample(
        self,
        num: int,
        context: Any = None,
        temperature: float | Sequence[float] = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return ``num`` samples, (num, ...), of the density at temperature 1.

        Args:
            temperature: Factor of the base noise, for all latents or one for each.
            generator: Generator of the noise; the default of the parameters' device if None.
        """
        return self.rsample(num, context, temperature, generator)

    def rsample(
        self,
        num: int,
        context: Any = None,
        temperature: float | Sequence[float] = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return samples as :meth:`sample`, with their gradients, which pass through the inverse."""
        samples: Tensor = self.decode(self._noise(num, temperature, generator), context)  # type: ignore[attr-defined]
        return samples

    def sample_and_log_prob(
        self,
        num: int,
        context: Any = None,
        temperature: float | Sequence[float] = 1.0,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return samples with their gradients, as :meth:`rsample`, and their :meth:`log_prob`, in one pass."""
        noise = self._noise(num, temperature, generator)
        samples, log_det = self.inverse(noise, context)  # type: ignore[attr-defined]
        return samples, standard_normal_log_density([noise] if isinstance(noise, Tensor) else noise) - log_det

    def _noise(
        self, num: int, temperature: float | Sequence[float], generator: torch.Generator | None
    ) -> Tensor | list[Tensor]:
        shapes, like = self.latent_shapes, next(self.parameters())  # type: ignore[attr-defined]
        factors = [temperature] * len(shapes) if isinstance(temperature, (int, float)) else temperature
        device = like.device if generator is None else generator.device
        noise = [torch.randn(num, *shape, generator=generator, device=device, dtype=like.dtype) for shape in shapes]
        latents = [factor * level.to(like) for factor, level in zip(factors, noise, strict=True)]
        return latents[0] if isinstance(self, Bijection) else latents  # a multiscale flow has a list
