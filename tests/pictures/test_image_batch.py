import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from registry import named, tiny_model

from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images
from glow_app.pictures.images import grid, read_png_text, to_pil


@pytest.fixture(scope="module")
def model() -> ImageModel:
    model = tiny_model(num_classes=3)
    named(model, "cat", "dog", "owl")
    return model


@pytest.fixture(scope="module")
def images(model: ImageModel) -> Images:
    return model.sample(5, seeds=6)


def array(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_whole_images_keep_their_facts(images: Images) -> None:
    assert (images.seeds, images.given) == ([6, 7, 8, 9, 10], ["cat", "dog", "owl", "cat", "dog"])
    mask = torch.tensor([False, True, False, False, True])
    chosen = {
        (7,): images[1],
        (10,): images[-1],
        (7, 8): images[1:3],
        (9, 6): images[[3, 0]],
        (7, 10): images[mask],
        tuple(range(6, 11)): images[...],
    }
    for seeds, part in chosen.items():
        assert isinstance(part, Images)
        assert tuple(part.seeds) == seeds
        expected = torch.Tensor.index_select(images, 0, torch.tensor([seed - 6 for seed in seeds]))
        assert torch.equal(part.reshape(expected.shape), expected)
    assert [image.seeds for image in images] == [[6], [7], [8], [9], [10]]


def test_images_on_another_device_keep_their_facts(images: Images) -> None:
    for moved in (images.to("meta"), images.to(device="cpu", copy=True), images.cpu(), images[0].cpu()):
        assert isinstance(moved, Images)
        assert moved.facts == images.facts[: len(moved.facts)] != []
    assert images.to("meta").device.type == "meta"


def test_other_results_are_plain_tensors(images: Images) -> None:
    for plain in (
        images.to(torch.float32),
        images[0, 0],
        images[None],
        images[0][0],
        images + 0,
        images.float(),
        images == images,
    ):
        assert type(plain) is torch.Tensor
    assert torch.equal(torch.stack([images[0], images[1]]), images[:2])


def test_copies_and_pickles_are_equal(images: Images) -> None:
    for copied in (copy.copy(images), copy.deepcopy(images), pickle.loads(pickle.dumps(images))):
        assert isinstance(copied, Images)
        assert torch.equal(copied, images)
        assert copied.facts == images.facts


def test_a_png_is_a_grid_or_the_image_itself(images: Images, tmp_path: Path) -> None:
    path = images.save(tmp_path / "new" / "grid.PNG")
    columns = np.asarray(grid(images, 3, above=["cat", "dog", "owl"]))
    assert np.array_equal(array(path), columns)
    assert read_png_text(path) == {"seed": "6", "count": "5", "temperature": "0.7"}
    path = images[1].save(tmp_path / "new" / "one.png")
    assert np.array_equal(array(path), np.asarray(to_pil(images[1])))
    assert read_png_text(path) == {"seed": "7", "temperature": "0.7", "given": "dog"}


def test_a_folder_has_a_picture_of_each_image(images: Images, tmp_path: Path) -> None:
    assert images.save(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    files = sorted((tmp_path / "a" / "b").iterdir())
    assert [file.name for file in files] == [f"{n:04d}_seed{6 + n}.png" for n in range(5)]
    for file, picture, seed in zip(files, images.pil(), images.seeds, strict=True):
        assert np.array_equal(array(file), np.asarray(picture))
        assert read_png_text(file)["seed"] == str(seed)


def test_a_notebook_shows_a_grid(images: Images, tmp_path: Path) -> None:
    for shown, expected in ((images, images.grid()), (images[0], grid(images[:1]))):
        path = tmp_path / "shown.png"
        path.write_bytes(shown._repr_png_() or b"")
        assert np.array_equal(array(path), np.asarray(expected))
