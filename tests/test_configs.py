"""The real parser parses every configuration of the project, and every model builds."""

import json
import re
import shlex
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import yaml

from glow_app.commands import fit, fit_run
from glow_app.commands.fit_config import BASE_CONFIG
from glow_app.commands.presets import CONFIGS as PACKED
from glow_app.commands.presets import header
from glow_app.messages import UsageError
from glow_app.nn.class_path import class_path
from glow_app.running import Memory
from glow_app.spec import REGISTRY, spec_of

REPOSITORY = Path(__file__).parents[1]
CONFIGS = REPOSITORY / "configs"
EXPERIMENTS = sorted(CONFIGS.glob("*.yaml"))
RESTORERS = sorted(CONFIGS.glob("restore/*.yaml"))
OVERLAYS = sorted(set(CONFIGS.rglob("*.yaml")) - {*EXPERIMENTS, *RESTORERS})
PRIORS = [path for path in OVERLAYS if path.parent.name == "prior"]

RECORDED = json.loads((REPOSITORY / "benchmarks" / "results" / "presets.json").read_text())["results"]
UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}
SIZES = ", ".join(rf"{mode} ([\d.]+) (kB|MB|GB)" for mode in get_args(Memory))
FIGURES = re.compile(rf"([\d.]+)M parameters\. Memory per image: {SIZES}\.")


def name_of(path: Path) -> str:
    return path.relative_to(CONFIGS).as_posix()


def command_of(path: Path) -> list[str]:
    """Return the words of the command in the header."""
    line = next(line for line in path.read_text(encoding="utf-8").splitlines() if "glow fit" in line)
    return shlex.split(line[line.index("glow fit") :])


@pytest.fixture(autouse=True)
def write_only_into_tmp_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run in the test's own folder, without Weights & Biases."""
    monkeypatch.setattr("wandb.init", lambda **options: pytest.fail("building starts no run"))
    monkeypatch.chdir(tmp_path)


class Run:
    """The configuration and the parts of a run that was built and not trained."""

    model: Any
    data: Any
    trainer: Any
    config: Any

    def __init__(self, *arguments: str) -> None:
        def keep(parts: Any, config: Any, start: Any) -> None:
            (self.model, self.data, self.trainer), self.config = parts, config

        with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
            patch.setattr(fit_run, "_train", keep)
            fit.main(["--run_dir=run", *arguments])


def test_the_folders_contain_configurations() -> None:
    assert RESTORERS
    assert set(RECORDED) == {path.stem for path in EXPERIMENTS}


@pytest.mark.parametrize("path", EXPERIMENTS, ids=name_of)
def test_experiment_builds(path: Path) -> None:
    # The unchanged command of the header, except for the run's folder.
    run = Run(*command_of(path)[2:])
    asked = yaml.safe_load(path.read_text(encoding="utf-8"))
    flow = asked["model"]["flow"]["init_args"]
    model = run.model.model
    assert list(model.flow.image_shape) == flow["image_shape"] == list(run.data.hparams["image_shape"])
    assert model.num_bits == asked["model"]["num_bits"]
    assert len(model.flow.latent_shapes) == flow["num_levels"] + len(flow.get("detail_steps", []))
    assert run.data.hparams["source"] == asked["data"]["source"]
    assert run.trainer.max_epochs == asked["trainer"]["max_epochs"]
    assert run.config.name == asked["name"] == path.stem
    stated = FIGURES.search(header(path))
    assert stated is not None, "parameters, and memory in both modes"
    num_parameters = sum(parameter.numel() for parameter in run.model.parameters())
    recorded = RECORDED[path.stem]
    assert float(stated[1]) * 1e6 == pytest.approx(num_parameters, rel=0.005)
    assert recorded["parameters"] == num_parameters
    sizes = [float(size) * UNITS[unit] for size, unit in zip(stated.groups()[1::2], stated.groups()[2::2], strict=True)]
    assert dict(zip(get_args(Memory), sizes, strict=True)) == pytest.approx(recorded["bytes_an_image"], rel=0.005)
    # From base.yaml, which is read first.
    assert run.trainer.gradient_clip_val == yaml.safe_load(BASE_CONFIG.read_text())["trainer"]["gradient_clip_val"]


def assert_named(recorded: Any, asked: Any) -> None:
    """Compare a part of a model with what a configuration asks for."""
    assert class_path(REGISTRY[recorded["type"]]) == asked["class_path"]
    assert asked.get("init_args", {}).items() <= recorded.items()


@pytest.mark.parametrize("path", RESTORERS, ids=name_of)
def test_restoration_preset_builds(path: Path) -> None:
    run = Run(*command_of(path)[2:])
    asked = yaml.safe_load(path.read_text(encoding="utf-8"))
    model = run.model.model
    recorded: Any = spec_of(model.conditioning)
    assert_named(recorded["task"], asked["model"]["flow"]["init_args"]["conditioning"]["init_args"]["task"])
    assert run.trainer.checkpoint_callbacks[0].monitor == "val/bpd"
    assert model.flow.any_size, "it restores pictures of other sizes"
    assert run.config.name == path.stem
    assert run.data.hparams["source"] == "photos"


@pytest.mark.parametrize("path", PRIORS, ids=name_of)
def test_prior_overlay_builds_with_an_experiment(path: Path) -> None:
    run = Run(f"--config={CONFIGS / 'digits.yaml'}", f"--config={path}")
    asked = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["flow"]["init_args"]["prior"]
    assert_named(spec_of(run.model.model.flow)["prior"], asked)


@pytest.mark.parametrize("path", [path for path in OVERLAYS if path not in PRIORS], ids=name_of)
def test_other_overlay_builds_with_an_experiment(path: Path) -> None:
    if path.name == "gpu.yaml" and not torch.cuda.is_available():
        with pytest.raises(UsageError, match="No supported gpu"):
            Run(f"--config={CONFIGS / 'digits.yaml'}", f"--config={path}")
        return
    run = Run(f"--config={CONFIGS / 'digits.yaml'}", f"--config={path}")
    assert list(run.model.model.flow.image_shape) == [1, 8, 8]


def test_package_data_contains_all_configurations() -> None:
    built = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    package = REPOSITORY / "glow_app"
    packed = {path for pattern in built[package.name] for path in package.glob(pattern)}
    assert packed >= {BASE_CONFIG, *(PACKED / path.relative_to(CONFIGS) for path in CONFIGS.rglob("*.yaml"))}


def test_headers_state_command_and_expected_result_and_the_table_lists_every_experiment() -> None:
    table = (REPOSITORY / "docs/presets.md").read_text(encoding="utf-8")
    for path in (*EXPERIMENTS, *RESTORERS, *OVERLAYS):
        text, command = header(path), command_of(path)
        configs = [word for previous, word in pairwise(command) if previous == "--config"]
        assert configs[-1] == Path(name_of(path)).with_suffix("").as_posix()
        if path in RESTORERS:
            says = [" Measured results on CIFAR-10: docs/restorers.md.", " Not measured on CIFAR-10."]
            assert sum(word in text for word in says) == 1, path
        if path in EXPERIMENTS:
            says = [" Measured.", " No expected figure: ", "not measured here"]
            assert sum(word in text for word in says) == 1, path
            assert ("not measured here" in text) == ("Published by" in text), path
            assert f"configs/{path.name})" in table
