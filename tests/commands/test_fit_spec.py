"""The specification of a run: layers of options, of which later ones replace earlier ones."""

from typing import Any

import pytest
from tiny_training import TINY_FIT

from glow_app.cli import main
from glow_app.commands.fit_spec import merged
from glow_app.storage.run_config import read_yaml, yaml_text

ADAM = {"type": "adam", "lr": 0.5, "amsgrad": True}


@pytest.mark.parametrize(
    ("earlier", "later", "result"),
    [
        (ADAM, {"type": "adamax", "eps": 1}, {"type": "adamax", "lr": 0.5, "eps": 1}),
        (ADAM, "adamax", {"type": "adamax", "lr": 0.5}),
        (ADAM, {"lr": 2}, {**ADAM, "lr": 2}),
        ("adam", {"lr": 2}, {"type": "adam", "lr": 2}),
        (ADAM, None, None),
        (ADAM, {"type": "nosuch"}, {"type": "nosuch"}),
    ],
)
def test_a_part_is_changed_or_replaced_and_leaves_the_arguments_that_the_other_takes(
    earlier: Any, later: Any, result: Any
) -> None:
    assert merged({"optimizer": earlier, "seed": 1}, {"optimizer": later}) == {"optimizer": result, "seed": 1}


def test_overlays_of_loggers_add_to_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    def loggers(*names: str, options: tuple[str, ...] = ()) -> Any:
        assert main(["fit", "-c", "digits", *(f"-clogger/{name}" for name in names), *options, "--print-config"]) == 0
        found = read_yaml(capsys.readouterr().out).get("logger")
        return [each["type"] for each in found] if isinstance(found, list) else found

    assert loggers("wandb", "tensorboard") == ["wandb", "tensorboard"]
    assert loggers("tensorboard", "csv", "wandb", "tensorboard") == ["wandb", "tensorboard"]
    assert loggers("wandb", "tensorboard", "csv") is None
    alone = loggers("wandb", options=("--logger.offline=true", "--logger.project=p"))
    assert alone.items() >= {"type": "wandb", "offline": True, "project": "p"}.items()


def test_values_that_are_dictionaries_are_replaced_as_a_whole() -> None:
    def layer(**kinds: str) -> dict[str, Any]:
        return {"flow": {"type": "glow", "conditioning": {"type": "attributes", "attributes": kinds}}}

    assert merged(layer(hat="yes_no"), layer(age="real")) == layer(age="real")


def test_the_printed_specification_is_that_of_presets_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--name=mine", "--seed=7", "--optimizer.lr", "5e-1", "--data.root=2024.10", "--trainer.max_steps", "-1"]
    assert main(["fit", "-c", "digits", "-c", "prior/maf", *options, "--print-config"]) == 0
    spec = read_yaml(capsys.readouterr().out)
    assert (spec["name"], spec["seed"], spec["trainer"]["max_epochs"], spec["trainer"]["max_steps"]) == (
        "mine",
        7,
        40,
        -1,
    )
    assert spec["flow"]["prior"] == {"type": "maf", "num_layers": 2, "hidden_features": 64}
    assert (spec["optimizer"]["type"], float(spec["optimizer"]["lr"])) == ("muon", 0.5)
    assert spec["data"]["root"].endswith("/2024.10")
    assert main(["fit", "--help-all"]) == 0
    assert "--trainer.max_steps" in (listed := capsys.readouterr().out)
    assert "--num_bits  int, default 8\n    Number of most significant bits" in listed


@pytest.mark.parametrize(
    ("options", "culprits"),
    [
        (["--trainer.max_epoch=1"], ["trainer.max_epoch", "max_epochs"]),
        (["--trainr.max_epochs=1"], ["--trainr.max_epochs", "--trainer"]),
        (["--minuts=1"], ["--minuts", "--minutes"]),
        (["--flow.num_steps=many"], ["flow.num_steps", "'many'"]),
        (["--flow.prior.type=os.system"], ["flow.prior.type", "os.system", "maf"]),
        (["--optimizer=adm"], ["optimizer.type", "'adm'", "adam"]),
        (["--logger=wand"], ["logger.type", "wandb"]),
        (["--data.seed=1"], ["data.seed"]),
        (["--trainer.logger=wandb"], ["trainer.logger"]),
        (["--ema.decay=high"], ["ema.decay", "'high'"]),
        (["--flow.num_steps"], ["--flow.num_steps", "value"]),
        (["stray"], ["stray"]),
        (["--estimate_steps=3"], ["estimate_steps"]),
    ],
)
def test_a_wrong_option_is_named_with_what_was_found_and_what_is_near(
    options: list[str], culprits: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *TINY_FIT, *options]) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert all(culprit in line for culprit in culprits), line


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("1:30:00:00", "1:30:00:00"), ("2024-01-01", "2024-01-01"), ("007", "007"), ("null", None)],
)
def test_yaml_is_read_as_people_mean_it(text: str, value: object) -> None:
    assert read_yaml(text) == value
    assert read_yaml(yaml_text({"a": [text, value]})) == {"a": [text, value]}
