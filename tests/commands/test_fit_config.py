"""The configuration of a run: layers of options, of which later ones replace earlier ones."""

import pytest
import yaml
from jsonargparse import Namespace

from glow_app.cli import main
from glow_app.commands.fit_config import merged

ADAM = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.5, "amsgrad": True}}


def test_a_class_that_is_replaced_leaves_the_arguments_that_the_other_takes() -> None:
    layer = {"model": {"optimizer": {"class_path": "torch.optim.Adamax", "init_args": {"eps": 1}}}}
    found = merged({"model": {"optimizer": ADAM}}, layer)["model"]["optimizer"]
    assert found == {"class_path": "torch.optim.Adamax", "init_args": {"lr": 0.5, "eps": 1}}


def test_arguments_may_be_given_without_the_class() -> None:
    for options in ("model.optimizer.init_args.lr", "model.optimizer.lr"):
        found = merged({"model": {"optimizer": ADAM}}, Namespace({options: 2, "trainer.max_steps": 3}).as_dict())
        assert found["model"]["optimizer"] == {**ADAM, "init_args": {"lr": 2, "amsgrad": True}}
        assert found["trainer"] == {"max_steps": 3}


def test_overlays_of_loggers_add_to_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    def loggers(*names: str) -> object:
        with pytest.raises(SystemExit):
            main(["fit", "-c", "digits", *(f"--config=logger/{name}" for name in names), "--print_config"])
        found = yaml.safe_load(capsys.readouterr().out)["trainer"]["logger"]
        return [each["class_path"].rpartition(".")[2] for each in found] if isinstance(found, list) else found

    both = ["RunWandbLogger", "TensorBoardLogger"]
    assert loggers("wandb", "tensorboard") == both
    assert loggers("tensorboard", "csv", "wandb", "tensorboard") == both
    assert loggers("wandb", "tensorboard", "csv") is False
    layers = ({"trainer": {"logger": {"class_path": "W", "init_args": args}}} for args in ({"a": 1}, {"b": 2}))
    assert merged(*layers)["trainer"]["logger"] == {"class_path": "W", "init_args": {"a": 1, "b": 2}}


def test_values_that_are_dictionaries_are_replaced_as_a_whole() -> None:
    def layer(**kinds: str) -> dict[str, object]:
        return {"model": {"flow": {"class_path": "F", "init_args": {"attributes": kinds}}}}

    assert merged(layer(hat="yes_no"), layer(age="real")) == layer(age="real")


def test_the_printed_configuration_is_that_of_presets_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--name=mine", "--seed=7", "--model.optimizer.lr=0.5", "--print_config"]
    with pytest.raises(SystemExit):
        main(["fit", "-c", "digits", "-c", "prior/maf", *options])
    config = yaml.safe_load(capsys.readouterr().out)
    flow = config["model"]["flow"]["init_args"]
    assert (config["name"], config["trainer"]["max_epochs"], flow["num_levels"]) == ("mine", 40, 2)
    assert config["seed_everything"] == 7
    assert flow["prior"]["class_path"] == "glow_app.priors.MAFPrior"
    assert config["model"]["optimizer"]["class_path"] == "lightning_modules.optimizers.Muon"
    assert config["model"]["optimizer"]["init_args"]["lr"] == 0.5
    with pytest.raises(SystemExit):
        main(["fit", "--help-all"])
    assert "--trainer.max_steps" in capsys.readouterr().out
