import json
import os
import re
import resource
import shutil
import stat
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import one_line
import pytest
import torch
from damage import ABSENT, change
from registry import perturb, random_images, tiny_model
from safetensors.torch import load_file, save_file

from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.nn import GatedResidualConditioner
from glow_app.storage import pretrained
from glow_app.storage.exported_config import CONFIG_NAME, WEIGHTS_NAME, read_config
from glow_app.storage.pretrained import DIRECTIONS_NAME, load_pretrained, model_hash, save_generation, save_pretrained


@pytest.fixture(scope="module")
def model() -> ImageModel:
    return tiny_model()


@pytest.fixture
def folder(model: ImageModel, tmp_path: Path) -> Path:
    return save_pretrained(model, tmp_path / "exports" / "export", training={"bits_per_dim": 3.5})


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / CONFIG_NAME
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


message_of = partial(one_line.message_of, load_pretrained)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"num_classes": 3, "embedding_features": 4},
        {"conditioner": GatedResidualConditioner, "coupling": "additive"},
        {"image_shape": (1, 8, 16), "num_levels": 3, "num_steps": [1, 2, 1], "num_bits": 5},
        {"dtype": torch.float64},
    ],
    ids=["plain", "classes", "residual, additive", "five bits", "float64"],
)
def test_a_loaded_model_is_the_saved_one_bit_for_bit(arguments: dict[str, Any], tmp_path: Path) -> None:
    model = tiny_model(**arguments)
    loaded = load_pretrained(save_pretrained(model, tmp_path / "export"))
    assert loaded.config == model.config
    assert model_hash(loaded) == model_hash(model)
    assert isinstance(loaded, ImageModel)
    state = loaded.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    images = random_images(4, model.flow.image_shape)
    labels = None if model.flow.num_classes is None else torch.tensor([0, 1, 2, 0])
    bits = [m.bits_per_dim(images, labels, generator=torch.Generator().manual_seed(0)) for m in (model, loaded)]
    assert torch.equal(*bits)
    assert torch.equal(model.sample(4, seeds=0), loaded.sample(4, seeds=0))


def test_a_loaded_model_stays_when_its_file_is_written_over(model: ImageModel, folder: Path) -> None:
    loaded = load_pretrained(folder)
    path = folder / WEIGHTS_NAME
    with path.open("r+b") as file:  # in place, as cp does
        file.write(bytes(path.stat().st_size))
    assert model_hash(loaded) == model_hash(model)


def test_weights_of_a_type_that_torch_has_not_are_damaged(folder: Path) -> None:
    header = json.dumps({"a": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}).encode()
    (folder / WEIGHTS_NAME).write_bytes(len(header).to_bytes(8, "little") + header + b"abc")
    assert "is damaged" in message_of(ValueError, folder)


def test_a_loaded_model_trains(folder: Path) -> None:
    loaded = load_pretrained(folder).train()
    loaded(random_images(2)).mean().backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())


def test_loading_draws_no_random_numbers(folder: Path) -> None:
    before = torch.get_rng_state()
    load_pretrained(folder)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_files(model: ImageModel, folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG_NAME, WEIGHTS_NAME]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    config = read_config(folder)
    assert config["model"] == json.loads(json.dumps(model.config))
    assert config["training"] == {"bits_per_dim": 3.5}
    assert config["sha256"] == model_hash(model)


def test_names_of_classes_are_kept(tmp_path: Path) -> None:
    model = tiny_model(num_classes=2)
    unnamed = model_hash(model)
    model.class_names = ["dress", "ankle boot"]
    folder = save_pretrained(model, tmp_path / "export", training={"epoch": 3})
    assert read_config(folder)["training"] == {"classes": ["dress", "ankle boot"], "epoch": 3}
    loaded = load_pretrained(folder)
    assert isinstance(loaded, ImageModel)
    assert loaded.class_names == ("dress", "ankle boot")
    assert model_hash(loaded) == unnamed


def test_settings_to_draw_with_are_kept_and_no_part_of_the_hash(tmp_path: Path) -> None:
    model = tiny_model(num_classes=2)
    folder = save_pretrained(model, tmp_path / "export")
    assert "generation" not in read_config(folder)  # they are the usual ones
    for settings in (GenerationSettings((0.9, 1.0), 1.25), GenerationSettings(0.8)):
        before = read_config(folder)
        save_generation(folder, settings)
        assert read_config(folder) == before | {"generation": settings.to_plain()}
        loaded = load_pretrained(folder)
        assert isinstance(loaded, ImageModel)
        assert (loaded.generation, model_hash(loaded)) == (settings, model_hash(model))
        again = load_pretrained(save_pretrained(loaded, tmp_path / "again", overwrite=True))
        assert isinstance(again, ImageModel)
        assert again.generation == settings


