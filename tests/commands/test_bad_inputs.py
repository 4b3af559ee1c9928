"""Every bad input is answered in one line and exit code 1 or 2, and leaves nothing behind."""

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

Refused = Callable[..., str]

COMMANDS = {
    "sample": ["sample", "--output", "out"],
    "reconstruct": ["reconstruct", "--source", "digits", "--output", "out"],
    "export": ["export", "--output", "out"],
    "info": ["info"],
    "validate": ["validate"],
    "test": ["test"],
    "fit": ["fit"],
}


class Hostile:
    """Unpickled, it leaves a file."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch hacked",)


def saved(content: object) -> bytes:
    """Return what torch writes of something."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


# What is written, given a good checkpoint; None where there is no file.
CHECKPOINTS: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda good: None,
    "truncated early": lambda good: good[:5000],
    "truncated late": lambda good: good[:-100],
    "empty": lambda good: b"",
    "text": lambda good: b"a poem\n",
    "foreign": lambda good: saved({"state_dict": {"weight": torch.zeros(3)}, "epoch": 1}),
    "tensor": lambda good: saved(torch.zeros(3)),
    "pickle": lambda good: pickle.dumps(Hostile()),
    "code": lambda good: saved({**torch.load(io.BytesIO(good), weights_only=True), "more": Hostile()}),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", [*CHECKPOINTS, "folder"])
def test_bad_checkpoints(trained: Path, tmp_path: Path, refused: Refused, command: str, name: str) -> None:
    path = tmp_path / "bad.ckpt"
    if name == "folder":
        path.mkdir()
    elif (content := CHECKPOINTS[name]((trained / "last.ckpt").read_bytes())) is not None:
        path.write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    option = "--resume" if command == "fit" else "--checkpoint"
    message = refused(*COMMANDS[command], option, path, code=1)
    assert str(path) in message
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_weights_that_do_not_fit(trained: Path, tmp_path: Path, refused: Refused, command: str) -> None:
    checkpoint = torch.load(trained / "last.ckpt", weights_only=True)
    torch.save({**checkpoint, "state_dict": {}, "current_model_state": {}}, tmp_path / "bad.ckpt")
    option = "--resume" if command == "fit" else "--checkpoint"
    message = refused(*COMMANDS[command], option, tmp_path / "bad.ckpt", code=1)
    assert len(message) < 600
    assert "do not match" in message


@pytest.mark.parametrize("command", ["sample", "info", "reconstruct", "export"])
def test_damaged_exports(trained: Path, tmp_path: Path, refused: Refused, command: str) -> None:
    model = tmp_path / "model"
    model.mkdir()
    config, weights = ((trained / "model" / name).read_bytes() for name in ("config.json", "model.safetensors"))
    arguments = [*COMMANDS[command], "--checkpoint", model]
    (model / "config.json").write_bytes(config)
    assert "model.safetensors" in refused(*arguments, code=1)
    (model / "model.safetensors").write_bytes(weights[:-10])
    assert "damaged" in refused(*arguments, code=1)
    (model / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert "not those" in refused(*arguments, code=1)
    (model / "model.safetensors").write_bytes(weights)
    (model / "config.json").write_bytes(config.replace(b"glow_app.nn.ConvConditioner", b"subprocess.Popen"))
    assert "subprocess.Popen" in refused(*arguments, code=1)
    (model / "config.json").write_bytes(config[:100])
    assert "damaged" in refused(*arguments, code=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["sample", "reconstruct", "interpolate"])
def test_a_label_for_a_model_without_classes(
    trained: Path, pictures: list[Path], refused: Refused, command: str
) -> None:
    arguments = {
        "sample": ["--label", 3],
        "reconstruct": [*pictures, "--label", 3],
        "interpolate": [*pictures[:2], "--label", 3, 4],
    }[command]
    assert "class-conditional" in refused(command, "--checkpoint", trained, *arguments)


@pytest.mark.parametrize("arguments", [["sample", "--label", 3], ["reconstruct"], ["reconstruct", "none.png"]], ids=str)
def test_a_refusal_leaves_no_empty_folder(
    trained: Path, tmp_path: Path, refused: Refused, arguments: list[object]
) -> None:
    refused(*arguments, "--checkpoint", trained)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["sample", "reconstruct", "export", "interpolate", "fit"])
