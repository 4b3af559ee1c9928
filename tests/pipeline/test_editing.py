from dataclasses import replace
from pathlib import Path

import pytest
import torch
from registry import random_images, tiny_model
from torch import Tensor

from glow_app.models.image_model import ImageModel
from glow_app.pipeline import Direction, edit, learn_directions, load_direction, load_directions, save_direction
from glow_app.pipeline.tensor_file import tensors_bytes


@pytest.fixture(scope="module")
def model() -> ImageModel:
    return tiny_model(num_bits=5)


def random_direction(model: ImageModel) -> Direction:
    generator = torch.Generator().manual_seed(1)
    return Direction([0.1 * torch.randn(shape, generator=generator) for shape in model.flow.latent_shapes], 7)


def learn(model: ImageModel, images: Tensor, attributes: Tensor, *names: str) -> dict[str, Direction]:
    parts = zip(images.split(4), attributes.split(4), strict=True)
    return learn_directions(model, ((part, values, None) for part, values in parts), names)


def test_a_strength_of_zero_changes_no_pixel(model: ImageModel) -> None:
    images = random_images(6)
    direction = random_direction(model)
    assert torch.equal(edit(model, images, [(direction, 0.0)]), images)
    assert torch.equal(edit(model, images, []), images)
    assert not torch.equal(edit(model, images, [(direction, 1.0)]), images)
    with pytest.raises(FloatingPointError):
        edit(model, images, [(direction, float("nan"))])


def test_several_strengths_are_edits_of_each() -> None:
    model = tiny_model(num_bits=5, num_classes=3)
    image, direction, label, strengths = random_images(1), random_direction(model), 2, (-1.5, 0.0, 2.0)
    expected = torch.cat([edit(model, image, [(direction, strength)], label) for strength in strengths])
    assert torch.equal(edit(model, image, [(direction, strengths)], label), expected)


def test_an_edit_is_a_step_in_the_latents() -> None:
    model, images = tiny_model(), random_images(3)
    direction = random_direction(model)
    latents = model.encode(images)
    moved = [z + 0.5 * d + 0.25 * d for z, d in zip(latents, direction.levels, strict=True)]
    assert torch.equal(edit(model, images, [(direction, 0.5), (direction, 0.25)]), model.decode(moved))


@pytest.mark.filterwarnings("ignore:direction")
def test_what_attributes_share_is_not_counted_twice(model: ImageModel) -> None:
    images = random_images(40)
    values = torch.randint(0, 2, (40, 2), generator=torch.Generator().manual_seed(0)).float()
    values[:12] = 1.0  # correlated
    found = learn(model, images, values, "a", "b")
    latents = torch.cat([level.flatten(1) for level in model.encode(images)], dim=1).double()
    design = torch.cat([torch.ones(40, 1), values], dim=1).double()
    expected = torch.linalg.lstsq(design, latents).solution
    for number, name in enumerate(("a", "b"), 1):
        mine = torch.cat([level.flatten() for level in found[name].levels]).double()
        torch.testing.assert_close(mine, expected[number], rtol=1e-4, atol=1e-5)


def test_a_direction_is_kept_for_its_model(model: ImageModel, tmp_path: Path) -> None:
    direction, folder = random_direction(model), tmp_path / "directions"
    save_direction(direction, "smiling", model, str(folder))
    again = load_direction("smiling", model, folder.parent / "nothing", folder)
    assert again.num_images == 7
    assert all(torch.equal(a, b) for a, b in zip(again.levels, direction.levels, strict=True))
    with pytest.raises(ValueError, match="belongs to another model"):
        load_direction("smiling", tiny_model(num_bits=3), folder)
    own = tmp_path / "own"
    save_direction(random_direction(tiny_model(num_bits=3)), "smiling", tiny_model(num_bits=3), own)
    assert load_direction("smiling", tiny_model(num_bits=3), folder, own).num_images == 7
    with pytest.warns(UserWarning, match=r"skipped: the direction in .*smiling.* belongs to another model"):
        assert list(load_directions(tiny_model(num_bits=3), folder, own)) == ["smiling"]
    with pytest.raises(FileNotFoundError, match=r"no direction frowning in .*; known: smiling"):
        load_direction("frowning", model, folder)
    for name in ("../smiling", ".hidden"):
        with pytest.raises(ValueError, match="is not a valid name of a direction"):
            load_direction(name, model, folder)
    (folder / "smiling.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match="has no direction"):
        load_direction("smiling", model, folder)


def test_one_bad_file_does_not_keep_the_others_from_use(tmp_path: Path) -> None:
    model = tiny_model()
    save_direction(random_direction(model), "smiling", model, tmp_path)
    good = (tmp_path / "smiling.safetensors").read_bytes()
    (tmp_path / "damaged.safetensors").write_bytes(good[:200])
    foreign = tensors_bytes({"z": torch.zeros(1)}, model, "glow-direction/1", None)
    (tmp_path / "foreign.safetensors").write_bytes(foreign)
    for place, name in enumerate(("laughing", "frowning")):
        save_direction(replace(random_direction(model), place=place), name, model, tmp_path)
    for name in (".hidden", "a b", "gro\u0308\u00dfer"):
        (tmp_path / f"{name}.safetensors").write_bytes(good)
    with pytest.warns(UserWarning, match="is skipped: ") as warned:
        assert list(load_directions(model, tmp_path)) == ["laughing", "smiling", "frowning"]  # as they were learnt
    assert len(warned) == 5
