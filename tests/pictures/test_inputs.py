import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from registry import random_images, tiny_model

from glow_app.generation import edit, infer_labels, interpolate, measure, mix_levels, reconstruct
from glow_app.models.class_labels import Labels
from glow_app.pictures.image_batch import Images
from glow_app.pictures.inputs import Pictures, as_images

RGB, GREY = (3, 8, 8), (1, 8, 8)


def forms(images: Images, folder: Path) -> list[Pictures]:
    """Return the same images in each form."""
    arrays = images.permute(0, 2, 3, 1).numpy()
    images.save(folder)
    files = sorted(folder.iterdir())
    return [
        images,
        list(images),
        images.pil(),
        images.numpy(),
        arrays,
        list(arrays),
        np.stack([np.asarray(picture) for picture in images.pil()]),
        files,
        [str(files[0]), images.pil()[1], arrays[2]],
    ]


@pytest.mark.parametrize("shape", [RGB, GREY])
def test_all_forms_give_the_same_images(shape: tuple[int, int, int], tmp_path: Path) -> None:
    images = Images(random_images(3, shape))
    for given in forms(images, tmp_path):
        assert torch.equal(as_images(given, shape), images)
    picture = images.pil()[0]
    for single in (images[0], picture, np.asarray(picture), images[0].numpy(), next(tmp_path.iterdir())):
        assert as_images(single, shape).shape == (1, *shape)
    assert as_images(images, shape) is images


def test_pillow_images_are_converted_like_files_and_not_modified(tmp_path: Path) -> None:
    draw = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    picture = Image.fromarray(draw)
    picture.save(tmp_path / "a.png")
    for shape in (RGB, GREY):
        notes = "30x20 resized and cropped to 8x8 (width x height)" + ", colours made grey" * (shape == GREY)
        with pytest.warns(UserWarning, match=re.escape(notes)):
            expected = as_images(tmp_path / "a.png", shape)
        for given in (picture, draw):
            with pytest.warns(UserWarning, match=re.escape(notes)):
                assert torch.equal(as_images(given, shape), expected)


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ([], ValueError, "there are no pictures"),
        (np.zeros((4, 4)), ValueError, "an array is float64 of shape (4, 4); expected uint8"),
        (np.zeros((8, 8, 5), np.uint8), ValueError, "of shape (8, 8, 5); expected uint8 (H, W), (H, W, 3)"),
        ([torch.zeros(RGB), torch.zeros(GREY)], ValueError, "of shapes (1, 8, 8), (3, 8, 8); expected one shape"),
        ([None], TypeError, "of type NoneType"),
        ("nothing.png", ValueError, "there is no file nothing.png"),
    ],
)
def test_invalid_pictures_are_refused(given: object, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=re.escape(message)):
        as_images(given, RGB)  # type: ignore[arg-type]


def test_functions_accept_pictures_and_class_names() -> None:
    model = tiny_model(num_classes=3)
    model.class_names = ["cat", "dog", "owl"]
    images, numbers = model.sample(2, seeds=1), torch.tensor([1, 2])
    pictures: Pictures = images.pil()
    names: Labels = ["dog", 2]
    assert images.labels == [1, 2]
    expected = model.encode(images, numbers)
    for latents in (model.encode(pictures, names), model.encode(images, images.labels)):
        assert all(map(torch.equal, latents, expected))
    assert torch.equal(model.decode(expected, names), images)
    for name, number in ((names, numbers), ("cat", 0 * numbers)):
        given: list[tuple[Pictures, Labels]] = [(pictures, name), (images, number)]
        bits = [model.bits_per_dim(*each, 1, torch.Generator().manual_seed(0)) for each in given]
        assert torch.equal(*bits)
    assert torch.equal(interpolate(model, pictures, 3, names), interpolate(model, images, 3, numbers))
    assert torch.equal(mix_levels(model, pictures, names), mix_levels(model, images, numbers))
    assert torch.equal(edit(model, pictures, [], names), images)
    assert torch.equal(reconstruct(model, pictures, names).images, images)
    assert torch.equal(infer_labels(model, pictures), infer_labels(model, images))
    measured = [measure(model, images, labels).bits_per_dim for labels in (numbers, names)]
    assert torch.equal(*measured)
    with pytest.raises(ValueError, match="there are 3 labels for 2 images"):
        interpolate(model, images, 3, [0, 1, 2])
