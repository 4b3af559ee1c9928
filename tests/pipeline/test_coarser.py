"""Results of the coarser levels of a wavelet flow alone: the means of pixels of those of all levels."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from registry import random_images, tiny_glow, tiny_wavelet_flow
from torch import Tensor

from glow_app.conditioning import AttributeConditioning
from glow_app.models.image_model import ImageModel
from glow_app.pipeline import Direction, blend, edit, edit_attributes, interpolate

IMAGES = random_images(4) // 2 + 64
Size = tuple[int, int] | None


def moved(model: ImageModel, strength: float, size: Size) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    levels = [torch.randn(shape, generator=generator) for shape in model.flow.latent_shapes]
    return edit(model, IMAGES[:1], [(Direction(levels, 10), [strength, 0.0])], torch.zeros(1, 2), size=size)


RESULTS: dict[str, Callable[[ImageModel, Size], Tensor]] = {
    "direction": lambda model, size: moved(model, 0.05, size),
    "attributes": lambda model, size: edit_attributes(
        model, IMAGES[:1], torch.ones(1, 2), torch.zeros(1, 2), size=size
    ),
    "frames": lambda model, size: interpolate(model, IMAGES[:3], 3, torch.zeros(3, 2), size=size),
    "levels": lambda model, size: blend(
        model, IMAGES[:2], torch.tensor([[0.9, 0.2, 0.1]]), torch.zeros(2, 2), size=size
    ),
    "square": lambda model, size: blend(
        model, IMAGES, torch.tensor([[0.2, 0.9]])[:, None].expand(1, 3, 2), torch.zeros(4, 2), spherical=True, size=size
    ),
    "sample": lambda model, size: model.sample(3, 0.5, 7, torch.zeros(3, 2), size=size),
}


@pytest.mark.parametrize("num_bits", [8, 5])
@pytest.mark.parametrize("name", RESULTS)
def test_they_are_means_of_the_whole_result(name: str, num_bits: int) -> None:
    conditioning = AttributeConditioning({"smiling": "yes_no", "hat": "yes_no"}, 4)
    model = ImageModel(tiny_wavelet_flow(conditioning=conditioning), num_bits).eval()
    whole = RESULTS[name](model, None).float()
    assert torch.equal(RESULTS[name](model, (8, 8)).float(), whole)
    for side in (4, 2):
        small = RESULTS[name](model, (side, side)).float()
        means = F.adaptive_avg_pool2d(whole, (side, side))
        low, high = (-F.adaptive_max_pool2d(-whole, (side, side)), F.adaptive_max_pool2d(whole, (side, side)))
        is_inside = (low > 8) & (high < 247)
        assert small.shape == means.shape
        assert is_inside.any()
        assert (small - means)[is_inside].abs().max() <= (1 if num_bits == 8 else 6), "of rounding pixels"


def test_other_sizes_are_refused() -> None:
    model = ImageModel(tiny_wavelet_flow(), 8).eval()
    for size in ((16, 16), (1, 1), (4, 2)):
        with pytest.raises(ValueError, match="expected one of 8x8, 4x4, 2x2 for this model"):
            interpolate(model, IMAGES[:2], size=size)
    with pytest.raises(ValueError, match="expected one of 8x8 for this model"):
        interpolate(ImageModel(tiny_glow(), 8).eval(), IMAGES[:2], size=(4, 4))
