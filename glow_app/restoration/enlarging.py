"""Enlarging by a wavelet flow: the picture is a low band, whose details are drawn."""

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from glow_app.bijections import full_precision
from glow_app.flows import WaveletFlow
from glow_app.likelihood import means_to_real, means_to_uint8, require_finite
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.restoration.upscale import Upscale
from glow_app.seeding import image_generator


class Enlarge(Upscale):
    """Enlarge pictures by detail levels of a wavelet flow; the damage is means of pixels.

    The means of an enlarged picture are the small one, up to rounding, unless details exceed black or white.

    Args:
        num_details: Number of detail levels of the flow.
        factor: Ratio of the enlarged sides to the original ones: 2 for a detail level, 4 for two and so on. If None, 4,
            or what the flow has levels for.
    Raises:
        ValueError: If the flow has no levels for the factor.
    """

    def __init__(self, num_details: int, factor: int | None = None) -> None:
        factors = [2**count for count in range(1, num_details + 1)]
        self.factor, self.mixed = factor or min(4, factors[-1]), False
        if self.factor not in factors:
            raise ValueError(f"factor is {factor}; expected one of {', '.join(map(str, factors))} for this model")

    def damage(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the means."""
        return F.avg_pool2d(images.float(), self.factor).round().to(torch.uint8)


class DetailDraws:
    """Draws of a low band with details; arguments and attributes are those of draws of a restoration model.

    The detail levels are those for pictures of about this size. So with a quarter of the model's sides and a factor of
    4, draws have the details that samples of their seeds have.
    """

    def __init__(
        self,
        model: ImageModel,
        task: Enlarge,
        damaged: Tensor,
        condition: Tensor,
        seeds: Sequence[int],
        settings: GenerationSettings,
    ) -> None:
        assert isinstance(model.flow, WaveletFlow)
        self._model, self._low, self._seeds = model, damaged[None], seeds
        _, height, width = model.flow.image_shape
        count = task.factor.bit_length() - 1
        last = min(max(round(math.log2(height * width / damaged[0].numel()) / 2), count), model.flow.num_details)
        self._levels = slice(last - count, last)
        self._temperatures = settings.temperatures(len(model.flow.latent_shapes))[self._levels]
        self.is_certain = not any(self._temperatures)
        self.condition, self.estimate = condition, condition[0]
        self.draws = torch.empty(len(seeds), *condition.shape[1:], dtype=torch.uint8)
        self.overshoot, self.num_steps = torch.zeros(len(seeds)), 1 if self.is_certain else len(seeds)

    @torch.no_grad()
    def steps(self) -> Iterator[None]:
        """Write the draws, each in a step; all in one if they are the same."""
        model, flow = self._model, self._model.fastest_flow
        assert isinstance(flow, WaveletFlow)
        _, channels, height, width = self._low.shape
        low, context = means_to_real(self._low.to(model.device), model.num_bits, model.dtype), model.context(None, 1)
        shapes = [(1, 3 * channels, height << k, width << k) for k in reversed(range(len(self._temperatures)))]
        for number, seed in enumerate(self._seeds[: self.num_steps]):
            generator = image_generator(seed)
            noise = [torch.randn(shape, generator=generator).to(low) for shape in shapes]
            latents = [factor * level for factor, level in zip(self._temperatures, noise, strict=True)]
            with full_precision(model.device):
                values = require_finite(flow.decode_details(low, latents, self._levels.start, context)).cpu()
            self.draws[number:] = means_to_uint8(values, model.num_bits)
            self.overshoot[number:] = 256 * (values.abs().max() - 0.5).clamp(min=0)
            yield
