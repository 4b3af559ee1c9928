"""How long a direction must be for its attribute to be seen."""

import pytest
import torch
from registry import tiny_model
from torch import Tensor

from glow_app.generation import learn_directions
from glow_app.generation.calibration import Calibration
from glow_app.models.image_model import ImageModel

COUNT = 640


@pytest.fixture(scope="module")
def model() -> ImageModel:
    return tiny_model()


def pictures(model: ImageModel, count: int = COUNT) -> tuple[Tensor, Tensor]:
    """Return noisy pictures, and of each whether it is bright, how bright its right half is, and what nobody sees."""
    generator = torch.Generator().manual_seed(0)
    attributes = torch.rand(count, 3, generator=generator)
    attributes[:, 0] = (attributes[:, 0] < 0.3).float()
    values = 60 + 20 * torch.rand(count, *model.flow.image_shape, generator=generator)
    values += 60 * attributes[:, 0, None, None, None]
    values[..., model.flow.image_shape[-1] // 2 :] += 60 * attributes[:, 1, None, None, None]
    return values.to(torch.uint8), attributes


def calibrated(count: int = COUNT) -> Calibration:
    calibration = Calibration()
    images, attributes = pictures(tiny_model(), count)
    for part, values in zip(images.split(48), attributes.split(48), strict=True):
        calibration.add(part, values, None)
    return calibration


def latents_of(model: ImageModel, attribute: int) -> list[Tensor]:
    """Return by what latents differ when an attribute grows by 1: to the pictures, all that there is to see."""
    images, attributes = pictures(model)
    design = torch.cat([torch.ones(COUNT, 1), attributes], 1)
    return [
        torch.linalg.lstsq(design, z.flatten(1)).solution[1 + attribute].reshape(z.shape[1:])
        for z in model.encode(images)
    ]


def test_a_direction_half_as_long_is_doubled(model: ImageModel) -> None:
    whole = [latents_of(model, attribute) for attribute in range(3)]
    half = [[0.5 * level for level in levels] for levels in whole]
    factors = torch.tensor([calibrated().factors(model, whole), calibrated().factors(model, half)])
    assert factors.shape == (2, 3, 2)  # runs, attributes, signs
    torch.testing.assert_close(factors[0], torch.ones(3, 2), atol=0.2, rtol=0)
    ratios = torch.tensor([2.0, 2.0, 1.0])[:, None].expand(3, 2)  # nobody sees the third
    torch.testing.assert_close(factors[1] / factors[0], ratios, atol=0, rtol=0.1)


def test_learnt_directions_show_their_attribute(model: ImageModel) -> None:
    images, attributes = pictures(model)
    batches = ((part, values, None) for part, values in zip(images.split(64), attributes.split(64), strict=True))
    direction = learn_directions(model, batches, ["bright", "right", "unseen"])["bright"]
    dark = images[attributes[:, 0] == 0][:20]
    moved = model.decode([z + d for z, d in zip(model.encode(dark), direction.levels, strict=True)])
    assert float((moved.float() - dark.float()).mean()) == pytest.approx(60, abs=10)
