"""`glow data render faces`, and training on the result."""

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
    assert {"smiling", "glasses", "skin_lightness", "background_hue"} < set(table.kinds)
    assert table.values[:, list(table.kinds).index("hat")].tolist() == [draw_face(0, index).hat for index in range(12)]
    for index, name in enumerate(names):
        assert np.array_equal(np.asarray(Image.open(f"my_faces/{name}")), picture(0, index, 16))


def test_folders_with_files_and_invalid_sizes_are_refused(glow: Glow, refused: Callable[..., str]) -> None:
    options = ("data", "render", "faces", "--size", 8, "--output", "my_faces")
    Path("my_faces").mkdir()
    assert glow(*options, "--count", 4).code == 0
    assert "my_faces contains other files, such as 000000.png; choose another place" in refused(*options, "--count", 2)
    assert len(list(Path("my_faces").iterdir())) == 5
    assert "--size: must be a whole number" in refused(*options[:3], "--output", "others", "--size", "48x64")


def test_missing_packages_for_faces_are_named(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendered, "_PACKAGES", ("no-such-package",))
    error = refused("data", "render", "faces", "--count", 2, "--output", "my_faces", code=1)
    assert error == "error: rendering faces needs no-such-package; run: pip install 'glow-app[faces]'"


@pytest.mark.slow
def test_training_on_a_folder_of_hugging_face_datasets(
    glow: Glow, refused: Callable[..., str], tiny_run: list[str]
) -> None:
    datasets = pytest.importorskip("datasets")
    pixels = np.random.default_rng(0).integers(0, 256, (80, 10, 12), dtype=np.uint8)
    columns = {"image": [Image.fromarray(image) for image in pixels], "label": [row % 2 for row in range(80)]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    datasets.Dataset.from_dict(columns, features=features).save_to_disk("mine")
    options = [*tiny_run, "--data.batch_size=16", "--data.source=datasets"]
    assert glow("fit", "--run_dir", "run", *options, "--data.root=mine").code == 0
    measured = glow("test", "--checkpoint", "run").output
    assert "data: datasets, 8 images of the test split (held out from the training), 8x8," in measured
    assert "nowhere is not a folder" in refused("fit", "--run_dir", "other", *options, "--data.root=nowhere")
