from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from tiny_training import fed
from torch.utils.data import SequentialSampler

from glow_app.data import TOYS
from lightning_modules.vector_data import VectorDataModule


def table(folder: Path, width: int = 3) -> Path:
    np.save(folder / "table.npy", np.random.default_rng(0).normal(size=(100, width)))
    return folder / "table.npy"


def test_batches() -> None:
    data = VectorDataModule(eval_batch_size=4000)
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert (batch.shape, batch.dtype) == ((512, 2), torch.float32)
    assert len(data.train_dataloader()) == 97
    assert [len(batch) for batch in data.val_dataloader()] == [4000, 1000]
    assert [len(batch) for batch in data.test_dataloader()] == [4000] * 5
    assert isinstance(data.test_dataloader().sampler, SequentialSampler)
    assert torch.equal(torch.cat(list(data.test_dataloader())), data.examples("test").values)
    assert [len(batch) for batch in VectorDataModule(limit=600).val_dataloader()] == [512, 88]


def test_every_toy() -> None:
    for name in TOYS:
        assert VectorDataModule(name, limit=5).examples("validation").values.shape == (5, 2)


def test_a_table(tmp_path: Path) -> None:
    data = VectorDataModule("table", 3, table(tmp_path), batch_size=16)  # type: ignore[arg-type]
    data.setup("test")
    assert set(data._sets) == {"test"}
    data.setup("fit")
    assert [len(data.examples(split)) for split in ("train", "validation", "test")] == [80, 10, 10]


def test_hyperparameters_are_plain(tmp_path: Path) -> None:
    data = VectorDataModule("table", path=tmp_path)  # type: ignore[arg-type]
    assert isinstance(data.hparams, Mapping)
    assert {type(value) for value in data.hparams.values()} <= {str, int, float, type(None)}
    assert data.hparams["path"] == str(tmp_path)


def test_data_of_another_width(tmp_path: Path) -> None:
    path = table(tmp_path)
    with pytest.raises(ValueError, match=r"table.npy has 3 columns, not num_features 2; set model.num_features to 3"):
        VectorDataModule("table", path=str(path)).setup("fit")
    with pytest.raises(ValueError, match=r"rings has 2 columns, not num_features 5; set model.num_features to 2"):
        VectorDataModule("rings", 5).setup("fit")


def test_batch_larger_than_the_set() -> None:
    with pytest.raises(ValueError, match="batch_size is 512, but with 100 training vectors it must be from 1 to 100"):
        VectorDataModule(limit=100).train_dataloader()


def test_resuming_from_any_step(tmp_path: Path) -> None:
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    data = partial(VectorDataModule, "pinwheel", batch_size=8, num_samples=43, seed=3, limit=40)
    whole = fed(tmp_path, data(), enable_checkpointing=True, callbacks=[keep])
    assert len(whole.seen) == 15
    assert whole.seen[:5] != whole.seen[5:10]
    for step in (2, 5, 8, 14):
        rest = fed(tmp_path, data(), tmp_path / f"step={step}.ckpt")
        assert rest.seen == whole.seen[step:], f"resumed from step {step}"
        assert torch.equal(rest.weight, whole.weight)
