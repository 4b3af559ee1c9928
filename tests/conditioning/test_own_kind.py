"""A user's own kind of conditioning, a real number, from training to scores and edits, without a change elsewhere."""

import inspect
import json
import math
import re
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import test_conditionings as properties
import torch
from docs_pages import DOCS
from PIL import Image
from registry import random_images
from tiny_training import TINY_FIT, tiny_fit
from torch import Tensor

from glow_app import allow_class, load_model
from glow_app.cli import main
from glow_app.export import Sampler
from glow_app.flows import Glow
from glow_app.generation import load_latents
from glow_app.generation.loaded_model import LoadedModel
from glow_app.nn.class_path import describe_part
from glow_app.pictures.images import read_png_text
from glow_app.storage.model_config import ALLOWED_CLASSES
from glow_app.storage.model_folders import ALLOWED_VARIABLE
from glow_app.storage.pretrained import save_pretrained
from lightning_modules.image_module import ImageModule

Capture = pytest.CaptureFixture[str]

SHAPE = (1, 8, 8)
BUILT_IN = dict(ALLOWED_CLASSES)


# The example of the documentation, a class of this module.
EXAMPLE = re.findall(r"```python\n(.*?)```", (DOCS / "conditioning.md").read_text(), re.DOTALL)[0]
_namespace: dict[str, Any] = {"__name__": __name__}
exec(EXAMPLE, _namespace)
Brightness = _namespace["Brightness"]


def test_it_is_a_network_of_25_lines() -> None:
    assert len(EXAMPLE.splitlines()) <= 25


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow the class for a test: a file that names it is otherwise refused, as any unknown class is."""
    monkeypatch.setattr("glow_app.storage.model_config.ALLOWED_CLASSES", dict(BUILT_IN))
    monkeypatch.setenv(ALLOWED_VARIABLE, "")
    allow_class(Brightness)


class Trained(NamedTuple):
    """A module after a few steps on digits, the first weights of its conditioning, and the folder of its files."""

    module: ImageModule
    first_weights: dict[str, Tensor]
    folder: Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    torch.manual_seed(0)
    flow, folder = Glow(SHAPE, 2, 1, 8, conditioning=Brightness(4)), tmp_path_factory.mktemp("brightness")
    first_weights, module = deepcopy(flow.conditioning.state_dict()), ImageModule(flow, num_bits=5, seed=5)
    tiny_fit(folder, module=module).save_checkpoint(folder / "last.ckpt")
    save_pretrained(module.model.eval(), folder / "model")
    return Trained(module, first_weights, folder)


@pytest.fixture(scope="module")
def model(trained: Trained) -> LoadedModel:
    return LoadedModel(trained.module.model.flow, 5).eval()


def pictures(num: int = 4) -> Tensor:
    """Return pictures of other brightnesses."""
    return random_images(num, SHAPE) // 2 + (30 * torch.arange(num, dtype=torch.uint8))[:, None, None, None]


def known(model: LoadedModel, images: Tensor) -> Tensor:
    given = model.conditioning.observe(images, torch.zeros(len(images)))
    assert given is not None
    return given


PROPERTIES = [value for name, value in vars(properties).items() if name.startswith("test_")]


@pytest.mark.parametrize("holds", [value for value in PROPERTIES if "kind" in inspect.signature(value).parameters])
def test_it_has_the_properties_of_every_kind(holds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(properties.CONDITIONINGS, "brightness", Brightness)
    holds("brightness", *[tmp_path for name in inspect.signature(holds).parameters if name == "tmp_path"])


def test_training_moves_its_weights_and_evaluation_observes_it(trained: Trained, model: LoadedModel) -> None:
    for name, weight in model.conditioning.state_dict().items():
        assert not torch.equal(weight, trained.first_weights[name])
    images, generators = pictures(), [torch.Generator().manual_seed(0) for _ in range(2)]
    batch = images, torch.zeros(4, dtype=torch.int64)
    bits = model.bits_per_dim(images, known(model, images), generator=generators[0])
    torch.testing.assert_close(trained.module.evaluate(batch, generators[1])["bpd"], bits)


def test_the_command_trains_and_measures_it(tmp_path: Path, capsys: Capture) -> None:
    run, kind = tmp_path / "run", f"--model.flow.conditioning={Brightness.__module__}.Brightness"
    options = [kind, f"{kind.partition('=')[0]}.init_args.features=3", "--trainer.max_steps=2", f"--run_dir={run}"]
    assert main(["fit", *TINY_FIT, *options]) == 0
    assert load_model(run).config["flow"]["conditioning"] == describe_part(Brightness(3))  # type: ignore[index]
    assert main(["test", f"--checkpoint={run}", f"--allow-class={Brightness.__module__}.Brightness"]) == 0
    assert "bits/dim" in capsys.readouterr().out


def test_the_commands_take_it(
    trained: Trained, model: LoadedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    monkeypatch.setattr("glow_app.storage.model_config.ALLOWED_CLASSES", dict(BUILT_IN))
    monkeypatch.chdir(tmp_path)

    def glow(*arguments: str) -> int:
        allowed = f"--allow-class={Brightness.__module__}.Brightness"
        return main([*arguments, f"--checkpoint={trained.folder / 'model'}", allowed])

    sampled = "outputs/sample/seed000005_t0.70.png"
    assert glow("sample", "--count=2", "--seed=5", "--given", "0.9", "0.3", "--sweep=0,0.7") == 0
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
    assert main(["info", str(trained.folder / "model"), f"--allow-class={Brightness.__module__}.Brightness"]) == 0
    assert "Brightness (features 4)" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["last.ckpt", "model"])
def test_it_is_stored_and_loads_only_where_it_is_allowed(
    place: str, trained: Trained, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, images = trained.folder / place, pictures()
    again = load_model(path)
    assert isinstance(again.conditioning, Brightness)
    assert (again.config, again.hash) == (model.config, model.hash)
    assert torch.equal(again.sample(3, seeds=1, given=0.3), model.sample(3, seeds=1, given=0.3))
    bits = [one.bits_per_dim(images, 0.3, generator=torch.Generator()) for one in (model, again, again.freeze())]
    assert all(torch.equal(one, bits[0]) for one in bits)
    monkeypatch.setattr("glow_app.storage.model_config.ALLOWED_CLASSES", dict(BUILT_IN))
    with pytest.raises(ValueError, match=r"--allow-class test_own_kind\.Brightness"):
        load_model(path)


def test_its_sampler_draws_what_the_model_draws(model: LoadedModel) -> None:
    inputs = model.base_noise(range(3)), model.vocabulary.default(range(3))
    assert torch.equal(Sampler(model)(*inputs), model.decode(*inputs))
    with pytest.raises(ValueError, match="not finite"):
        model.sample(2, given=[0.5, math.nan])
