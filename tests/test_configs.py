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

from glow_app.commands import fit
from glow_app.commands.fit_spec import BASE_CONFIG
from glow_app.commands.presets import CONFIGS as PACKED
from glow_app.commands.presets import header, read_preset
from glow_app.messages import UsageError
from glow_app.running import Memory
from glow_app.spec import spec_of
from lightning_modules.run import build_parts

REPOSITORY = Path(__file__).parents[1]
CONFIGS = REPOSITORY / "configs"
EXPERIMENTS = sorted(CONFIGS.glob("*.yaml"))
RESTORERS = sorted(CONFIGS.glob("restore/*.yaml"))
OVERLAYS = sorted(set(CONFIGS.rglob("*.yaml")) - {*EXPERIMENTS, *RESTORERS})
PRIORS = [path for path in OVERLAYS if path.parent.name == "prior"]

RECORDED = json.loads((REPOSITORY / "benchmarks" / "results" / "presets.json").read_text())["results"]
UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}
SIZES = ", ".join(rf"{mode} ([\d.]+) (kB|MB|GB)" for mode in get_args(Memory))
FIGURES = re.compile(rf"Memory per image: {SIZES}\.")


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
    spec: Any

    def __init__(self, *arguments: str) -> None:
        def keep(spec: Any, start: Any, *_: Any) -> str:
            parts = build_parts(spec, start)
            self.model, self.data, self.trainer, self.spec = parts.module, parts.data, parts.trainer, parts.spec
            return ""

        with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
            patch.setattr("lightning_modules.run.run", keep)
            fit.main(["--run_dir=run", *arguments])


def test_the_folders_contain_configurations() -> None:
    assert RESTORERS
    assert set(RECORDED) == {path.stem for path in EXPERIMENTS}


@pytest.mark.parametrize("path", EXPERIMENTS, ids=name_of)
def test_experiment_builds(path: Path) -> None:
    # The unchanged command of the header, except for the run's folder.
    run = Run(*command_of(path)[2:])
    asked = read_preset(str(path))
    flow = asked["flow"]
    model = run.model.model
    assert list(model.flow.image_shape) == flow["image_shape"] == list(run.data.hparams["image_shape"])
    assert model.num_bits == asked["num_bits"]
    assert len(model.flow.latent_shapes) == flow["num_levels"] + len(flow.get("detail_steps", []))
    assert run.data.hparams["source"] == asked["data"]["source"]
    assert run.trainer.max_epochs == asked["trainer"]["max_epochs"]
    assert run.spec["name"] == asked["name"] == path.stem
    stated = FIGURES.search(header(path))
    assert stated is not None, "memory in both modes"
    num_parameters = sum(parameter.numel() for parameter in run.model.parameters())
    recorded = RECORDED[path.stem]
    assert float(asked["expected"]["parameters"].removesuffix("M")) * 1e6 == pytest.approx(num_parameters, rel=0.005)
    assert recorded["parameters"] == num_parameters
    sizes = [float(size) * UNITS[unit] for size, unit in zip(stated.groups()[::2], stated.groups()[1::2], strict=True)]
    assert dict(zip(get_args(Memory), sizes, strict=True)) == pytest.approx(recorded["bytes_an_image"], rel=0.005)
    # From base.yaml, which is read first.
    assert run.trainer.gradient_clip_val == read_preset(str(BASE_CONFIG))["trainer"]["gradient_clip_val"]


@pytest.mark.parametrize("path", RESTORERS, ids=name_of)
def test_restoration_preset_builds(path: Path) -> None:
    run = Run(*command_of(path)[2:])
    asked = read_preset(str(path))
    model = run.model.model
    task: Any = asked["flow"]["conditioning"]["task"]
    asked_task = {"type": task} if isinstance(task, str) else task
    assert asked_task.items() <= spec_of(model.conditioning)["task"].items()
    assert run.trainer.checkpoint_callbacks[0].monitor == "val/bpd"
    assert model.flow.any_size, "it restores pictures of other sizes"
    assert run.spec["name"] == path.stem
    assert run.data.hparams["source"] == "photos"


@pytest.mark.parametrize("path", PRIORS, ids=name_of)
def test_prior_overlay_builds_with_an_experiment(path: Path) -> None:
    run = Run(f"--config={CONFIGS / 'digits.yaml'}", f"--config={path}")
    asked = read_preset(str(path))["flow"]["prior"]
    assert asked.items() <= spec_of(run.model.model.flow)["prior"].items()


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
            expected = read_preset(str(path))["expected"]
            assert expected.keys() in ({"parameters"}, {"parameters", "bits_per_dim", "source"}), path
            assert f"configs/{path.name})" in table
