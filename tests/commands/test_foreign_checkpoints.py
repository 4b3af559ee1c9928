"""Checkpoints that a stranger has made: they run nothing, write nowhere, and read and fetch nothing unasked."""

import copy
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from glow_app.storage.checkpoint import CHECKPOINT_KEY, read_checkpoint
from lightning_modules import optimizers

Forge = Callable[..., Path]
Change = Callable[[dict[str, Any]], object]


def put(place: str, value: object) -> Change:
    """Return what sets a value at a place such as ``model.optimizer``, making the way to it."""

    def change(config: dict[str, Any]) -> None:
        *way, last = place.split(".")
        for name in way:
            config[name] = config.get(name) or {}
            config = config[name]
        config[last] = value

    return change


@pytest.fixture
def forge(trained: Path, tmp_path: Path) -> Forge:
    """Return a function that makes a stranger's checkpoint: the trained one, with another configuration or content."""

    def make(change: Change | None = None, **content: Any) -> Path:
        checkpoint = torch.load(trained / "last.ckpt", weights_only=True)
        checkpoint.pop("glow_app_seals", None)
        config = yaml.safe_load(checkpoint["glow_app_config"])
        if change is not None:
            change(config)
        path = tmp_path / "stranger" / "last.ckpt"
        path.parent.mkdir(exist_ok=True)
        torch.save({**checkpoint, "glow_app_config": yaml.safe_dump(config), **content}, path)
        return path

    return make


COMMANDS = [("test", "--checkpoint"), ("validate", "--checkpoint"), ("fit", "--resume")]
on_every_command = pytest.mark.parametrize(("command", "option"), COMMANDS)


def touching(path: Path) -> dict[str, Any]:
    return {"class_path": "os.system", "init_args": {"command": f"touch {path}"}}


# F1: the parameters whose type is a function, and the other ways in which the parser comes to a class or a file.
FLOW, PRIOR = "model.flow.init_args", "model.flow.init_args.prior"
ATTACKS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "prior": (PRIOR, touching),
    "conditioner": (f"{FLOW}.conditioner", touching),
    "optimizer": ("model.optimizer", touching),
    "lr_scheduler": ("model.lr_scheduler", touching),
    "flow": ("model.flow", touching),
    "strategy": ("trainer.strategy", touching),
    "accelerator": ("trainer.accelerator", touching),
    "logger": ("trainer.logger", touching),
    "logger in a list": ("trainer.logger", lambda path: [touching(path)]),
    "hook of a strategy": (
        "trainer.strategy",
        lambda _: {
            "class_path": "pytorch_lightning.strategies.DDPStrategy",
            "init_args": {"ddp_comm_hook": "os.system"},
        },
    ),
    "deep in arguments": (f"{PRIOR}.init_args", lambda path: {"num_layers": touching(path)}),
    "in a list": (f"{PRIOR}.init_args", lambda path: {"num_layers": [touching(path)]}),
    "dict_kwargs": (
        "model.optimizer",
        lambda path: {"class_path": "torch.optim.Adam", "dict_kwargs": {"hook": touching(path)}},
    ),
    "a path as text": ("model.optimizer", lambda _: "os.system"),
    "a module of the person": ("model.optimizer", lambda _: {"class_path": "evil.Adam"}),
    "a configuration file": ("model", lambda path: str(path.with_name("other.yaml"))),
    "a file of a part": ("model.optimizer", lambda path: str(path.with_name("other.yaml"))),
    "a file of arguments": (
        "model.optimizer",
        lambda path: {"class_path": "torch.optim.Adam", "init_args": str(path.with_name("other.yaml"))},
    ),
    "__path__": ("model.optimizer", lambda _: {"__path__": "x", "class_path": "torch.optim.Adam"}),
    "interpolation": ("data.batch_size", lambda _: "${oc.env:HOME}"),
    "an unknown section": ("config", lambda path: str(path.with_name("other.yaml"))),
    "an option of its own": ("print_config", lambda _: True),
    "thousands of processes": ("data.num_workers", lambda _: 100_000),
    "billions of points": ("data.num_samples", lambda _: 300_000_000),
    "billions of draws": ("model.num_draws", lambda _: 10**9),
    "thousands of devices": ("trainer.devices", lambda _: "100000"),
}


