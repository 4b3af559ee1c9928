import io
import os
import pickle
import random
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import one_line
import pytest
import torch
from damage import ABSENT, change
from PIL import Image
from registry import random_images, tiny_model

from glow_app.models.image_model import ImageModel
from glow_app.storage.checkpoint import read_checkpoint
from glow_app.storage.pretrained import model_hash, save_pretrained
from glow_app.storage.stored_model import StoredModel, load_model


class RunsCode:
    """A pickle of this makes a file when it is read by an ordinary unpickler."""

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


message_of = partial(one_line.message_of, load_model)


def test_a_checkpoint_is_its_model(model: ImageModel, tmp_path: Path) -> None:
    loaded = load_model(checkpoint(model, tmp_path / "best.ckpt"))
    assert model_hash(loaded) == model_hash(model)
    assert not loaded.training
    assert torch.equal(loaded.sample(3, seeds=0), model.sample(3, seeds=0))
    images = random_images(3)
    assert torch.equal(loaded.decode(loaded.encode(images)), images)


def test_paths_may_be_strings(model: ImageModel, tmp_path: Path) -> None:
    path = str(checkpoint(model, tmp_path / "best.ckpt"))
    assert load_model(path, device="auto")
    for device in ("abacus", "meta", torch.device("meta")):
        with pytest.raises(ValueError, match=f"device {device} is not available here; use cpu"):
            load_model(path, device)


def test_other_entries_of_the_state_are_ignored(model: ImageModel, tmp_path: Path) -> None:
    content = contents(model)
    content["state_dict"]["metric.total"] = torch.zeros(1)
    torch.save(content, tmp_path / "best.ckpt")
    assert model_hash(load_model(tmp_path / "best.ckpt")) == model_hash(model)


def test_an_export_and_its_checkpoint_are_the_same_model(model: ImageModel, tmp_path: Path) -> None:
    exported = load_model(save_pretrained(model, tmp_path / "export"))
    assert model_hash(exported) == model_hash(load_model(checkpoint(model, tmp_path / "best.ckpt")))


def test_a_runs_folder_means_its_export_else_its_best_else_its_last(model: ImageModel, tmp_path: Path) -> None:
    checkpoint(model, tmp_path / "last.ckpt")
    assert StoredModel(tmp_path).path == tmp_path / "last.ckpt"
    best = checkpoint(tiny_model(seed=1), tmp_path / "best.ckpt")
    assert StoredModel(str(tmp_path)).path == best
    assert model_hash(load_model(tmp_path)) == model_hash(tiny_model(seed=1))
    export = save_pretrained(tiny_model(seed=2), tmp_path / "model")
    assert StoredModel(tmp_path).path == export
    assert model_hash(load_model(tmp_path)) == model_hash(tiny_model(seed=2))
    assert StoredModel(export).path == export


@pytest.mark.parametrize(
    ("step", "age", "is_taken"),
    [(40, -1, True), (70, -1, False), (90, -1, False), (None, -1, False), (40, 0, False), (40, 1, False)],
)
def test_a_resumed_run_means_its_best_checkpoint_until_it_exports_again(
    model: ImageModel,
    tmp_path: Path,
    recwarn: pytest.WarningsRecorder,
    step: int | None,
    age: int,
    is_taken: bool,
) -> None:
    export = save_pretrained(tiny_model(seed=2), tmp_path / "model", {"step": step})
    best = checkpoint(model, tmp_path / "best.ckpt")  # of step 70
    # A plain copy gives every file a new time; one that lost the times may have the same for all.
    now = best.stat().st_mtime_ns
    os.utime(export / "model.safetensors", ns=(now, now + age * 10**9))
    assert StoredModel(tmp_path).path == (best if is_taken else export)
    messages = [str(warning.message) for warning in recwarn]
    assert len(messages) == is_taken
    assert all(f"{best} (step 70) is taken: {export} (step 40) is from before" in message for message in messages)
    assert StoredModel(export).path == export


def test_an_export_beside_a_damaged_checkpoint_is_taken(tmp_path: Path) -> None:
    export = save_pretrained(tiny_model(), tmp_path / "model", {"step": 1})
    (tmp_path / "best.ckpt").write_bytes(b"damaged")
    os.utime(export / "model.safetensors", ns=(0, 0))
    assert StoredModel(tmp_path).path == export


def test_what_is_known_of_the_training(model: ImageModel, tmp_path: Path) -> None:
    path = checkpoint(model, tmp_path / "best.ckpt")
    assert StoredModel(path).facts == {"epoch": 4, "step": 70, "bits_per_dim": 3.5}
    assert StoredModel(save_pretrained(model, tmp_path / "export", training={"epoch": 4})).facts == {"epoch": 4}


