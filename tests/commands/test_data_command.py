"""`glow data`, and trainings on what it packs."""

import shutil
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(80):
        path = tmp_path / f"mine/{'ab'[number % 2]}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (10, 12)).astype(np.uint8)).save(path)
    return tmp_path / "mine"


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ("32", "--config folder32"),
        ("20", "--config folder32 --model.flow.image_shape '[3,20,20]' --model.flow.num_levels 2"),
        ("48x64", "--config folder32 --model.flow.image_shape '[3,48,64]'"),
        ("21", "--config folder"),
    ],
)
def test_pack_names_a_model_of_the_size(glow: Glow, folder: Path, size: str, options: str) -> None:
    result = glow("data", "pack", folder, "--output", "packed", "--size", size)
    last = result.output.splitlines()[-1]
    assert last == f"train on them: glow fit {options} --data.source shards --data.root packed"


def test_pack_says_what_it_did_and_how_to_go_on(glow: Glow, folder: Path) -> None:
    (folder / "a/broken.jpg").write_bytes(b"x")
    result = glow("data", "pack", folder, "--output", "packed", "--size", "8", "--grey")
    assert result.code == 0, result
    lines = result.output.splitlines()
    assert lines[0].startswith("left out a/broken.jpg: cannot identify image file")
    splits = [line.split() for line in lines[1:4]]
    assert [split[0] for split in splits] == ["train", "validation", "test"]
    assert sum(int(split[1]) for split in splits) == 80
    assert lines[4] == "2 classes"
    assert lines[-1] == (
        "train on them: glow fit --config folder32 --model.flow.image_shape '[1,8,8]' --data.source shards "
        "--data.root packed"
    )
    assert glow("data", "verify", "packed").output.endswith("all are what the manifest says\n")


def test_training_on_shards_equals_training_on_their_folder(glow: Glow, folder: Path, tiny_run: list[str]) -> None:
    glow("data", "pack", folder, "--output", "packed", "--size", "8", "--grey")
    options = [*tiny_run, "--data.batch_size=16", "--data.num_workers=1"]
    for source, root in (("shards", "packed"), ("folder", folder)):
        result = glow("fit", "--run_dir", source, f"--data.source={source}", f"--data.root={root}", *options)
        assert result.code == 0, result
    one, other = (glow("test", "--checkpoint", name).output.splitlines() for name in ("shards", "folder"))
    assert one[0] == f"data.root as in shards/best.ckpt: {str(Path('packed').absolute())!r}"
    assert "(shards, test split, 8 images of 8x8, 1 channel" in one[1]
    # The order of training differs, the images and the references do not.
    assert one[2:] == other[2:]


def test_a_shard_damaged_while_a_training_reads_it_ends_in_one_line(
    refused: Callable[..., str], glow: Glow, folder: Path, tiny_run: list[str]
) -> None:
    glow("data", "pack", folder, "--output", "packed")
    shard = Path("packed/train-000000.tar")
    shard.write_bytes(bytes(shard.stat().st_size))
    options = [*tiny_run, "--data.batch_size=16", "--data.source=shards", "--data.root=packed"]
    for workers in (0, 1):  # more than a machine has cores would be warned of
        error = refused("fit", "--run_dir", f"run{workers}", *options, f"--data.num_workers={workers}", code=1)
        assert "train-000000.tar is damaged: image " in error
        assert "and neither can the next 15; put a good copy in its place" in error
        assert "Traceback" not in error
    error = glow("data", "verify", "packed").errors[0]
    assert error == "error: 1 files in packed are damaged; put good copies in their place"


def test_what_is_refused(refused: Callable[..., str], glow: Glow, folder: Path) -> None:
    assert "required: pack|index|verify" in refused("data", code=2)
    assert "--output" in refused("data", "pack", folder, code=2)
    assert "0x8 is not a size" in refused("data", "pack", folder, "--output", "x", "--size", "0x8", code=2)
    assert "--grey needs --size" in refused("data", "pack", folder, "--output", "x", "--grey", code=2)
    assert "--resize needs --size" in refused("data", "pack", folder, "--output", "x", "--resize", "pad", code=2)
    assert "does not exist" in refused("data", "pack", "nowhere", "--output", "x")
    assert "validation_fraction is 2.0" in refused(
        "data", "pack", folder, "--output", "x", "--validation-fraction", "2"
    )
    assert "there is no" in refused("data", "verify", folder)
    glow("data", "pack", folder, "--output", "packed")
    assert "exists already" in refused("data", "pack", folder, "--output", "packed")
    shutil.rmtree("packed")
    assert "no tar files" in refused("data", "index", folder)


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


def test_a_folder_of_faces_is_only_replaced_when_asked(glow: Glow, refused: Callable[..., str]) -> None:
    options = ("data", "render", "faces", "--size", 8, "--output", "my_faces")
    assert glow(*options, "--count", 4).code == 0
    assert "my_faces exists already; choose another place or pass --overwrite" in refused(*options, "--count", 2)
    assert glow(*options, "--count", 2, "--overwrite").code == 0
    assert len(list(Path("my_faces").iterdir())) == 3
    Path("my_faces/mine.png").write_bytes(b"a picture of mine")
    assert "holds other files too, such as mine.png" in refused(*options, "--overwrite")
    assert Path("my_faces/mine.png").read_bytes() == b"a picture of mine"


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