@pytest.mark.parametrize(
    "generation",
    [
        None,
        3,
        [],
        {"temperature": "0.7"},
        {"temperature": [], "guidance": 1},
        {"temperature": [0.7, True]},
        {"temperature": [1.0, 1.0, 1.0]},
        {"temperature": -0.1},
        {"temperature": 1e3},
        {"temperature": float("nan")},
        {"temperature": [0.7, float("inf")]},
        {"temperature": 10**400},
        {"temperature": {"0": 1}},
        {"guidance": "1"},
        {"guidance": None},
        {"guidance": [1.0]},
        {"guidance": 10.5},
        {"guidance": -1},
        {"guidance": 1.25},  # without classes
        {"temperature": 0.7, "guidance": 1, "__class__": "os"},
    ],
)
def test_damaged_settings_to_draw_with(folder: Path, generation: object) -> None:
    edit(folder, lambda config: config.update(generation=generation))
    assert "generation in " in (message := message_of(ValueError, folder))
    assert "is damaged" in message
    assert len(message) < 500


@pytest.mark.parametrize("names", [["one"], ["a", "b", "c"], ["a", "b\x1b[2J"], ["a", 3], "names", 3, {"a": 1, "b": 2}])
def test_names_of_classes_that_do_not_fit_are_refused(names: object, tmp_path: Path) -> None:
    folder = save_pretrained(tiny_model(num_classes=2), tmp_path / "export")
    edit(folder, lambda config: config["training"].update(classes=names))
    message_of(ValueError, folder)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_both_files_have_the_permissions_of_the_umask(model: ImageModel, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        folder = save_pretrained(model, tmp_path / "export")
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {0o666 & ~umask}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~umask


def test_the_hash_sees_weights_and_architecture(model: ImageModel) -> None:
    assert model_hash(tiny_model()) == model_hash(model)
    assert model_hash(perturb(tiny_model(), size=1e-4)) != model_hash(model)
    assert model_hash(tiny_model(num_bits=7)) != model_hash(model)


def test_an_existing_folder_is_kept(model: ImageModel, folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FileExistsError, match=r"exists already.*--overwrite"):
        save_pretrained(tiny_model(seed=1), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_overwriting_replaces(folder: Path) -> None:
    other = tiny_model(seed=1)
    save_pretrained(other, folder, overwrite=True)
    assert model_hash(load_pretrained(folder)) == model_hash(other)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_an_empty_folder_may_be_overwritten(model: ImageModel, tmp_path: Path) -> None:
    assert load_pretrained(save_pretrained(model, tmp_path, overwrite=True))


@pytest.mark.parametrize("config", [None, '{"model_type": "bert"}', "not JSON", "[]", '{"format": "glow-app/1"}'])
def test_a_folder_of_other_things_is_never_deleted(model: ImageModel, folder: Path, config: str | None) -> None:
    if config is not None:  # else beside a whole export
        (folder / CONFIG_NAME).write_text(config)
    (folder / "thesis.tex").write_text("years of work")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FileExistsError, match=r"holds other files too, such as thesis\.tex"):
        save_pretrained(model, folder, overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_file_in_the_way_is_kept(model: ImageModel, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_text("a file")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError):
            save_pretrained(model, path, overwrite=overwrite)
    assert path.read_text() == "a file"


def test_an_interrupted_overwrite_keeps_the_old_export(
    model: ImageModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(weights: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pretrained, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_pretrained(tiny_model(seed=1), folder, overwrite=True)
    assert model_hash(load_pretrained(folder)) == model_hash(model)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_failed_exchange_keeps_the_old_export(
    model: ImageModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.replace

    def fails_to_move_in(source: Path, target: Path) -> None:
        if Path(target) == folder and Path(source).name == "new":
            raise OSError("interrupted")
        rename(source, target)

    monkeypatch.setattr(os, "replace", fails_to_move_in)
    with pytest.raises(OSError, match="interrupted"):
        save_pretrained(tiny_model(seed=1), folder, overwrite=True)
    assert model_hash(load_pretrained(folder)) == model_hash(model)


@pytest.mark.parametrize("name", [CONFIG_NAME, WEIGHTS_NAME])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert name in message_of(FileNotFoundError, folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert "nowhere" in message_of(FileNotFoundError, tmp_path / "nowhere")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.999])
def test_truncated_weights_are_damaged(folder: Path, share: float) -> None:
    path = folder / WEIGHTS_NAME
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "is damaged" in message_of(ValueError, folder)


NO_WEIGHTS = [b"\xff" * 100, b"\x80\x02cos\nsystem\n", b"\x89PNG\r\n\x1a\n", b"hello"]
NO_JSON = [b"{", b"", b"\xff\xfe\x00", b"[" * 100_000, b"nonsense\nover\nlines"]
OTHER_JSON = [
    b"[]",
    b"null",
    b"3",
    b'"text"',
    b"{}",
    b'{"format": "glow-app/1"}',
    b'{"format": "glow-app/2", "model": {}}',
]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        *((WEIGHTS_NAME, content, "is damaged") for content in NO_WEIGHTS),
        *((CONFIG_NAME, content, "is damaged") for content in NO_JSON),
        *((CONFIG_NAME, content, "does not describe a model of format glow-app/1") for content in OTHER_JSON),
    ],
)
def test_a_file_that_is_something_else_is_refused(folder: Path, name: str, content: bytes, words: str) -> None:
    (folder / name).write_bytes(content)
    assert words in message_of(ValueError, folder)


@pytest.mark.parametrize("part", ["conditioner", "prior"])
@pytest.mark.parametrize("name", ["os.system", "glow_app.flows.Glow", "builtins.eval", "glow_app.nn.ZeroConv2d", ""])
def test_only_listed_classes_may_be_named(folder: Path, part: str, name: str) -> None:
    edit(folder, lambda config: config["model"]["flow"][part].update(class_path=name, init_args={"command": "true"}))
    message = message_of(ValueError, folder)
    assert repr(name) in message
    assert f"pass --allow-class {name}, or call glow_app.allow_class" in message


@pytest.mark.parametrize("hidden_channels", [4, 9, 10**9, 10**12, 10**19])
def test_a_configuration_for_other_weights_does_not_fit_and_costs_nothing(folder: Path, hidden_channels: int) -> None:
    edit(folder, lambda config: config["model"]["flow"].update(hidden_channels=hidden_channels))
    peak, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    message = message_of(ValueError, folder)
    assert "do not match" in message or "damaged" in message
    assert time.perf_counter() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 200_000  # KiB


def test_empty_tensors_are_no_weights(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS_NAME)
    save_file({**weights, **{f"empty{n}": torch.zeros(0) for n in range(400)}}, folder / WEIGHTS_NAME)
    edit(folder, lambda config: config["model"]["flow"].update(num_steps=[200, 200]))
    assert "it has more parts than" in message_of(ValueError, folder)


def test_an_absurd_number_of_steps_fails_fast(folder: Path) -> None:
    # Every step is a Python object, whatever its tensors weigh.
    edit(folder, lambda config: config["model"]["flow"].update(num_steps=600))
    start = time.perf_counter()
    message_of(ValueError, folder)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("model", None),
        ("model", "Glow"),
        ("model", []),
        ("model/flow", ABSENT),
        ("model/flow", "Glow"),
        ("model/flow", 3),
        ("model/num_bits", ABSENT),
        ("model/num_bits", 9),
        ("model/num_bits", "8"),
        ("model/flow/prior", ABSENT),
        ("model/flow/prior", "Gaussian"),
        ("model/flow/prior/init_args", ABSENT),
        ("model/flow/prior/init_args", [1]),
        ("model/flow/prior/init_args", {"latent_shape": [1]}),
        ("model/flow/prior/class_path", ["os.system"]),
        ("model/flow/prior/class_path", "glow_app.nn.ConvConditioner"),
        ("model/flow/conditioner/class_path", "glow_app.priors.GaussianPrior"),
        ("model/flow/surprise", 1),
        ("model/flow/image_shape", None),
        ("model/flow/image_shape", [3, 7, 7]),
        ("model/flow/image_shape", [3, 8.5, 8]),
        ("model/flow/image_shape", ["3", "8", "8"]),
        ("model/flow/image_shape", [2**40, 8, 8]),
        ("model/flow/num_levels", 9),
        ("model/flow/num_levels", "2"),
        ("model/flow/num_steps", "many"),
        ("model/flow/num_steps", None),
        ("model/flow/hidden_channels", 8.5),
        ("model/flow/hidden_channels", -8),
        ("model/flow/hidden_channels", "8"),
        ("model/flow/coupling", ["affine"]),
        ("model/flow/num_classes", "two"),
        ("model/flow/num_classes", 10**18),
    ],
    ids=str,
)
def test_an_edited_configuration_is_one_line_of_value_error(folder: Path, place: str, value: object) -> None:
    edit(folder, partial(change, place=place, value=value))
    message_of(ValueError, folder)


