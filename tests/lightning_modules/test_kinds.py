from pathlib import Path
from typing import get_args

import pytest

from glow_app.messages import UsageError
from lightning_modules.callbacks import EMA, NonFiniteGuard, SampleGrids, SaveProgress
from lightning_modules.command_line.kinds import KINDS, KindName, kind_of
from lightning_modules.data import ImageDataModule
from lightning_modules.density import DensityModule
from lightning_modules.vector_data import VectorDataModule
from lightning_modules.vector_density import VectorDensityModule


def config(folder: Path, text: str, name: str = "a.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_kinds() -> None:
    assert tuple(KINDS) == get_args(KindName)
    assert all(kind.name == name for name, kind in KINDS.items())
    images, vectors = KINDS["images"], KINDS["vectors"]
    assert (images.module, images.data) == (DensityModule, ImageDataModule)
    assert (vectors.module, vectors.data) == (VectorDensityModule, VectorDataModule)
    # In this order: the averaging gives its weights back when validation ends.
    assert list(images.callbacks.values()) == [NonFiniteGuard, SaveProgress, SampleGrids, EMA]
    assert list(vectors.callbacks.values()) == [NonFiniteGuard, SaveProgress, EMA]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ([], "images"),
        (["fit"], "images"),
        (["fit", "--kind", "vectors"], "vectors"),
        (["fit", "--kind=vectors"], "vectors"),
        (["fit", "--kind", "vectors", "--kind", "images"], "images"),
        (["fit", "--kind=images", "--kind=vectors", "--name", "images"], "vectors"),
        (["fit", "--name=vectors", "--model.num_features=2"], "images"),
    ],
    ids=str,
)
def test_of_the_options(arguments: list[str], name: str) -> None:
    assert kind_of(arguments).name == name


def test_of_the_files(tmp_path: Path) -> None:
    vectors = config(tmp_path, "name: x\nkind: vectors\nmodel:\n  kind: images\n", "v.yaml")
    images = config(tmp_path, "kind: images\n", "i.yaml")
    silent = config(tmp_path, "name: x\nmodel:\n  kind: vectors\n", "s.yaml")
    for arguments, name in (
        (["--config", vectors], "vectors"),
        ([f"--config={vectors}"], "vectors"),
        (["--config", silent], "images"),
        (["--config", vectors, "--config", silent], "vectors"),
        (["--config", silent, f"--config={vectors}"], "vectors"),
        (["--config", vectors, "--config", images], "images"),
        ([f"--config={images}", f"--config={vectors}"], "vectors"),
        # What comes last counts, as for every other option.
        (["--config", vectors, "--kind", "images"], "images"),
        (["--kind", "images", "--config", vectors], "vectors"),
        (["--kind=vectors", f"--config={silent}"], "vectors"),
    ):
        assert kind_of(["fit", *arguments]).name == name, arguments


def test_a_path_may_hold_an_equals_sign(tmp_path: Path) -> None:
    path = config(tmp_path, "kind: vectors\n", "lr=1.yaml")
    assert kind_of([f"--config={path}"]).name == "vectors"


def test_a_path_of_its_own_may_hold_an_equals_sign(tmp_path: Path) -> None:
    path = config(tmp_path, "kind: vectors\n", "lr=1.yaml")
    assert kind_of(["--config", path]).name == "vectors"


@pytest.mark.parametrize("text", ["", "[\n", "- kind\n", "kind", "3", "kind: null\n", "model: {}\n", "a: b: c\n"])
def test_files_without_a_kind_are_for_the_parser(tmp_path: Path, text: str) -> None:
    assert kind_of(["--config", config(tmp_path, text)]).name == "images"
    assert kind_of(["--kind=vectors", "--config", config(tmp_path, text)]).name == "vectors"


def test_files_that_are_none_are_for_the_parser(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80kind: vectors")
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "binary"):
        assert kind_of(["--config", str(path)]).name == "images"


@pytest.mark.parametrize("value", ["vector", "Vectors", "", " vectors"])
def test_a_kind_that_there_is_not(value: str) -> None:
    with pytest.raises(UsageError, match=f"kind is '{value}'; expected one of images, vectors"):
        kind_of(["fit", f"--kind={value}"])


@pytest.mark.parametrize(
    "text",
    [
        "kind: vector\n",
        "kind: 3\n",
        "kind: true\n",
        "kind: [vectors]\n",
        "kind: {a: 1}\n",
    ],
)
def test_a_file_with_a_kind_that_there_is_not(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"kind is .*; expected one of images, vectors"):
        kind_of(["fit", "--config", config(tmp_path, text)])


def test_the_last_word_may_be_an_option() -> None:
    assert kind_of(["fit", "--kind"]).name == "images"
    assert kind_of(["fit", "--config"]).name == "images"
