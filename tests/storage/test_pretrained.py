"""Exported models: what is written, what is read back, and how damaged ones are refused."""

import json
import resource
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from damage import ABSENT, change, message_of
from registry import named, perturb, random_images, tiny_model
from safetensors.torch import load_file, save_file

from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.storage.model_folders import CONFIG_NAME, DIRECTIONS_NAME, WEIGHTS_NAME, read_config
from glow_app.storage.pretrained import save_pretrained
from glow_app.storage.stored_model import load_model


@pytest.fixture(scope="module")
def model() -> ImageModel:
    return tiny_model(num_classes=2)


@pytest.fixture
def folder(model: ImageModel, tmp_path: Path) -> Path:
    return save_pretrained(model, tmp_path / "exports" / "export", training={"bits_per_dim": 3.5})


def edit(folder: Path, place: str, value: object) -> None:
    path = folder / CONFIG_NAME
    config = json.loads(path.read_text())
    change(config, place, value)
    path.write_text(json.dumps(config))


refusal = partial(message_of, load_model)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"coupling": "additive"},
        {"image_shape": (1, 8, 16), "num_levels": 3, "num_steps": [1, 2, 1], "num_bits": 5},
        {"dtype": torch.float64},
    ],
    ids=["plain", "additive", "five bits", "float64"],
)
def test_a_loaded_model_is_the_saved_one_bit_for_bit(arguments: dict[str, Any], tmp_path: Path) -> None:
    model = tiny_model(**arguments)
    folder = save_pretrained(model, tmp_path / "export")
    before = torch.get_rng_state()
    loaded = load_model(folder)
    assert torch.equal(torch.get_rng_state(), before)
    assert loaded.config == model.config
    assert loaded.hash == model.hash
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    images = random_images(4, model.flow.image_shape)
    bits = [m.bits_per_dim(images, generator=torch.Generator().manual_seed(0)) for m in (model, loaded)]
    assert torch.equal(*bits)
    assert torch.equal(model.sample(4, seeds=0), loaded.sample(4, seeds=0))


def test_names_of_classes_and_recommended_settings_are_kept_and_not_part_of_the_hash(tmp_path: Path) -> None:
    model = tiny_model(num_classes=2)
    plain = model.hash
    assert "generation" not in read_config(save_pretrained(model, tmp_path / "plain"))  # they are the defaults
    named(model, "dress", "ankle boot")
    model.generation = GenerationSettings((0.9, 1.0), 1.25)
    folder = save_pretrained(model, tmp_path / "export", training={"epoch": 3})
    assert read_config(folder)["training"] == {"classes": ["dress", "ankle boot"], "epoch": 3}
    loaded = load_model(folder)
    assert (loaded.generation, loaded.facts) == (model.generation, {"classes": ["dress", "ankle boot"]})
    assert loaded.hash == plain


DAMAGED_SETTINGS: list[object] = [
    *(None, [], {"temperature": [], "guidance": 1}, {"temperature": [0.7, True], "guidance": 1}),
    *(
        {"temperature": value, "guidance": 1}
        for value in ("0.7", [1.0] * 3, -0.1, 1e3, float("nan"), 10**400, {"0": 1})
    ),
    *({"temperature": 0.7, "guidance": value} for value in (None, "1", [1.0], 10.5, -1)),
    {"temperature": 0.7, "guidance": 1, "__class__": "os"},
]


def test_damaged_settings_and_names_of_classes_are_refused(tmp_path: Path) -> None:
    folder = save_pretrained(tiny_model(num_classes=2), tmp_path / "export")
    for settings in DAMAGED_SETTINGS:
        edit(folder, "generation", settings)
        assert "is damaged" in (message := refusal(ValueError, folder))
        assert len(message) < 500
    save_pretrained(tiny_model(num_classes=2), folder, overwrite=True)
    for names in (["one"], ["a", "b", "c"], ["a", "b\x1b[2J"], ["a", 3], "names", 3, {"a": 1, "b": 2}):
        edit(folder, "training/classes", names)
        refusal(ValueError, folder)


def test_the_hash_depends_on_weights_and_architecture(model: ImageModel) -> None:
    assert tiny_model(num_classes=2).hash == model.hash
    assert perturb(tiny_model(num_classes=2), size=1e-4).hash != model.hash
    for other in (tiny_model(num_classes=2, num_bits=7), tiny_model(num_classes=3), tiny_model()):
        assert other.hash != model.hash


def test_overwriting_replaces_exports_and_nothing_else(model: ImageModel, folder: Path) -> None:
    def files() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    before, other = files(), tiny_model(seed=1)
    with pytest.raises(FileExistsError, match=r"exists already.*--overwrite"):
        save_pretrained(other, folder)
    assert files() == before
    save_pretrained(other, folder, overwrite=True)
    assert load_model(folder).hash == other.hash
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    (folder / "notes.txt").write_text("not of the model")
    before = files()
    with pytest.raises(FileExistsError, match=r"contains other files, such as notes\.txt"):
        save_pretrained(model, folder, overwrite=True)
    assert files() == before


ODD_TYPE = json.dumps({"a": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}).encode()
NO_WEIGHTS = [
    *(b"\xff" * 100, b"\x80\x02cos\nsystem\n", b"\x89PNG\r\n\x1a\n", b"hello"),
    len(ODD_TYPE).to_bytes(8, "little") + ODD_TYPE + b"abc",
]
NO_CONFIG = [
    *(b"{", b"", b"\xff\xfe\x00", b"[" * 100_000, b"nonsense\nover\nlines", b"[]", b"null", b"3", b'"text"', b"{}"),
    *(b'{"format": "glow-app/1"}', b'{"format": "glow-app/2", "model": {}}'),
]