def test_a_place_that_cannot_be_written(
    trained: Path, tmp_path: Path, pictures: list[Path], refused: Refused, tiny_run: list[str], command: str
) -> None:
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    place = tmp_path / "file" / "out"
    arguments = {
        "sample": ["sample", "--checkpoint", trained, "--output", place],
        "reconstruct": ["reconstruct", *pictures, "--checkpoint", trained, "--output", place],
        "export": ["export", "--checkpoint", trained, "--output", place],
        "interpolate": ["interpolate", *pictures[:2], "--checkpoint", trained, "--output", place / "strip.png"],
        "fit": ["fit", "--run_dir", place, *tiny_run],
    }[command]
    assert str(tmp_path / "file") in refused(*arguments, code=1)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder(trained: Path, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "Permission denied" in refused("sample", "--checkpoint", trained, "--output", tmp_path / "locked")
    assert list((tmp_path / "locked").iterdir()) == []


def test_bad_pictures(trained: Path, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG and no more")
    Image.new("F", (8, 8)).save(tmp_path / "float.tif")
    reconstruct = ["reconstruct", "--checkpoint", trained]
    assert "needs" in refused(*reconstruct, code=2)
    assert "not both" in refused(*reconstruct, tmp_path / "broken.png", "--source", "digits", code=2)
    assert "(--root, where a command has it)" in refused(*reconstruct, "--source", "folder")
    assert "no image files" in refused(*reconstruct, tmp_path / "empty")
    for name in ("broken.png", "float.tif", "none.png"):
        assert name in refused(*reconstruct, tmp_path / name)
    assert "did you mean" in refused(*reconstruct, "--source", "digit")
    assert not list(tmp_path.rglob("*comparison*"))


def test_a_folder_in_the_place_of_a_picture(trained: Path, pictures: list[Path], refused: Refused) -> None:
    folder = pictures[0].parent
    for more in ([], [pictures[0]]):
        message = refused("interpolate", folder, *more, "--checkpoint", trained, code=2)
        assert message == f"error: {folder} is a folder; glow interpolate expects picture files"
    Path("a.csv").write_text(f"file,a\n{folder},1\n{pictures[0]},0\n")
    message = refused("edit", "learn", "--attributes", "a.csv", "--checkpoint", trained)
    assert message == f"error: {folder} is a folder; expected picture files"


def test_a_file_in_the_place_of_a_folder(trained: Path, pictures: list[Path], refused: Refused) -> None:
    for command in (["sample"], ["score", pictures[0]], ["edit", "apply", pictures[0], "--direction", "x"]):
        message = refused(*command, "--checkpoint", trained, "--output", pictures[0])
        assert command[0] == "edit" or message == f"error: {pictures[0]} is a file; expected a folder for the results"


def test_the_name_of_a_file_for_a_folder(trained: Path, pictures: list[Path], refused: Refused) -> None:
    model, picture = ["--checkpoint", trained], pictures[0]
    for command in (["sample", *model], ["score", picture, *model], ["reconstruct", picture, *model]):
        message = refused(*command, "--output", "out.png", code=2)
        assert message == "error: out.png is the name of a file; expected a folder for the results"
    for other in (["export", *model], ["data", "render", "faces"], ["data", "pack", picture.parent]):
        assert "out.png is the name of a file" in refused(*other, "--output", "out.png", code=2)
    assert "is the name of a file" in refused("sample", "--checkpoint", "none", "--output", "out.png", code=2)


def test_bad_pictures_for_info(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG and no more")
    Image.new("L", (8, 8)).save(tmp_path / "mute.png")
    Image.new("L", (8, 8)).save(tmp_path / "jpeg.png", format="JPEG")
    assert "broken.png" in refused("info", tmp_path / "broken.png")
    assert "carries no text" in refused("info", tmp_path / "mute.png")
    assert "JPEG" in refused("info", tmp_path / "jpeg.png")
    assert "none.png" in refused("info", tmp_path / "none.png")


MODELS = {
    "num_bits 0": ("--model.num_bits=0", "num_bits is 0"),
    "num_bits 9": ("--model.num_bits=9", "num_bits is 9"),
    "num_bits 4.5": ("--model.num_bits=4.5", "num_bits"),
    "too many levels": ("--model.flow.num_levels=4", "from 1 to 3"),
    "no level": ("--model.flow.num_levels=0", "from 1 to 3"),
    "odd height": ("--model.flow.image_shape=[1,7,8]", "must be even"),
    "two channels": ("--model.flow.image_shape=[2,8,8]", "1 (grey) and 3 (RGB)"),
    "no channel": ("--model.flow.image_shape=[0,8,8]", "image_shape"),
    "two sides only": ("--model.flow.image_shape=[1,8]", "image_shape"),
    "no steps": ("--model.flow.num_steps=0", "num_steps is 0"),
    "steps of other levels": ("--model.flow.num_steps=[1,2,3]", "a list of 2"),
    "no width": ("--model.flow.hidden_channels=0", "hidden_channels is 0"),
    "unknown coupling": ("--model.flow.coupling=afine", "affine"),
    "decay 1": ("--ema.decay=1", "decay is 1"),
}


@pytest.mark.parametrize("name", MODELS)
def test_bad_models(tmp_path: Path, refused: Refused, tiny_run: list[str], name: str) -> None:
    option, words = MODELS[name]
    assert words in refused("fit", "--run_dir", tmp_path / "run", *tiny_run, option)
    assert not list(tmp_path.rglob("*.*"))


DATA = {
    "batch too large": (["--data.batch_size=100000"], "must be from 1 to 256"),
    "no batch": (["--data.batch_size=0"], "batch_size is 0"),
    "limit 0": (["--data.limit=0"], "limit is 0"),
    "fraction 1": (["--data.validation_fraction=1"], "validation_fraction"),
    "unknown source": (["--data.source=digit"], "did you mean digits?"),
    "no root": (["--data.source=folder"], "--data.root"),
    "no folder": (["--data.source=folder", "--data.root=none"], "does not exist"),
    "an empty folder": (["--data.source=folder", "--data.root=empty"], "no image files"),
    "broken files only": (["--data.source=folder", "--data.root=broken"], "no readable image"),
    "absent data set": (["--data.source=mnist", "--data.root=empty"], "empty"),
}


@pytest.mark.parametrize("name", DATA)
def test_bad_data(tmp_path: Path, refused: Refused, tiny_run: list[str], name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"\x89PNG and no more")
    options, words = DATA[name]
    assert words in refused("fit", "--run_dir", tmp_path / "run", *tiny_run, *options)


def test_a_run_that_could_not_start_can_be_tried_again(
    tmp_path: Path, glow: Callable[..., Any], refused: Refused, tiny_run: list[str]
) -> None:
    run = ["fit", "--run_dir", tmp_path / "run", *tiny_run, "--trainer.max_epochs=1"]
    refused(*run, "--data.batch_size=100000")
    assert glow(*run).code == 0


def test_bad_configurations(tmp_path: Path, refused: Refused) -> None:
    assert "none.yaml" in refused("fit", "--config", tmp_path / "none.yaml", code=2)
    (tmp_path / "broken.yaml").write_text("model: [\n")
    refused("fit", "--config", tmp_path / "broken.yaml", code=2)
    (tmp_path / "typo.yaml").write_text("model:\n  num_bit: 3\n")
    assert "num_bit" in refused("fit", "--config", tmp_path / "typo.yaml", code=2)
    assert "needs a folder of pictures or --config NAME" in refused("fit", code=2)


def test_an_earlier_run_is_not_mixed_with_another(trained: Path, refused: Refused, tiny_run: list[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    assert "--resume" in refused("fit", "--run_dir", trained, *tiny_run, code=1)
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before
