"""A user's own kind of conditioning, a real number, from training to scores and edits, without a change elsewhere."""

import inspect
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_conditionings as properties
import torch
from docs_pages import DOCS
from PIL import Image
from registry import tiny_model
from tiny_training import TINY_FIT

from glow_app import load_model
from glow_app.cli import main
from glow_app.export import Sampler
from glow_app.pictures.images import read_png_text
from glow_app.pipeline import load_latents
from glow_app.pipeline.loaded_model import LoadedModel
from glow_app.spec import spec_of
from glow_app.storage.pretrained import save_pretrained

Capture = pytest.CaptureFixture[str]


# The example of the documentation, a class of this module.
EXAMPLE = re.findall(r"```python\n(.*?)```", (DOCS / "conditioning.md").read_text(), re.DOTALL)[0]
_namespace: dict[str, Any] = {"__name__": __name__}
exec(EXAMPLE, _namespace)
Brightness = _namespace["Brightness"]


@pytest.fixture
def model() -> LoadedModel:
    return tiny_model(5, image_shape=(1, 8, 8), conditioning=Brightness(4))


PROPERTIES = [value for name, value in vars(properties).items() if name.startswith("test_")]


@pytest.mark.parametrize("holds", [value for value in PROPERTIES if "kind" in inspect.signature(value).parameters])
def test_it_has_the_properties_of_every_kind(holds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(properties.CONDITIONINGS, "brightness", Brightness)
    holds("brightness", *[tmp_path for name in inspect.signature(holds).parameters if name == "tmp_path"])


def test_the_command_trains_and_measures_it(tmp_path: Path, capsys: Capture) -> None:
    run, kind = tmp_path / "run", "--flow.conditioning=brightness"
    options = [kind, "--flow.conditioning.features=3", "--trainer.max_steps=2", f"--run_dir={run}"]
    assert main(["fit", *TINY_FIT, *options]) == 0
    assert load_model(run).config["flow"]["conditioning"] == spec_of(Brightness(3))  # type: ignore[index]
    assert main(["test", f"--checkpoint={run}"]) == 0
    assert "bits/dim" in capsys.readouterr().out


def test_the_commands_take_it(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    folder = save_pretrained(model, tmp_path / "model")
    monkeypatch.chdir(tmp_path)

    def glow(*arguments: str) -> int:
        return main([*arguments, f"--checkpoint={folder}"])

    sampled = "outputs/sample/seed000005_t0.70.png"
    assert glow("sample", "--count=2", "--seed=5", "--given", "0.9", "0.3") == 0
    assert read_png_text(Path(sampled)).items() >= {"given": "0.3", "seed": "5"}.items()
    drawn = torch.from_numpy(np.asarray(Image.open(sampled)).copy())
    assert torch.equal(model.sample(16, 0.7, range(5, 21), 0.3)[0, 0], drawn)
    assert json.loads(Path("outputs/sample/run.json").read_text())["given"] == [0.9, 0.3]
    assert glow("sample", "--given", "dark") == 1
    assert "'dark'; expected a number" in capsys.readouterr().err
    for command in (["encode"], ["reconstruct"], ["interpolate", sampled]):
        values = ["0.3", "0.4"] if command[0] == "interpolate" else ["0.3"]
        assert glow(*command, sampled, "--given", *values) == 0
    assert load_latents(Path("outputs/encode/latents.safetensors"), model).given == torch.tensor([0.3])
    assert glow("decode", "outputs/encode/latents.safetensors") == 0
    assert np.array_equal(np.asarray(Image.open("outputs/decode/000000_seed000005_t0.70.png")), drawn)
    assert read_png_text(Path("outputs/interpolate/strip.png"))["given"] == "0.3, 0.4"
    assert glow("score", sampled, "--given", "0.3") == 0
    assert json.loads(Path("outputs/score/scores.json").read_text())["images"][0]["given"] == 0.3
    capsys.readouterr()
    assert main(["info", str(folder)]) == 0
    assert "brightness (features 4)" in capsys.readouterr().out


def test_its_sampler_draws_what_the_model_draws(model: LoadedModel) -> None:
    inputs = model.base_noise(range(3)), model.vocabulary.default(range(3))
    assert torch.equal(Sampler(model)(*inputs), model.decode(*inputs))
    with pytest.raises(ValueError, match="not finite"):
        model.sample(2, given=[0.5, math.nan])
