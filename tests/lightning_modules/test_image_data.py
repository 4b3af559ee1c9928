import warnings
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from tiny_training import record_batches
from torch.utils.data import SequentialSampler

from glow_app.data import sources
from glow_app.data.image_set import ImageSet, select_split
from glow_app.data.splits import SplitRequest
from lightning_modules.image_data import ImageDataModule


@pytest.fixture(autouse=True)
def no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOW_CACHE", str(tmp_path / "glow-cache"))
    monkeypatch.setenv("GLOW_DATA", str(tmp_path / "glow-data"))


@pytest.fixture(autouse=True)
def numbered_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source "numbers": 50 images, image i being [[i, 255]]."""

    def load(request: SplitRequest) -> ImageSet:
        images = np.stack([np.arange(50), np.full(50, 255)], axis=1).astype(np.uint8).reshape(50, 1, 1, 2)
        return select_split(ImageSet(images, torch.arange(50) % 2, ("even", "odd")), request)

    monkeypatch.setitem(sources.SOURCES, "numbers", load)


def numbers(**options: Any) -> ImageDataModule:
    return ImageDataModule("numbers", (1, 1, 2), **{"batch_size": 8, "seed": 3, **options})


def test_batches() -> None:
    data = ImageDataModule(batch_size=32, eval_batch_size=100)
    data.setup("fit")
    images, labels = next(iter(data.train_dataloader()))
    assert (images.shape, images.dtype) == ((32, 1, 8, 8), torch.uint8)
    assert (labels.shape, labels.dtype) == ((32,), torch.int64)
    assert [len(images) for images, _ in data.val_dataloader()] == [100, 80]
    assert isinstance(data.val_dataloader().sampler, SequentialSampler)


def test_epochs_in_the_trainer_and_whole_validations_in_order(tmp_path: Path) -> None:
    data = numbers(validation_fraction=0.3, eval_batch_size=4)
    model = record_batches(tmp_path, data, num_sanity_val_steps=0)
    loader = numbers(validation_fraction=0.3).train_dataloader()
    assert model.seen == [images.flatten().tolist() for _ in range(3) for images, _ in loader]
    assert model.seen[:3] != model.seen[3:6]
    assert list(chain(*model.validated[:4])) == data._sets["validation"].images.ravel().tolist()
    assert [len(batch) // 2 for batch in model.validated] == [4, 4, 4, 3] * 3


def test_a_run_with_workers_that_stopped_by_steps_and_resumed_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    def data() -> ImageDataModule:
        return numbers(num_workers=1, horizontal_flip=True)

    steps: dict[str, Any] = {"max_epochs": -1, "max_steps": 13}
    whole = record_batches(tmp_path, data(), **steps)
    keep = ModelCheckpoint(tmp_path, filename="stop", save_last=True)
    settings: dict[str, Any] = {"enable_checkpointing": True, "callbacks": [keep]}
    part = record_batches(tmp_path, data(), **steps | settings | {"max_steps": 7})
    rest = record_batches(tmp_path, data(), tmp_path / "last.ckpt", **steps)
    assert part.seen + rest.seen == whole.seen
    assert torch.equal(rest.weight, whole.weight)


def test_resuming_from_any_step_of_a_longer_run(tmp_path: Path) -> None:
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    whole = record_batches(tmp_path, numbers(horizontal_flip=True), enable_checkpointing=True, callbacks=[keep])
    assert len(whole.seen) == 15
    for step in (1, 4, 5, 7, 14):
        rest = record_batches(tmp_path, numbers(horizontal_flip=True), tmp_path / f"step={step}.ckpt")
        assert rest.seen == whole.seen[step:], f"resumed from step {step}"
        assert torch.equal(rest.weight, whole.weight)


@pytest.mark.parametrize(("batch_size", "num_batches"), [(4, 8 + 10), (16, 2 + 2)])
def test_resuming_within_an_epoch_in_batches_of_another_size(tmp_path: Path, batch_size: int, num_batches: int) -> None:
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    record_batches(tmp_path, numbers(), enable_checkpointing=True, callbacks=[keep])
    rest = record_batches(tmp_path, numbers(batch_size=batch_size), tmp_path / "step=7.ckpt")
    assert len(rest.seen) == num_batches
    assert len(list(chain(*rest.validated))) == 2 * 2 * 5, "both epochs are validated"


def test_resuming_between_limited_epochs(tmp_path: Path) -> None:
    keep = ModelCheckpoint(tmp_path, filename="{epoch}", every_n_epochs=1, save_top_k=-1)
    limit: dict[str, Any] = {"limit_train_batches": 3}
    whole = record_batches(tmp_path, numbers(), enable_checkpointing=True, callbacks=[keep], **limit)
    rest = record_batches(tmp_path, numbers(), tmp_path / "epoch=0.ckpt", **limit)
    assert rest.seen == whole.seen[3:]


def flipped(batch: list[int]) -> list[bool]:
    """Image i is [i, 255], mirrored [255, i]."""
    return [pair[0] == 255 for pair in np.reshape(batch, (-1, 2)).tolist()]


def test_flips_are_deterministic_and_for_training_only(tmp_path: Path) -> None:
    model = record_batches(tmp_path, numbers(horizontal_flip=True))
    flips = [flipped(batch) for batch in model.seen]
    assert 30 < sum(map(sum, flips)) < 90
    assert len({tuple(flip) for flip in flips}) > 10
    assert not any(any(flipped(batch)) for batch in model.validated)
    plain = record_batches(tmp_path, numbers()).seen
    assert not any(any(flipped(batch)) for batch in plain)
    images = [sorted(pair) for batch in model.seen for pair in np.reshape(batch, (-1, 2)).tolist()]
    assert images == [pair for batch in plain for pair in np.reshape(batch, (-1, 2)).tolist()]
    # Each batch of one accumulated step is flipped by itself, and the same in every run.
    assert record_batches(tmp_path, numbers(horizontal_flip=True), accumulate_grad_batches=5).seen == model.seen


@pytest.mark.parametrize("changed", [{}, {"seed": 4}, {"source": "digits"}, {"test_fraction": 0.2}], ids=str)
def test_another_split_than_before_a_resume_is_reported(changed: dict[str, Any]) -> None:
    data = numbers()
    data.recorded = {"source": "numbers", "seed": 3, "validation_fraction": 0.1, "test_fraction": 0.1} | changed
    with warnings.catch_warnings(record=True) as caught:
        data.setup("fit")
    words = [f"{name} changed since the start of the run" for name in changed]
    assert [str(warning.message).partition(";")[0] for warning in caught] == words