def test_which_data_the_training_was_on(model: ImageModel, tmp_path: Path) -> None:
    arguments = {"source": "folder", "seed": 3, "limit": None, "root": "/home/me/cats", "batch_size": 64}
    recorded = {"source": "folder", "seed": 3, "limit": None}
    path = tmp_path / "run" / "best.ckpt"
    path.parent.mkdir()
    torch.save({**contents(model), "datamodule_hyper_parameters": arguments}, path)
    assert StoredModel(path).data() == StoredModel(path).facts["data"] == recorded
    config = path.with_name("config.yaml")
    config.write_text("data: {source: folder, root: /home/me/cats, cache_dir: null, seed: 9}\n")
    assert StoredModel(path).data() == {**recorded, "root": "/home/me/cats"}
    # An export goes to others, whom the folders here do not concern.
    exported = save_pretrained(model, tmp_path / "exported", StoredModel(path).facts)
    assert StoredModel(exported).data() == recorded
    config.write_text("data: {source: photos, root: /home/me/cats}\n")  # of another run
    assert StoredModel(path).data() == recorded
    assert StoredModel(checkpoint(model, tmp_path / "python.ckpt")).data() == {}


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    assert "nowhere.ckpt" in message_of(FileNotFoundError, tmp_path / "nowhere.ckpt")


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    assert "not a model or a run" in message_of(FileNotFoundError, tmp_path)


def test_a_run_whose_export_is_empty_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    message_of(FileNotFoundError, tmp_path)


@pytest.mark.parametrize("share", [0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.9999])
def test_a_truncated_checkpoint_is_damaged(model: ImageModel, tmp_path: Path, share: float) -> None:
    path = checkpoint(model, tmp_path / "best.ckpt")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "best.ckpt" in message_of(ValueError, path)


def test_a_damaged_middle_is_an_error_or_harmless(model: ImageModel, tmp_path: Path) -> None:
    path = checkpoint(model, tmp_path / "best.ckpt")
    content = path.read_bytes()
    generator = random.Random(0)
    for _ in range(40):
        start = generator.randrange(len(content))
        path.write_bytes(content[:start] + generator.randbytes(64) + content[start + 64 :])
        try:
            load_model(path)
        except ValueError as error:
            assert "\n" not in str(error)  # noqa: PT017


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"\x00" * 5000,
        b"hello, world\n",
        b"epoch,loss\n1,2\n",
        b"{}",
        b"PK\x03\x04",
        b"PK\x05\x06" + b"\x00" * 18,
        b"\x80\x02",
        b"\x80\x04\x95",
        b"\x1f\x8b\x08\x00",
        b"I1\n.",
        b".",
        b"(",
        b"]q\x00.",
        b"\x8c\xff\xff",
        png(),
    ],
)
def test_other_files_are_one_line_of_value_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "best.ckpt"
    path.write_bytes(content)
    assert "best.ckpt" in message_of(ValueError, path)


def test_random_bytes_are_a_value_error(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    generator = random.Random(0)
    for _ in range(300):
        path.write_bytes(generator.choice([b"", b"\x80\x02", b"\x80\x04"]) + generator.randbytes(40))
        message_of(ValueError, path)


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": {}},
        {"glow_app": {}},
        {"model": torch.zeros(3)},
        {},
        [1, 2, 3],
        torch.zeros(3),
        "text",
        None,
    ],
)
def test_checkpoints_of_other_projects_are_foreign(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "best.ckpt")
    assert "another project" in message_of(ValueError, tmp_path / "best.ckpt")


DAMAGES: dict[str, list[object]] = {
    "glow_app": [{}, None, [1], {"model": None}, {"model": {}}],
    "state_dict": [{}, None, [1], {1: torch.zeros(1)}],
    "state_dict/model.surplus": [torch.zeros(1)],
    "state_dict/model.flow.prior.whiten.mean": [ABSENT, "text", None, torch.zeros(1), torch.zeros(24, 1, 1).long()],
}


@pytest.mark.parametrize(("place", "value"), [(place, value) for place in DAMAGES for value in DAMAGES[place]])
def test_a_damaged_part_is_one_line_of_value_error(
    model: ImageModel, tmp_path: Path, place: str, value: object
) -> None:
    content = contents(model)
    change(content, place, value)
    torch.save(content, tmp_path / "best.ckpt")
    message_of(ValueError, tmp_path / "best.ckpt")


def test_the_classes_of_a_checkpoint_are_checked_too(model: ImageModel, tmp_path: Path) -> None:
    content = deepcopy(contents(model))
    change(content, "glow_app/model/flow/prior", {"class_path": "os.system", "init_args": {}})
    torch.save(content, tmp_path / "best.ckpt")
    assert "'os.system'" in message_of(ValueError, tmp_path / "best.ckpt")


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle", "inside a checkpoint"])
def test_a_pickle_with_code_is_never_run(model: ImageModel, tmp_path: Path, form: str) -> None:
    path, made = tmp_path / "best.ckpt", tmp_path / "made-by-the-pickle"
    if form == "pickle":
        path.write_bytes(pickle.dumps(RunsCode(made)))
        pickle.loads(path.read_bytes()).close()
        assert made.exists(), "the attack is real"
        made.unlink()
    elif form == "inside a checkpoint":
        torch.save({**contents(model), "callbacks": RunsCode(made)}, path)
    else:
        torch.save(RunsCode(made), path, _use_new_zipfile_serialization=form == "zip")
    made.unlink(missing_ok=True)
    expected = (
        "holds code ('io.open'), which is never run" if form in ("zip", "inside a checkpoint") else "no checkpoint"
    )
    assert expected in message_of(ValueError, path)
    assert not made.exists()


def test_read_checkpoint_refuses_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a checkpoint file"):
        read_checkpoint(tmp_path)