@pytest.mark.parametrize("name", ATTACKS)
@on_every_command
def test_a_configuration_names_nothing_but_numbers_and_known_classes(
    forge: Forge, refused: Callable[..., str], tmp_path: Path, command: str, option: str, name: str
) -> None:
    made = tmp_path / "made"
    (tmp_path / "evil.py").write_text(f"open({str(made)!r}, 'w')\n")
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(touching(made)))
    place, value = ATTACKS[name]
    message = refused(command, option, forge(put(place, value(made))), code=1)
    assert not made.exists()
    assert "which is not taken from a checkpoint" in message
    assert "--" in message  # how to give it oneself


@on_every_command
def test_classes_of_the_model_itself_are_of_a_list(
    forge: Forge, refused: Callable[..., str], trained: Path, command: str, option: str, tmp_path: Path
) -> None:
    facts = copy.deepcopy(read_checkpoint(trained / "last.ckpt")[CHECKPOINT_KEY])
    facts["model"]["flow"]["prior"] = touching(tmp_path / "made")
    path = forge(put(PRIOR, touching(tmp_path / "made")), **{CHECKPOINT_KEY: facts})
    message = refused(command, option, path, code=1)
    assert "'os.system'" in message
    assert "--allow-class" in message
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x]\nmodel: !!python/object/apply:os.system ['touch made']\n",
        "- 1\n",
        "model: {\n",
        "[" * 5000,
        "\n".join(["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]),
        "model: " + "9" * 5000,
        "x: " + "y" * 200_000,
        "seed_everything: 2001-99-99\n",
    ],
    ids=["a tag", "a list", "broken", "deep", "aliases", "a huge number", "long", "no date"],
)
def test_a_damaged_configuration_is_one_line(forge: Forge, refused: Callable[..., str], text: str) -> None:
    path = forge(glow_app_config=text)
    assert "holds a damaged configuration" in refused("test", "--checkpoint", path, code=1)
    assert not Path("made").exists()


