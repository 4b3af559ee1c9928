"""Measure how exactly a model inverts, on images and on inputs far from its training data."""

import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor

from glow_app.bijections import full_precision
from glow_app.data import ImageSet
from glow_app.evaluation.batches import batches
from glow_app.generation import reconstruct
from glow_app.likelihood import bin_centres, quantise
from glow_app.models.image_model import ImageModel

TEMPERATURES = (0.7, 1.0, 1.5, 2.0)
FACTORS = (4.0, 16.0)


@dataclass(frozen=True)
class Exactness:
    """How exactly images come back from their latents.

    Args:
        exact_images: Share of images recovered in every pixel.
        exact_values: Share of pixel values recovered.
        max_pixel_error: Largest difference, in grey levels of 255.
    """

    exact_images: float
    exact_values: float
    max_pixel_error: int


def exactness(model: ImageModel, images: ImageSet, batch_size: int = 64) -> Exactness:
    """Measure how exactly images are reconstructed, at the model's number of bits and precision.

    Args:
        model: The model; class-conditional models get the labels of the images.
        images: At least one.
        batch_size: Images at a time.
    """
    exact_images = exact_values = largest = 0
    for part, labels in batches(images, batch_size, "reconstructing"):
        back = reconstruct(model, part, labels)
        equal = (back.images == model.quantised(part)).flatten(1)
        exact_images += int(equal.all(1).sum())
        exact_values += int(equal.sum())
        largest = max(largest, back.max_pixel_error)
    num_values = len(images) * math.prod(images.image_shape)
    return Exactness(exact_images / len(images), exact_values / num_values, largest)


@dataclass(frozen=True)
class RoundTrip:
    """The error of a round trip in one precision; infinite if a value came back as NaN or infinite.

    Args:
        start: Name of the inputs: images or noise, and how they were scaled.
        unit: Unit of the errors: "bins", where errors below one half leave the quantised image exact; or "deviations",
            standard deviations of the base noise.
        dtype: "float32" or "float64".
        median: Median over the images of the largest absolute error of each.
        largest: Largest absolute error of all images.
    """

    start: str
    unit: str
    dtype: str
    median: float
    largest: float


def round_trips(model: ImageModel, images: Tensor, labels: Tensor | None = None, seed: int = 0) -> list[RoundTrip]:
    r"""Return the errors :math:`f^{-1}(f(x)) - x` and :math:`f(f^{-1}(z)) - z` for ordinary and unusual inputs.

    The inputs are the images; the images times 4 and 16, far outside the range; independent uniform 8-bit noise; and
    latents N(0, T²) at several temperatures. A map that is invertible in exact arithmetic loses digits by its
    condition number: errors in float32 that vanish in float64 are amplified rounding errors, and amplification is
    largest far from the training images.

    Args:
        model: The model; it is measured in float32 and in float64.
        images: uint8, (B, C, H, W); a few dozen suffice.
        labels: (B,), for a class-conditional model.
        seed: Seed of all noise.
    References:
        Behrmann et al. 2021, arXiv:2006.09347.
    """
    errors = []
    for dtype in (torch.float32, torch.float64):
        # MPS does not support float64.
        device = "cpu" if dtype == torch.float64 and model.device.type == "mps" else model.device
        errors += list(_round_trips(deepcopy(model).to(device).to(dtype), images, labels, seed))
    return errors


@torch.no_grad()
def _round_trips(model: ImageModel, images: Tensor, labels: Tensor | None, seed: int) -> Iterator[RoundTrip]:
    noise = torch.randint(0, 256, images.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    starts = {"images": (images, 1.0)}
    starts |= {f"images x {factor:g}": (images, factor) for factor in FACTORS}
    starts["uniform noise"] = (noise, 1.0)
    context = model.flow.embed(None if labels is None else labels.to(model.device))
    dtype = str(model.dtype).removeprefix("torch.")
    with full_precision(model.device):
        for name, (values, factor) in starts.items():
            levels = quantise(values.to(model.device), model.num_bits)
            x = factor * bin_centres(levels, model.num_bits, model.dtype)
            back = model.flow.decode(model.flow.encode(x, context), context)
            yield _round_trip(name, "bins", dtype, (back - x) * 2**model.num_bits)
        for temperature in TEMPERATURES:
            z = model.base_noise(range(seed, seed + len(images)), temperature)
            errors = [a - b for a, b in zip(model.flow.encode(model.flow.decode(z, context), context), z, strict=True)]
            error = torch.cat([level.flatten(1) for level in errors], dim=1)
            yield _round_trip(f"noise at temperature {temperature:g}", "deviations", dtype, error)


def _round_trip(start: str, unit: str, dtype: str, error: Tensor) -> RoundTrip:
    worst = error.cpu().double().flatten(1).abs().nan_to_num(nan=torch.inf, posinf=torch.inf).amax(1)
    return RoundTrip(start, unit, dtype, float(worst.median()), float(worst.max()))