def test_other_and_truncated_files_are_refused(folder: Path) -> None:
    weights, config = ((folder / name).read_bytes() for name in (WEIGHTS_NAME, CONFIG_NAME))
    for content in [*NO_WEIGHTS, *(weights[: int(share * len(weights))] for share in (0, 0.001, 0.3, 0.999))]:
        (folder / WEIGHTS_NAME).write_bytes(content)
        assert "is damaged" in refusal(ValueError, folder)
    (folder / WEIGHTS_NAME).write_bytes(weights)
    for content in [*NO_CONFIG, *(config[: int(share * len(config))] for share in (0.001, 0.3, 0.9))]:
        (folder / CONFIG_NAME).write_bytes(content)
        assert CONFIG_NAME in refusal(ValueError, folder)


@pytest.mark.parametrize("part", ["conditioner", "prior"])
def test_only_allowed_classes_may_be_named(folder: Path, part: str) -> None:
    for name in ("os.system", "glow_app.flows.Glow", "builtins.eval", "glow_app.nn.ZeroConv2d", ""):
        edit(folder, f"model/flow/{part}", {"type": name, "command": "true"})
        assert f"flow.{part}.type is {name!r}; expected one of " in refusal(ValueError, folder)


@pytest.mark.parametrize("hidden_channels", [4, 10**9, 10**19])
def test_a_configuration_that_does_not_match_the_weights_is_refused_cheaply(folder: Path, hidden_channels: int) -> None:
    edit(folder, "model/flow/hidden_channels", hidden_channels)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = refusal(ValueError, folder)
    assert "do not match" in message or "damaged" in message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 200_000  # KiB


def test_a_model_of_absurdly_many_parts_fails_fast(folder: Path) -> None:
    # Every step is a Python object, however small its tensors; empty tensors cost nothing.
    weights = load_file(folder / WEIGHTS_NAME)
    save_file({**weights, **{f"empty{n}": torch.zeros(0) for n in range(400)}}, folder / WEIGHTS_NAME)
    for num_steps in (600, [200, 200], 10**9):
        edit(folder, "model/flow/num_steps", num_steps)
        assert "it has more parts than" in refusal(ValueError, folder)


EDITS: dict[str, list[object]] = {
    "model": [None, "Glow", []],
    "model/flow": [ABSENT, "Glow", 3],
    "model/num_bits": [ABSENT, 9, "8"],
    "model/flow/prior": ["Gaussian", [1]],
    "model/flow/type": [ABSENT, "maf", ["os.system"]],
    "model/flow/prior/latent_shape": [[1]],
    "model/flow/prior/type": [ABSENT, ["os.system"], "conv", "glow"],
    "model/flow/prior/rank": ["none", [1], {"type": "conv"}],
    "model/flow/conditioner/type": ["gaussian"],
    "model/flow/surprise": [1],
    "model/flow/image_shape": [None, [3, 7, 7], [3, 8192, 8192], [3, 8.5, 8], ["3", "x", "8"], [2**40, 8, 8]],
    "model/flow/num_levels": [9, "two"],
    "model/flow/num_steps": ["many", None],
    "model/flow/hidden_channels": [8.5, -8, "eight"],
    "model/flow/coupling": [["affine"]],
    "model/flow/conditioning": ["Class", {"type": "classes"}],
    "model/flow/conditioning/type": ["gaussian", ["os.system"]],
    "model/flow/conditioning/num_classes": ["two", 10**18, [3]],
}


@pytest.mark.parametrize("place", EDITS)
def test_an_edited_configuration_raises_one_line(folder: Path, place: str) -> None:
    before = (folder / CONFIG_NAME).read_text()
    for value in EDITS[place]:
        (folder / CONFIG_NAME).write_text(before)
        edit(folder, place, value)
        refusal(ValueError, folder)


def test_changed_weights_are_detected(folder: Path, tmp_path: Path) -> None:
    own = load_file(folder / WEIGHTS_NAME)
    other = {name: value.contiguous() for name, value in tiny_model(num_classes=2, seed=1).state_dict().items()}
    name = next(name for name in own if name.endswith("log_scale"))
    without = {key: value for key, value in own.items() if key != name}
    for weights, message in (
        (other, "are not those that config.json describes"),
        (own | {name: own[name] + 1e-3}, "are not those"),
        (own | {name: torch.zeros(1, 2, 3)}, f"do not match the model configuration: size mismatch for {name}"),
        (own | {"more": torch.zeros(3)}, "do not match the model configuration"),
        (without, "do not match the model configuration"),
        ({name: value.int() for name, value in own.items()}, ""),
        ({name: value.half() for name, value in own.items()}, ""),
        (own | {name: own[name] * torch.inf}, "is not finite"),
    ):
        save_file(weights, folder / WEIGHTS_NAME)
        assert message in refusal(ValueError, folder)
    save_file(own, folder / WEIGHTS_NAME)
    for value in (None, "", 0):
        edit(folder, "sha256", value)
        refusal(ValueError, folder)


def test_directions_are_copied_and_kept(model: ImageModel, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs.safetensors").write_text("theirs")
    (folder / DIRECTIONS_NAME).mkdir()
    (folder / DIRECTIONS_NAME / "mine.safetensors").write_text("mine")
    save_pretrained(model, folder, overwrite=True, directions=[tmp_path / "theirs.safetensors"])
    directions = {path.name: path.read_text() for path in (folder / DIRECTIONS_NAME).iterdir()}
    assert directions == {"mine.safetensors": "mine", "theirs.safetensors": "theirs"}
    with pytest.raises(FileNotFoundError):
        save_pretrained(model, folder, overwrite=True, directions=[tmp_path / "none.safetensors"])
    assert len(list((folder / DIRECTIONS_NAME).iterdir())) == 2
