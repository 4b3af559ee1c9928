import numpy as np
import pytest
from registry import class_grid, random_images, tiny_model

from glow_app.commands.sample import num_shown, turn_length
from glow_app.models.class_labels import class_facts
from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import class_captions
from glow_app.pictures.images import grid


@pytest.fixture(scope="module")
def model() -> ImageModel:
    model = tiny_model(num_classes=3)
    model.class_names = ["cat", "dog", "owl"]
    return model


def test_classes_keep_to_their_columns_under_their_names(model: ImageModel) -> None:
    images = random_images(12)
    for seed, names in ((0, ["cat", "dog", "owl"]), (4, ["dog", "owl", "cat"])):
        picture = class_grid(model, images, seed)
        assert np.array_equal(np.asarray(picture), np.asarray(grid(images, 3, above=names)))
    picture = class_grid(model, images, 1, [2, 0])
    assert np.array_equal(np.asarray(picture), np.asarray(grid(images, 4, above=["cat", "owl", "cat", "owl"])))


def test_a_class_without_a_name_is_its_number() -> None:
    images = random_images(4)
    expected = grid(images, 2, above=["1", "0"])
    assert np.array_equal(np.asarray(class_grid(tiny_model(num_classes=2), images, 5)), np.asarray(expected))


def test_letters_that_cannot_be_drawn_are_left_to_the_number() -> None:
    model = tiny_model(num_classes=2)
    model.class_names = ["日", "Café"]
    assert class_captions([class_facts(model, number) for number in range(2)]) == ["0", "Café"]


def test_one_class_many_or_none_have_no_columns(model: ImageModel) -> None:
    images, expected = random_images(12), np.asarray(grid(random_images(12), 4))
    assert np.array_equal(np.asarray(class_grid(model, images, 1, 2)), expected)
    assert np.array_equal(np.asarray(class_grid(tiny_model(), images, 1)), expected)
    many = random_images(14)
    picture = class_grid(tiny_model(num_classes=13), many, 1)
    assert np.array_equal(np.asarray(picture), np.asarray(grid(many)))
    with pytest.raises(ValueError, match="not class-conditional"):
        turn_length(tiny_model(), 2)


def test_of_many_images_whole_turns_are_shown(model: ImageModel) -> None:
    assert [turn_length(model, label) for label in (None, [1, 2], 1)] == [3, 2, 1]
    assert turn_length(tiny_model()) == 1
    assert [num_shown(count, 3) for count in (1, 100, 101, 10**9)] == [1, 100, 99, 99]
    assert num_shown(500, 10) == num_shown(500) == 100