def test_a_class_of_ones_own_is_given_again(
    forge: Forge, refused: Callable[..., str], glow: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("from torch.optim import Adam\n\n\nclass MyAdam(Adam):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = forge(put("model.optimizer", {"class_path": "mine.MyAdam", "init_args": {"lr": 0.001}}))
    message = refused("fit", "--resume", path, code=1)
    assert "'mine.MyAdam' for 'model.optimizer'" in message
    assert "--model.optimizer" in message
    assert "mine" not in sys.modules
    own = ["--model.optimizer=mine.MyAdam", "--model.optimizer.lr=0.001", "--trainer.max_epochs=3"]
    with pytest.warns(UserWarning, match=r"^model\.optimizer is restored as it was saved"):
        assert glow_code(glow("fit", "--resume", path, *own)) == 0
    assert read_checkpoint(path)["epoch"] == 2
    config = tmp_path / "own.yaml"
    config.write_text(yaml.safe_dump({"model": {"optimizer": {"class_path": "mine.MyAdam"}}}))
    assert glow("test", "--checkpoint", path, "--config", config).code == 0


def glow_code(result: Any) -> int:
    for line in result.errors:
        import warnings

        warnings.warn(line.removeprefix("warning: "), stacklevel=2)
    return int(result.code)


def test_every_optimiser_of_the_project_and_of_torch_goes_on() -> None:
    from lightning_modules.command_line.allowed_values import OPTIMIZERS, SCHEDULES

    assert {f"lightning_modules.optimizers.{name}" for name in optimizers.__all__} <= OPTIMIZERS
    assert {"torch.optim.Adam", "torch.optim.Adamax", "torch.optim.SGD"} <= OPTIMIZERS
    assert "lightning_modules.schedules.LinearWarmupCosine" in SCHEDULES


# F2


@on_every_command
def test_nothing_is_written_where_a_checkpoint_says(
    forge: Forge, glow: Callable[..., Any], tmp_path: Path, command: str, option: str
) -> None:
    away = tmp_path / "away"
    profiler = {
        "class_path": "pytorch_lightning.profilers.SimpleProfiler",
        "init_args": {"dirpath": str(away), "filename": "profile"},
    }
    callback = {"class_path": "pytorch_lightning.callbacks.ModelCheckpoint", "init_args": {"dirpath": str(away)}}

    def change(config: dict[str, Any]) -> None:
        config["trainer"] |= {"profiler": profiler, "callbacks": [callback], "default_root_dir": str(away)}
        config["trainer"] |= {"plugins": [{"class_path": "os.system", "init_args": {"command": f"touch {away}"}}]}
        config |= {"run_dir": str(away), "name": "../../away"}
        config["trainer"]["max_epochs"] = 3

    path = forge(change)
    if command == "fit":
        assert glow(command, option, path).code == 1  # of the name

    def change_but_the_name(config: dict[str, Any]) -> None:
        change(config)
        del config["name"]

    path = forge(change_but_the_name)
    result = glow(command, option, path)
    assert result.code == 0, result
    assert not away.exists()
    told = [line for line in result.errors if "is left out" in line]
    assert [line.split()[0] for line in told] == ["trainer.callbacks", "trainer.plugins", "trainer.profiler"]


def test_what_a_callback_remembers_deletes_nothing(forge: Forge, glow: Callable[..., Any], tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    treasure.write_text("mine")
    path = forge(put("trainer.max_epochs", 3))
    checkpoint = torch.load(path, weights_only=True)
    (name,) = (name for name in checkpoint["callbacks"] if name.startswith("BestCheckpoint"))
    run_dir = os.path.realpath(path.parent)
    outdone = f"{run_dir}/../treasure"
    checkpoint["callbacks"][name] |= {
        "dirpath": run_dir,
        "best_model_path": outdone,
        "best_k_models": {outdone: torch.tensor(99.0)},
        "kth_best_model_path": outdone,
        "kth_value": torch.tensor(99.0),
        "best_model_score": torch.tensor(99.0),
    }
    torch.save(checkpoint, path)
    assert glow("fit", "--resume", path).code == 0
    assert treasure.read_text() == "mine"
    assert (path.parent / "best.ckpt").exists()


def test_the_loggers_of_this_project_go_on_and_others_do_not(
    forge: Forge, glow: Callable[..., Any], refused: Callable[..., str]
) -> None:
    csv = {"class_path": "pytorch_lightning.loggers.CSVLogger", "init_args": {"save_dir": "away"}}
    assert "CSVLogger" in refused("fit", "--resume", forge(put("trainer.logger", csv)), code=1)
    wandb: dict[str, Any] = {
        "class_path": "lightning_modules.runs.run_loggers.RunWandbLogger",
        "init_args": {"project": "p"},
    }
    assert "trainer.logger" in refused("fit", "--resume", forge(put("trainer.logger", wandb)), code=1)
    wandb["init_args"]["options"] = {"dir": "away"}
    assert "'trainer.logger.options.dir'" in refused("fit", "--resume", forge(put("trainer.logger", wandb)), code=1)
    assert glow("test", "--checkpoint", forge(put("trainer.logger", False))).code == 0


# F3


def folder_of_digits(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(40):
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("root", "/somewhere"),
        ("root", "https://169.254.169.254/latest"),
        ("root", "s3://bucket/shards"),
        ("cache_dir", "/home/me"),
        ("source", "hf://stranger/set"),
        ("download", True),
    ],
)
@on_every_command
def test_a_strangers_places_are_not_taken(
    forge: Forge, refused: Callable[..., str], command: str, option: str, name: str, value: object
) -> None:
    message = refused(command, option, forge(put(f"data.{name}", value)), code=1)
    assert f"{str(value)!r} for data.{name}" in message
    assert "--trust-data" in message


def test_places_are_given_or_trusted(forge: Forge, glow: Callable[..., Any], tmp_path: Path) -> None:
    root = folder_of_digits(tmp_path / "digits")

    def change(config: dict[str, Any]) -> None:
        config["data"] |= {"source": "folder", "root": str(root), "limit": None}

    path = forge(change)
    assert glow("test", "--checkpoint", path).code == 1
    trusted = glow("test", "--checkpoint", path, "--trust-data")
    assert trusted.code == 0
    assert f"data.root as in {path}: {str(root)!r}" in trusted.output.splitlines()
    given = glow("test", "--checkpoint", path, "--data.root", root)
    assert given.code == 0
    assert "data.root as in" not in given.output
    other = glow("test", "--checkpoint", path, "--data.source", "digits")
    assert other.code == 0, other


def test_a_run_of_ones_own_goes_on_without_a_question_and_says_where(
    glow: Callable[..., Any], tiny_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder_of_digits(tmp_path / "digits")
    options = ["--data.source=folder", f"--data.root={root}", "--data.batch_size=8", "--trainer.max_epochs=1"]
    assert glow("fit", "--run_dir=mine", *tiny_run, *options).code == 0
    told = f"data.root as in mine/{{}}.ckpt: {str(root)!r}"
    resumed = glow("fit", "--resume=mine", "--trainer.max_epochs=2")
    assert resumed.code == 0
    assert told.format("last") in resumed.output.splitlines()
    assert told.format("best") in glow("test", "--checkpoint=mine").output.splitlines()
    shutil.copytree("mine", "elsewhere")
    assert glow("validate", "--checkpoint=elsewhere").code == 0
    # Another user, or this one in a container: the line that a scheduler gives again says it all.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "of another"))
    assert glow("validate", "--checkpoint=mine").code == 1
    anew = glow("fit", "--run_dir=mine", "--resume=auto", *tiny_run, *options[:3], "--trainer.max_epochs=3")
    assert anew.code == 0, anew
    assert "data.root as in" not in anew.output
    assert glow("validate", "--checkpoint=mine/last.ckpt").code == 0  # which is that user's now


def test_an_evaluation_takes_no_places_of_strangers(
    glow: Callable[..., Any], forge: Forge, trained: Path, tmp_path: Path
) -> None:
    data = torch.load(trained / "last.ckpt", weights_only=True)["datamodule_hyper_parameters"]
    path = forge(datamodule_hyper_parameters={**data, "source": "hf://stranger/set"})
    result = glow("evaluate", "--checkpoint", path)
    assert result.code == 1
    assert any("hf://stranger/set" in line and "--trust-data" in line for line in result.errors)
    assert any("give --source" in line for line in result.errors)
    exported = tmp_path / "exported"
    glow("export", "--checkpoint", trained / "last.ckpt", "--output", exported)
    config = json.loads((exported / "config.json").read_text())
    config["training"]["data"] = {"source": "folder", "root": "/home/me", "cache_dir": "/home/me", "download": True}
    (exported / "config.json").write_text(json.dumps(config))
    result = glow("evaluate", "--checkpoint", exported)
    assert any("source folder needs --root" in line for line in result.errors)


# F5


@on_every_command
def test_flipped_bytes_are_found(
    trained: Path, refused: Callable[..., str], tmp_path: Path, command: str, option: str
) -> None:
    path = tmp_path / "run" / "last.ckpt"
    path.parent.mkdir()
    content = bytearray((trained / "last.ckpt").read_bytes())
    weights = read_checkpoint(trained / "last.ckpt")["state_dict"]
    largest = max(weights.values(), key=lambda tensor: tensor.numel())
    place = content.index(bytes(largest.untyped_storage())[:64])
    content[place : place + 64] = b"\xff" * 64
    path.write_bytes(content)
    for words in (
        [command, option],
        ["sample", "--checkpoint"],
        ["info", "--checkpoint"],
        ["export", "--output=x", "--checkpoint"],
    ):
        assert "Bad CRC-32 for file 'archive/data/" in refused(*words, path, code=1)


def test_weights_that_are_not_finite_are_refused_everywhere(
    forge: Forge, trained: Path, refused: Callable[..., str], glow: Callable[..., Any], tmp_path: Path
) -> None:
    weights = torch.load(trained / "last.ckpt", weights_only=True)["state_dict"]
    name = max(weights, key=lambda one: weights[one].numel())
    weights[name] = torch.full_like(weights[name], torch.nan)
    path = forge(state_dict=weights)
    assert "is not finite" in refused("sample", "--checkpoint", path, code=1)
    for command, option in COMMANDS:
        assert "not finite" in refused(command, option, path, code=1)
    exported = tmp_path / "exported"
    glow("export", "--checkpoint", trained / "last.ckpt", "--output", exported)
    from glow_app.storage.pretrained import load_pretrained, save_pretrained

    model = load_pretrained(exported)
    next(model.parameters()).data.fill_(torch.inf)
    save_pretrained(model, tmp_path / "poisoned")  # with a hash that is right
    assert "is not finite" in refused("sample", "--checkpoint", tmp_path / "poisoned", code=1)


@pytest.mark.parametrize(
    "words",
    [
        ["sample", "--count=2", "--seed=0"],
        ["sample", "--count=2", "--seed=0", "--devices=2"],
        ["interpolate", "pictures/a.png", "pictures/b.png"],
        ["reconstruct", "pictures/a.png"],
    ],
)
def test_images_that_are_not_finite_are_refused(
    trained: Path, pictures: list[Path], glow: Callable[..., Any], tmp_path: Path, words: list[str]
) -> None:
    from glow_app.storage.pretrained import save_pretrained
    from glow_app.storage.stored_model import load_density

    model = load_density(trained / "last.ckpt")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("log_scale"):
                parameter.fill_(-1e4)  # finite, and infinite once it is exponentiated
    save_pretrained(model, tmp_path / "wild")
    result = glow(*words, "--checkpoint", tmp_path / "wild")
    assert result.code == 1, result
    assert any("not finite" in line for line in result.errors), result
    assert not list(tmp_path.glob("samples/*.png"))