def test_weights_of_another_model_are_noticed(folder: Path, tmp_path: Path) -> None:
    other = save_pretrained(tiny_model(seed=1), tmp_path / "other")
    (folder / WEIGHTS_NAME).write_bytes((other / WEIGHTS_NAME).read_bytes())
    assert "are not those that config.json describes" in message_of(ValueError, folder)


@pytest.mark.parametrize("value", [None, "", 0])
def test_a_configuration_without_its_hash_is_refused(folder: Path, value: object) -> None:
    edit(folder, lambda config: config.update(sha256=value))
    message_of(ValueError, folder)


def test_one_changed_weight_is_noticed(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS_NAME)
    name = next(name for name in weights if name.endswith("log_scale"))
    weights[name][0] += 1e-3
    save_file(weights, folder / WEIGHTS_NAME)
    assert "are not those" in message_of(ValueError, folder)


@pytest.mark.parametrize("dtype", [torch.int32, torch.float16])
def test_weights_of_another_type_are_noticed(folder: Path, dtype: torch.dtype) -> None:
    weights = {name: value.to(dtype) for name, value in load_file(folder / WEIGHTS_NAME).items()}
    save_file(weights, folder / WEIGHTS_NAME)
    message_of(ValueError, folder)


def test_directions_go_along_and_stay(model: ImageModel, folder: Path, tmp_path: Path) -> None:
    for name in ("mine", "theirs"):
        (tmp_path / f"{name}.safetensors").write_text(name)
    (folder / DIRECTIONS_NAME).mkdir()
    shutil.copy(tmp_path / "mine.safetensors", folder / DIRECTIONS_NAME)
    save_pretrained(model, folder, overwrite=True, directions=[tmp_path / "theirs.safetensors"])
    found = {path.name: path.read_text() for path in (folder / DIRECTIONS_NAME).iterdir()}
    assert found == {"mine.safetensors": "mine", "theirs.safetensors": "theirs"}
    with pytest.raises(FileNotFoundError):
        save_pretrained(model, folder, overwrite=True, directions=[tmp_path / "none.safetensors"])
    assert len(list((folder / DIRECTIONS_NAME).iterdir())) == 2
    (tmp_path / "secret").write_text("of somebody else")
    (folder / DIRECTIONS_NAME / "link.safetensors").symlink_to(tmp_path / "secret")
    (folder / DIRECTIONS_NAME / "notes").mkdir()
    (folder / DIRECTIONS_NAME / "notes/a.txt").write_text("mine")
    save_pretrained(model, folder, overwrite=True)
    assert (folder / DIRECTIONS_NAME / "link.safetensors").readlink() == tmp_path / "secret"
    assert (folder / DIRECTIONS_NAME / "notes/a.txt").read_text() == "mine"
    (tmp_path / "link.safetensors").write_text("of the user")
    save_pretrained(model, folder, overwrite=True, directions=[tmp_path / "link.safetensors"])
    assert (tmp_path / "secret").read_text() == "of somebody else"
    (folder / DIRECTIONS_NAME).rename(tmp_path / "elsewhere")
    (folder / DIRECTIONS_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError, match="is a link"):
        save_pretrained(model, folder, overwrite=True)
    (folder / DIRECTIONS_NAME).unlink()
    (folder / DIRECTIONS_NAME).write_text("a file of that name")
    with pytest.raises(FileExistsError, match="holds other files"):
        save_pretrained(model, folder, overwrite=True)


def test_weights_that_do_not_fit_are_told_in_plain_words(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS_NAME)
    name = next(name for name, tensor in weights.items() if tensor.ndim)
    for changed, words in (
        ({**weights, name: torch.zeros(1, 2, 3)}, rf"{name} has the shape \(1, 2, 3\); expected the shape "),
        ({one: weights[one] for one in weights if one != name}, f"{name} is missing; expected the shape "),
        ({**weights, "more": torch.zeros(3)}, "more has the shape .*; expected none such"),
    ):
        save_file(changed, folder / WEIGHTS_NAME)
        message = message_of(ValueError, folder)
        assert re.search(f"do not match the model configuration: {words}", message)
