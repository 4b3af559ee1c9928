"""`glow data render faces`, and trainings on them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from glow_app.data.attributes import read_attributes
from glow_app.data.faces import rendered
from glow_app.data.faces.drawing import render_face
from glow_app.data.faces.face import draw_face
from glow_app.data.listing import list_images

Glow = Callable[..., Any]


def picture(seed: int, index: int, side: int) -> np.ndarray:
    return render_face(draw_face(seed, index), side).transpose(1, 2, 0)


def test_faces_are_rendered_into_a_folder_with_a_table(glow: Glow) -> None:
    result = glow("data", "render", "faces", "--count", 12, "--size", 16, "--output", "my_faces")
    assert result.code == 0, result
    assert result.output.splitlines() == [
        "12 faces in my_faces, attributes in my_faces/attributes.csv",
        "train on them: glow fit my_faces",
    ]
    names = [f"{index:06d}.png" for index in range(12)]
    assert sorted(path.name for path in Path("my_faces").iterdir()) == [*names, "attributes.csv"]
    table = read_attributes(Path("my_faces/attributes.csv"))
    assert table.files == names
    assert {"smiling", "glasses", "skin_lightness", "background_hue"} < set(table.names)
    assert table.values[:, table.names.index("smiling")].tolist() == [
        draw_face(0, index).smiling for index in range(12)
    ]
    for index, name in enumerate(names):
        assert np.array_equal(np.asarray(Image.open(f"my_faces/{name}")), picture(0, index, 16))
    listing = list_images(Path("my_faces"))
    assert len(listing.files) == 12
    assert not listing.class_names


def test_more_faces_and_other_seeds(glow: Glow) -> None:
    for name, options in (("few", ("--count", 3)), ("more", ("--count", 5)), ("other", ("--count", 3, "--seed", 1))):
        assert glow("data", "render", "faces", "--size", 8, "--output", name, *options).code == 0
    few, more, other = (
        [path.read_bytes() for path in sorted(Path(name).glob("*.png"))] for name in ("few", "more", "other")
    )
    assert more[:3] == few
    assert len(more) == 5
    assert not set(few) & set(other)


def test_an_existing_folder_is_refused(glow: Glow, refused: Callable[..., str]) -> None:
    options = ("data", "render", "faces", "--size", 8, "--output", "my_faces")
    assert glow(*options, "--count", 4).code == 0
    assert "my_faces exists already; choose another place" in refused(*options, "--count", 2)
    assert len(list(Path("my_faces").iterdir())) == 5


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--size", "48x64", "faces, which are square"), ("--size", "0", "such as 64"), ("--count", "0", "at least 1")],
)
def test_sizes_and_counts_of_faces_are_checked(
    refused: Callable[..., str], option: str, value: str, message: str
) -> None:
    assert message in refused("data", "render", "faces", "--output", "my_faces", option, value)


def test_faces_need_their_packages(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendered, "_PACKAGES", ("no-such-package",))
    error = refused("data", "render", "faces", "--count", 2, "--output", "my_faces", code=1)
    assert error == "error: rendering faces needs no-such-package; run: pip install 'glow-app[faces]'"
    assert not Path("my_faces").exists()


def test_directions_are_learnt_from_rendered_faces(glow: Glow, tiny_run: list[str]) -> None:
    assert glow("data", "render", "faces", "--count", 40, "--size", 8, "--output", "my_faces").code == 0
    options = [*tiny_run, "--data.batch_size=16", "--data.source=folder", "--data.root=my_faces"]
    assert glow("fit", "--run_dir", "run", *options).code == 0
    columns = ("smiling", "hat", "skin_lightness", "background_hue")
    result = glow(
        "edit", "learn", "--attributes", "my_faces/attributes.csv", "--checkpoint", "run", "--columns", *columns
    )
    assert result.code == 0, result
    assert "skin_lightness, from 40 images" in result.output
    result = glow(
        "edit", "apply", "my_faces/000003.png", "--direction", "hat", "--checkpoint", "run", "--output", "edits"
    )
    assert result.code == 0, result


def test_training_on_the_source_of_faces(glow: Glow, tiny_run: list[str]) -> None:
    options = [*tiny_run, "--data.batch_size=16", "--data.source=faces", "--data.count=40"]
    assert glow("fit", "--run_dir", "run", *options).code == 0
    result = glow("test", "--checkpoint", "run")
    assert "(faces, test split, 4 images of 8x8" in result.output


def test_training_on_a_folder_of_hugging_face_datasets(
    glow: Glow, refused: Callable[..., str], tiny_run: list[str]
) -> None:
    datasets = pytest.importorskip("datasets")
    pixels = np.random.default_rng(0).integers(0, 256, (80, 10, 12), dtype=np.uint8)
    columns = {"image": [Image.fromarray(one) for one in pixels], "label": [row % 2 for row in range(80)]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    datasets.Dataset.from_dict(columns, features=features).save_to_disk("mine")
    options = [*tiny_run, "--data.batch_size=16", "--data.source=datasets", "--data.num_workers=1"]
    assert glow("fit", "--run_dir", "run", *options, "--data.root=mine").code == 0
    assert glow("fit", "--resume", "run", "--trainer.max_epochs=3").code == 0
    assert "(datasets, test split, 8 images of 8x8" in glow("test", "--checkpoint", "run").output
    assert "nowhere is not a folder" in refused("fit", "--run_dir", "other", *options, "--data.root=nowhere")
