import warnings

import numpy as np
import pytest
import torch
from registry import random_images, tiny_model
from torch import Tensor

from glow_app.data import ImageSet
from glow_app.evaluation import TrainingNeighbours, draw_features, evaluation_data, fingerprint, neighbour_picture
from glow_app.generation import sample_batches


class Means:
    """Features of which the right answers are plain: the mean of each channel."""

    name, trained_on, preprocessing, sha256 = "means", "nothing", "none", "0"

    def __call__(self, images: Tensor) -> Tensor:
        return images.float().mean((2, 3))


def image_set(images: Tensor) -> ImageSet:
    return ImageSet(images.numpy(), torch.zeros(len(images), dtype=torch.int64))


def test_copies_are_found_by_features_and_by_pixels() -> None:
    train = random_images(50)
    mirrored = train[7:8].flip(-1)  # the features of the 7th, and not its pixels
    brighter = (train[3:4].short() + 9).clamp(max=255).to(torch.uint8)
    found = TrainingNeighbours(torch.cat([train[20:21], mirrored, brighter]), image_set(train), Means(), 3, 8)
    assert found.by_features.indices[:2, 0].tolist() == [20, 7]
    assert found.by_pixels.indices[[0, 2], 0].tolist() == [20, 3]
    assert found.by_features.distances[:2, 0].tolist() == pytest.approx([0, 0], abs=1e-4)
    difference = (brighter.float() - train[3:4].float()).square().mean().sqrt()
    assert float(found.by_pixels.distances[2, 0]) == pytest.approx(float(difference), rel=1e-6)
    assert found.by_pixels.indices.shape == (3, 3)


def test_drawn_features_are_those_of_the_samples() -> None:
    model = tiny_model(num_classes=3)
    labels = [2, 0, 0, 1]
    features, kept = draw_features(model, 10, Means(), temperature=0.8, seed=5, labels=labels, batch_size=4, num_kept=6)
    images = torch.stack([image for _, image in sample_batches(model, 10, 0.8, 5, labels, 4)])
    torch.testing.assert_close(features, Means()(images))
    assert torch.equal(kept, images[:6])


def test_a_picture_has_a_block_for_each_title() -> None:
    drawn, nearest = random_images(3, (1, 8, 8))[:, None], random_images(12, (1, 8, 8)).unflatten(0, (3, 4))
    picture = np.asarray(neighbour_picture({"drawn": drawn, "nearest": nearest}).convert("L"))
    # Enlarged by 8, with a line of 1 between: the second row of the second block begins there.
    panel_width = 65 + 1
    assert picture.shape[0] == 24 + 3 * 65 + 1 + 16
    left, top = 16 + panel_width + 16 + 1, 24 + 65 + 1
    second = picture[top : top + 64 : 8, left : left + 64 : 8]
    assert np.array_equal(second, nearest[1, 0, 0].numpy())


def test_the_trainings_own_cut_is_used() -> None:
    model = tiny_model(image_shape=(1, 8, 8))
    recorded = {"source": "digits", "seed": 4, "test_fraction": 0.2, "limit": 100, "root": None}
    data = evaluation_data(model, recorded, limit=30)
    assert (len(data.held_out), len(data.train)) == (30, 100)
    assert data.facts["as_in_training"]
    assert (data.facts["seed"], data.facts["split"], data.facts["images"]) == (4, "test", 30)
    assert data.facts["sha256"] == fingerprint(data.held_out, 7)
    assert evaluation_data(model, {**recorded, "seed": 5}, limit=30).facts["sha256"] != data.facts["sha256"]
    assert len(evaluation_data(model, recorded, split="validation", train_limit=20).train) == 20
    # Of another source nothing is known, and nothing is taken over.
    other = evaluation_data(model, {"source": "folder", "seed": 4, "root": "/nowhere"}, source="digits")
    assert not other.facts["as_in_training"]
    assert "seed" not in other.facts


def test_images_that_cannot_be_meant_are_refused() -> None:
    model = tiny_model(image_shape=(1, 8, 8), num_classes=3)
    with pytest.raises(ValueError, match="does not record what it was trained on; give --source"):
        evaluation_data(model, {})
    with pytest.raises(ValueError, match="source folder needs --root"):
        evaluation_data(model, {"source": "folder", "seed": 0})
    with pytest.raises(ValueError, match="the model has 3 classes, and the images of digits have 10; give"):
        evaluation_data(model, {}, source="digits")


def test_as_many_classes_need_not_be_the_same_ones() -> None:
    model = tiny_model(image_shape=(1, 8, 8), num_classes=10)
    model.class_names = [str(number) for number in range(10)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert evaluation_data(model, {}, source="digits", limit=20).facts["images"] == 20
    model.class_names = ["0", *(f"cat {number}" for number in range(1, 10))]
    with pytest.warns(UserWarning, match="other classes than digits, such as 'cat 1' where the images have '1'"):
        evaluation_data(model, {}, source="digits")
