import hashlib
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from registry import random_images, tiny_model

from glow_app.conditioning import AttributeConditioning
from glow_app.data.image_set import ImageSet
from glow_app.evaluation import evaluation_data, mean_bits, turns_of
from glow_app.seeding import image_generators


def test_the_trainings_own_cut_is_used() -> None:
    model = tiny_model(image_shape=(1, 8, 8))
    recorded = {"source": "digits", "seed": 4, "test_fraction": 0.2, "limit": 100, "root": None}
    data = evaluation_data(model, recorded, limit=30)
    assert data.train is not None
    assert (len(data.held_out), len(data.train)) == (30, 100)
    assert data.facts["as_in_training"]
    assert (data.facts["seed"], data.facts["split"], data.facts["images"]) == (4, "test", 30)
    assert data.facts["sha256"] == hashlib.sha256(data.held_out.images.tobytes()).hexdigest()
    assert evaluation_data(model, {**recorded, "seed": 5}, limit=30).facts["sha256"] != data.facts["sha256"]
    assert evaluation_data(model, recorded, split="validation", train_limit=20).facts["training_images"] == 20
    # Of another source nothing is known, and nothing is taken over.
    other = evaluation_data(model, {"source": "folder", "seed": 4, "root": "/nowhere"}, source="digits")
    assert not other.facts["as_in_training"]
    assert "seed" not in other.facts
    assert not evaluation_data(model, {}, source="digits", limit=3).facts["as_in_training"]


def test_a_folder_other_than_the_trainings_is_measured_whole(tmp_path: Path) -> None:
    model = tiny_model(image_shape=(1, 8, 8))
    for name, count in (("mine", 40), ("others", 25), ("split/test", 5), ("split/train", 9)):
        (tmp_path / name).mkdir(parents=True)
        for number in range(count):
            Image.new("L", (8, 8), number).save(tmp_path / name / f"{number}.png")
    mine, others, split = (str(tmp_path / name) for name in ("mine", "others", "split"))
    recorded = {"source": "folder", "seed": 4, "test_fraction": 0.2, "root": mine}
    counts = {}
    cases: dict[str, dict[str, Any]] = {
        "as in training": {},
        "the same folder": {"root": mine},
        "another": {"root": others},
        "another, training moved": {"root": others, "training": mine},
        "own splits": {"root": split},
    }
    for name, arguments in cases.items():
        data = evaluation_data(model, recorded, **arguments)
        assert data.train is not None
        counts[name] = len(data.held_out), len(data.train), data.facts["as_in_training"]
    assert counts == {
        "as in training": (6, 26, True),
        "the same folder": (6, 26, True),
        "another": (25, 26, False),
        "another, training moved": (25, 26, False),
        "own splits": (5, 26, False),
    }
    unknown = evaluation_data(model, {**recorded, "root": None}, root=others)
    assert (len(unknown.held_out), unknown.train, unknown.facts["split"]) == (25, None, "whole")
    moved = evaluation_data(model, {**recorded, "root": None}, training=mine)
    assert (len(moved.held_out), moved.facts["as_in_training"]) == (6, True)


@pytest.mark.parametrize("recorded", [{"source": "digits", "limit": 50}, {"source": "mnist"}, {}], ids=str)
def test_a_folder_is_measured_whatever_the_source_of_training(recorded: dict[str, Any], tmp_path: Path) -> None:
    for number in range(12):
        Image.new("L", (8, 8), number).save(tmp_path / f"{number}.png")
    model = tiny_model(image_shape=(1, 8, 8))
    data = evaluation_data(model, recorded, root=str(tmp_path), train_limit=0 if "limit" not in recorded else None)
    assert sorted(data.held_out.images.reshape(12, -1)[:, 0].tolist()) == list(range(12))
    assert (data.facts["source"], data.facts["split"], data.facts["as_in_training"]) == ("folder", "whole", False)
    assert data.train is None or len(data.train) == 50


def test_the_folder_of_a_sources_own_files_is_its_root(tmp_path: Path) -> None:
    (tmp_path / "MNIST/raw").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="MNIST cannot be read"):
        evaluation_data(tiny_model(image_shape=(1, 8, 8)), {"source": "mnist"}, root=str(tmp_path))


def test_photographs_other_than_the_trainings_are_measured_whole(tmp_path: Path) -> None:
    for name, count in (("mine", 10), ("others", 8)):
        (tmp_path / name).mkdir()
        for number in range(count):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / name / f"{number}.png")
    model, recorded = tiny_model(image_shape=(3, 8, 8)), {"source": "photos", "root": str(tmp_path / "mine")}
    for root, counts in {"others": (16, 16), "mine": (2, 16)}.items():
        data = evaluation_data(model, recorded, root=str(tmp_path / root))
        assert data.train is not None
        assert (len(data.held_out), len(data.train)) == counts


def test_samples_are_given_nothing_where_no_attribute_of_the_held_out_images_is_known() -> None:
    model = tiny_model(image_shape=(1, 8, 8), conditioning=AttributeConditioning({"smiling": "yes_no"}))
    assert turns_of(model, evaluation_data(model, {}, source="digits", limit=5).held_out) is None


@pytest.mark.parametrize("num_classes", [None, 3])
def test_mean_bits_are_those_of_each_image_by_its_own_seed(num_classes: int | None) -> None:
    model = tiny_model(num_bits=5, num_classes=num_classes)
    images = ImageSet(random_images(20).numpy(), torch.arange(20) % 3, ["a", "b", "c"])
    labels = None if num_classes is None else images.labels
    each = model.bits_per_dim(torch.from_numpy(images.images), labels, 3, image_generators(range(5, 25)))
    found = mean_bits(model, images, 3, seed=5, batch_size=7)
    assert found.mean == pytest.approx(float(each.mean()), rel=1e-6)
    assert found.standard_error == pytest.approx(float(each.std()) / math.sqrt(20), rel=1e-5)
    # The bound gets tighter with more draws, of which the first is the same.
    assert mean_bits(model, images, 1, seed=5).mean > found.mean > mean_bits(model, images, 12, seed=5).mean
