import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from registry import named, random_images, tiny_model

from glow_app.conditioning import Given
from glow_app.pictures.image_batch import Images
from glow_app.pictures.inputs import Pictures, as_images
from glow_app.pipeline import edit, infer, interpolate, measure, mix_levels, reconstruct

RGB, GREY = (3, 8, 8), (1, 8, 8)


@pytest.mark.parametrize("shape", [RGB, GREY])
def test_all_forms_give_the_same_images(shape: tuple[int, int, int], tmp_path: Path) -> None:
    images = Images(random_images(3, shape))
    arrays = images.permute(0, 2, 3, 1).numpy()
    images.save(tmp_path)
    files = sorted(tmp_path.iterdir())
    forms: list[Pictures] = [
        *(images, list(images), images.pil(), images.numpy(), arrays, list(arrays), files),
        np.stack([np.asarray(picture) for picture in images.pil()]),
        [str(files[0]), images.pil()[1], arrays[2]],
    ]
    for given in forms:
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
        notes = "cropped and reduced to 8x8" + ", colours made grey" * (shape == GREY)
        with pytest.warns(UserWarning, match=re.escape(notes)):
            expected = as_images(tmp_path / "a.png", shape)
        for given in (picture, draw):
            with pytest.warns(UserWarning, match=re.escape(notes)):
                assert torch.equal(as_images(given, shape), expected)


def test_warnings_name_the_line_of_the_caller(tmp_path: Path) -> None:
    Image.new("RGB", (20, 30)).save(tmp_path / "a.png")
    model = tiny_model(image_shape=RGB)
    for use in (model.encode, model.log_prob, partial(reconstruct, model)):
        with pytest.warns(UserWarning, match="cropped") as warned:
            use(tmp_path / "a.png")
        assert warned[0].filename == __file__, use


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
    model = named(tiny_model(num_classes=3), "cat", "dog", "owl")
    images = model.sample(2, seeds=1)
    assert images.given == ["dog", "owl"]
    calls: list[Callable[[Pictures, Given], object]] = [
        *(model.encode, partial(mix_levels, model)),
        lambda pictures, given: edit(model, pictures, [], given),
        lambda pictures, given: model.bits_per_dim(pictures, given, 1, torch.Generator()),
        lambda pictures, given: interpolate(model, pictures, 3, given),
        lambda pictures, given: reconstruct(model, pictures, given).images,
        lambda pictures, given: measure(model, pictures, given).bits_per_dim,
    ]
    for call in calls:
        expected = call(images, torch.tensor([1, 2]))
        for pictures, given in ((images.pil(), ["dog", 2]), (images, images.given)):
            torch.testing.assert_close(call(pictures, given), expected, rtol=0, atol=0)
        with pytest.raises(ValueError, match="got 3 values for 2 images"):
            call(images, [0, 1, 2])
    assert str(infer(model, images.pil())) == str(infer(model, images.as_subclass(torch.Tensor)))
