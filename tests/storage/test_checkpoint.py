"""Checkpoints: what is read from them, where they are found, and how damaged ones are refused."""

import copy
import os
import random
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from damage import ABSENT, change, message_of
from registry import random_images, tiny_model

from glow_app.models.image_model import ImageModel
from glow_app.storage.checkpoint import read_checkpoint
from glow_app.storage.pretrained import save_pretrained
from glow_app.storage.stored_model import StoredModel, load_model


class RunsCode:
    """Its pickle creates a file when an unrestricted unpickler reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return open, (str(self.path), "w")


@pytest.fixture(scope="module")
def model() -> ImageModel:
    return tiny_model()


def contents(model: ImageModel) -> dict[str, Any]:
    return {
        "state_dict": {f"model.{name}": value for name, value in model.state_dict().items()},
        "glow_app": {"model": model.config, "training": {"bits_per_dim": 3.5}},
        "epoch": 4,
        "global_step": 70,
    }


def checkpoint(model: ImageModel, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(contents(model), path)
    return path


refusal = partial(message_of, load_model)


def test_a_loaded_checkpoint_equals_the_model(model: ImageModel, tmp_path: Path) -> None:
    content = contents(model)
    content["state_dict"]["metric.total"] = torch.zeros(1)  # ignored
    path = tmp_path / "best.ckpt"
    torch.save(content, path)
    loaded = load_model(str(path), device="auto")
    exported = load_model(save_pretrained(model, tmp_path / "export"))
    assert loaded.hash == model.hash == exported.hash == StoredModel(path).hash
    assert not loaded.training
    assert torch.equal(loaded.sample(3, seeds=0), model.sample(3, seeds=0))
    images = random_images(3)
    assert torch.equal(loaded.decode(loaded.encode(images)), images)


def test_an_unavailable_device_is_refused(model: ImageModel, tmp_path: Path) -> None:
    path = checkpoint(model, tmp_path / "best.ckpt")
    for device in ("abacus", "meta", torch.device("meta")):
        with pytest.raises(ValueError, match=f"device {device} is not available here; use cpu"):
            load_model(path, device)


def test_a_run_folder_gives_its_export_or_best_or_last_checkpoint(model: ImageModel, tmp_path: Path) -> None:
    last = checkpoint(model, tmp_path / "last.ckpt")
    assert StoredModel(tmp_path).path == last
    best = checkpoint(tiny_model(seed=1), tmp_path / "best.ckpt")
    assert StoredModel(str(tmp_path)).path == best
    export = save_pretrained(tiny_model(seed=2), tmp_path / "model")
    assert StoredModel(tmp_path).path == StoredModel(export).path == export
    assert load_model(tmp_path).hash == tiny_model(seed=2).hash


def test_a_folder_of_runs_gives_the_newest(model: ImageModel, tmp_path: Path) -> None:
    for number, name in enumerate(("new", "old")):
        path = checkpoint(model, tmp_path / "runs" / name / "time" / "last.ckpt")
        os.utime(path, (1000 - number, 1000 - number))
    with pytest.warns(UserWarning, match="contains 2 runs"):
        assert StoredModel(tmp_path / "runs").path == tmp_path / "runs/new/time/last.ckpt"
    assert StoredModel(tmp_path / "runs/old").path == tmp_path / "runs/old/time/last.ckpt"


@pytest.mark.parametrize(
    ("step", "age", "is_taken"), [(40, -1, True), (70, -1, False), (None, -1, False), (40, 0, False), (40, 1, False)]
)
def test_a_resumed_run_gives_its_best_checkpoint_until_the_next_export(
    model: ImageModel, tmp_path: Path, step: int | None, age: int, is_taken: bool
) -> None:
    export = save_pretrained(tiny_model(seed=2), tmp_path / "model", {"step": step})
    best = checkpoint(model, tmp_path / "best.ckpt")  # of step 70
    # A plain copy gives every file a new time; one that lost the times may have the same for all.
    now = best.stat().st_mtime_ns
    os.utime(export / "model.safetensors", ns=(now, now + age * 10**9))
    with warnings.catch_warnings(record=True, action="always") as caught:
        assert StoredModel(tmp_path).path == (best if is_taken else export)
    assert len(caught) == is_taken


def test_facts_and_data_of_the_training(model: ImageModel, tmp_path: Path) -> None:
    arguments = {"source": "folder", "seed": 3, "limit": None, "root": "/home/me/cats", "batch_size": 64}
    recorded = {"source": "folder", "seed": 3, "limit": None}
    path = tmp_path / "run" / "best.ckpt"
    path.parent.mkdir()
    torch.save({**contents(model), "datamodule_hyper_parameters": arguments}, path)
    assert StoredModel(path).facts == {"epoch": 4, "step": 70, "bits_per_dim": 3.5, "data": recorded}
    assert StoredModel(path).data() == recorded
    config = path.with_name("config.yaml")
    config.write_text("data: {source: folder, root: /home/me/cats, cache_dir: null, seed: 9}\n")
    assert StoredModel(path).data() == {**recorded, "root": "/home/me/cats"}
    exported = save_pretrained(model, tmp_path / "exported", StoredModel(path).facts)
    assert StoredModel(exported).data() == recorded  # exports are shared, so they have no folders
    config.write_text("data: {source: photos, root: /home/me/cats}\n")  # of another run
    assert StoredModel(path).data() == recorded
    assert StoredModel(checkpoint(model, tmp_path / "python.ckpt")).data() == {}


def test_a_flipped_bit_in_a_tensor_is_detected(model: ImageModel, tmp_path: Path) -> None:
    path = checkpoint(model, tmp_path / "best.ckpt")
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if "/data/" in entry.filename]
    for entry in random.Random(0).sample(entries, 10):
        # Behind the entry's header of 30 bytes, its name and its padding.
        end = entry.header_offset + 30 + len(entry.filename)
        place = end + int.from_bytes(content[entry.header_offset + 28 : entry.header_offset + 30], "little")
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert "checksum" in refusal(ValueError, path)


def test_a_file_that_expands_is_refused_before_it_is_read(
    model: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, bomb = checkpoint(model, tmp_path / "best.ckpt"), tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as expanding:
        for entry in archive.infolist():
            expanding.writestr(entry.filename, archive.read(entry))
        expanding.writestr("best/data/zeros", bytes(10**7))
    monkeypatch.setattr(zipfile.ZipFile, "testzip", lambda _: pytest.fail("was read"))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("was read"))
    assert "compressed" in refusal(ValueError, bomb)


OTHER_FILES = (b"", b"\x00" * 5000, b"epoch,loss\n1,2\n", b"PK\x03\x04", b"PK\x05\x06" + b"\x00" * 18, b".")
OTHER_CONTENTS = [{"state_dict": {}}, {"glow_app": {}}, {"model": torch.zeros(3)}, [1, 2], torch.zeros(3), "text", None]


def test_other_and_truncated_files_raise_one_line(model: ImageModel, tmp_path: Path) -> None:
    content = (path := checkpoint(model, tmp_path / "best.ckpt")).read_bytes()
    for share in (0.0001, 0.5, 0.9999):
        path.write_bytes(content[: int(share * len(content))])
        assert "best.ckpt is truncated or damaged" in refusal(ValueError, path)
    for other in OTHER_FILES:
        path.write_bytes(other)
        assert "best.ckpt" in refusal(ValueError, path)
    for stored in OTHER_CONTENTS:
        torch.save(stored, path)
        assert "best.ckpt is not a checkpoint of `glow fit`" in refusal(ValueError, path)
    with pytest.raises(FileNotFoundError, match="is not a checkpoint file"):
        read_checkpoint(tmp_path)


DAMAGES: dict[str, list[object]] = {
    "glow_app": [{}, None, {"model": None}, {"model": {}}],
    "state_dict": [{}, None, {1: torch.zeros(1)}],
    "state_dict/model.surplus": [torch.zeros(1)],
    "state_dict/model.flow.prior.whiten.mean": [ABSENT, "text", None, torch.zeros(1), torch.zeros(24, 1, 1).long()],
    "glow_app/model/flow/prior": [{"type": "os.system"}],
}


@pytest.mark.parametrize("place", DAMAGES)
def test_a_damaged_entry_raises_one_line(model: ImageModel, tmp_path: Path, place: str) -> None:
    for value in DAMAGES[place]:
        content = copy.deepcopy(contents(model))
        change(content, place, value)
        torch.save(content, tmp_path / "best.ckpt")
        refusal(ValueError, tmp_path / "best.ckpt")


def test_code_is_never_run(model: ImageModel, tmp_path: Path) -> None:
    path, made = tmp_path / "best.ckpt", tmp_path / "made-by-the-pickle"
    torch.save({**contents(model), "callbacks": RunsCode(made)}, path)
    torch.load(path, weights_only=False)["callbacks"].close()
    assert made.exists(), "the attack is real"
    made.unlink()
    assert "nothing was run" in refusal(ValueError, path)
    for content in (RunsCode(made), [RunsCode(made)]):
        torch.save(content, path, _use_new_zipfile_serialization=False)
        assert "not a checkpoint" in refusal(ValueError, path)
    assert not made.exists()
