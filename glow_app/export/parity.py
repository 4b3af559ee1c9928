"""Compare the images of an exported program with those of its model."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glow_app.export.program import Draw
from glow_app.likelihood import quantise
from glow_app.messages import pluralise
from glow_app.models.image_model import ImageModel

# Programs add numbers in another order, so a value near the border of two levels may be rounded either way: 1 to 6 in
# 100,000 pixels of a Fashion-MNIST model in onnxruntime, never by more than one level. Errors change far more.
MAX_SHARE = 1e-3
MAX_LEVELS = 1

BATCH_SIZES = (1, 2, 5)
TEMPERATURES = (0.7, 1.0)
GUIDANCES = (1.0, 1.25)

# Share of an image's values that may differ between the model in float32 and in float64; above, rounding dominates.
MAX_UNSURE = 0.01


@dataclass(frozen=True)
class Parity:
    """Comparison of a program with its model.

    Args:
        num_images: Number of compared images.
        num_unsure: Number of excluded images, for which the model itself gives another image in float64.
        num_values: Number of values in the compared images, over all channels.
        num_different: Number of values that differ.
        largest: Largest difference, in levels of the model's bits.
    """

    num_images: int
    num_unsure: int
    num_values: int
    num_different: int
    largest: int

    @property
    def share(self) -> float:
        """The share of values that differ."""
        return self.num_different / max(self.num_values, 1)

    def require(self) -> None:
        """Check that the program differs from its model by no more than rounding.

        Raises:
            ValueError: If more than :data:`MAX_SHARE` of the values differ, any value differs by more than
                :data:`MAX_LEVELS`, or fewer than half of the images could be compared.
        """
        if self.num_unsure > self.num_images:
            raise ValueError(
                f"{self.num_unsure} of {self.num_images + self.num_unsure} images of the model are decided by "
                "rounding, so that no program can be checked against it; nothing was written: train it for longer"
            )
        if self.share > MAX_SHARE or self.largest > MAX_LEVELS:
            raise ValueError(
                f"the program differs from the model in {self.share:.2%} of the pixels, by up to "
                f"{pluralise(self.largest, 'level')}; expected at most {MAX_SHARE:.1%} and "
                f"{pluralise(MAX_LEVELS, 'level')}; nothing was written: please report it"
            )

    def __str__(self) -> str:
        text = f"{1 - self.share:.4%} of the pixels equal, largest difference {pluralise(self.largest, 'level')}"
        return f"{text}, {self.num_images} images" + (f" ({self.num_unsure} unsure)" if self.num_unsure else "")


@torch.no_grad()
def compare(
    model: ImageModel,
    draw: Draw,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    temperatures: Sequence[float] = TEMPERATURES,
) -> Parity:
    """Compare images of a program with those of the model, over batch sizes, temperatures and classes.

    For a class-conditional model, every other image uses guidance.

    Args:
        model: The model, on the CPU.
        draw: The program, as read from its file.
        batch_sizes: Sizes of the batches at each temperature.
        temperatures: Temperatures of the noise.
    """
    wide = copy.deepcopy(model).double()
    parts: list[Tensor] = []
    num_unsure = first = 0
    for temperature in temperatures:
        for size in batch_sizes:
            seeds = range(first, first := first + size)
            latents = model.base_noise(seeds, temperature)
            inputs: tuple[Tensor | None, ...] = (None,)
            context = exact_context = None
            if model.flow.num_classes is not None:
                labels = torch.tensor(seeds) % model.flow.num_classes
                guidance = [GUIDANCES[seed % len(GUIDANCES)] for seed in seeds]
                inputs = (labels, torch.tensor(guidance, dtype=model.dtype))
                context, exact_context = (each.flow.embed(labels, guidance) for each in (model, wide))
            images = model.decode(latents, context=context)
            exact = wide.decode([level.double() for level in latents], context=exact_context)
            rounded = _differences(model, images, exact)
            sure = (rounded.amax(1) <= MAX_LEVELS) & ((rounded > 0).double().mean(1) <= MAX_UNSURE)
            parts.append(_differences(model, images, draw(latents, *inputs))[sure])
            num_unsure += int((~sure).sum())
    differences = torch.cat(parts)
    largest = int(differences.max()) if len(differences) else 0
    return Parity(len(differences), num_unsure, differences.numel(), int((differences > 0).sum()), largest)


def _differences(model: ImageModel, images: Tensor, others: Tensor) -> Tensor:
    """Return the absolute differences of two batches in levels, (B, D)."""
    if others.shape != images.shape or others.dtype != images.dtype:
        raise ValueError(
            f"the program draws {others.dtype} of shape {tuple(others.shape)}; expected {images.dtype} of shape "
            f"{tuple(images.shape)}; nothing was written: please report it"
        )
    levels, other_levels = (quantise(part, model.num_bits).short() for part in (images, others))
    return (levels - other_levels).abs().flatten(1)
