"""`glow reconstruct` and `glow interpolate`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from run_files import pixels

from glow_app import __version__
from glow_app.pictures.images import read_png_text
from glow_app.storage.stored_model import load_model, model_hash

Glow = Callable[..., Any]


def cells(picture: np.ndarray, columns: int, rows: int = 1) -> list[np.ndarray]:
    """Return the 8x8 images of a grid of enlarged images with lines of two pixels between, below captions."""
    factor = (picture.shape[1] - 2) // columns - 2
    factor //= 8
    side = 8 * factor
    above = picture.shape[0] - rows * (side + 2) - 2
    shown = []
    for row in range(rows):
        for column in range(columns):
            top, left = above + 2 + row * (side + 2), 2 + column * (side + 2)
            shown.append(picture[top : top + side : factor, left : left + side : factor])
    return shown


def test_reconstructions_are_exact(trained: Path, tmp_path: Path, pictures: list[Path], glow: Glow) -> None:
    (pictures[0].parent / "broken.png").write_bytes(b"\x89PNG and no more")
    result = glow("reconstruct", pictures[0].parent, "--checkpoint", trained, "--batch-size", 2)
    assert result.code == 0, result
    assert "skipped: " in result.output
    assert "3 images, largest pixel error 0 of 255" in result.output
    assert "bits" not in result.output
    assert "resized" not in result.output
    shown = cells(pixels(tmp_path / "reconstructions" / "comparison.png"), columns=6)
    for index, path in enumerate(pictures):
        assert np.array_equal(shown[2 * index], pixels(path))
        assert np.array_equal(shown[2 * index + 1], pixels(path))
    metadata = read_png_text(tmp_path / "reconstructions" / "comparison.png")
    assert metadata == {"model": model_hash(load_model(trained)), "version": __version__}


def test_quantisation_and_resizing_are_reported(trained: Path, tmp_path: Path, glow: Glow) -> None:
    eight_bits = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(eight_bits).save(tmp_path / "bits.png")
    Image.fromarray(np.full((9, 13, 3), 51, np.uint8)).save(tmp_path / "large.png")
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "red.png")
    files = [tmp_path / f"{name}.png" for name in ("bits", "large", "red")]
    result = glow("reconstruct", *files, "--checkpoint", trained)
    assert result.code == 0, result
    assert "1 picture: resized and cropped to 8x8 (width x height)\n1 picture: colours made grey\n" in result.output
    assert ".png:" not in result.output
    single = glow("reconstruct", files[1], "--checkpoint", trained, "--output", "single")
    assert f"{files[1]}: 13x9 resized and cropped to 8x8 (width x height)\n" in single.output
    assert "largest pixel error 0 of 255" in result.output
    lost = np.abs((eight_bits >> 4) * 17 - eight_bits.astype(int)).max()
    assert f"quantised to 4 bits first, which changed pixels by up to {lost} of 255" in result.output


def test_a_class_conditional_model(
    conditional: Path, pictures: list[Path], glow: Glow, refused: Callable[..., str]
) -> None:
    options = ["--checkpoint", conditional, "--overwrite"]
    inferred = glow("reconstruct", *pictures, *options, "--batch-size", 2).output
    assert inferred.count(", inferred") == 3
    assert "error 0 of 255" in inferred
    assert "inferred" not in glow("reconstruct", *pictures, *options, "--given", 3).output


def test_existing_files_and_inputs_are_not_replaced(
    trained: Path, tmp_path: Path, pictures: list[Path], refused: Callable[..., str]
) -> None:
    given = pictures[0].rename(pictures[0].with_name("comparison.png"))
    options = ["--checkpoint", trained, "--output", given.parent, "--overwrite"]
    assert f"{given} is an input" in refused("reconstruct", given.parent, *options, code=2)
    (tmp_path / "reconstructions").mkdir()
    (tmp_path / "reconstructions/comparison.png").touch()
    assert "--overwrite" in refused("reconstruct", pictures[1], "--checkpoint", trained)


def test_interpolation_between_classes(
    conditional: Path, tmp_path: Path, pictures: list[Path], glow: Glow, refused: Callable[..., str]
) -> None:
    options = [*pictures, "--checkpoint", conditional, "--output", "deep/strip.png", "--frames", 4, "--overwrite"]
    assert "0 to 9" in refused("interpolate", *options, "--given", 3, 8, 10)
    assert "2 values for 3 pictures" in refused("interpolate", *options, "--given", 3, 8, code=2)
    assert not (tmp_path / "deep").exists()
    for labels, num_inferred in ((["--given", 3, 8, 1], 0), ([], 3)):
        result = glow("interpolate", *options, *labels)
        assert "7 frames" in result.output
        assert result.output.count(", inferred") == num_inferred
        shown = cells(pixels(tmp_path / "deep/strip.png"), columns=4, rows=2)
        for place, path in ((0, pictures[0]), (3, pictures[1]), (4, pictures[1]), (7, pictures[2])):
            assert np.array_equal(shown[place], pixels(path))


def test_metadata_of_a_strip(
    trained: Path, conditional: Path, tmp_path: Path, pictures: list[Path], glow: Glow
) -> None:
    strip = tmp_path / "interpolation.png"
    for options, way in (([], "arc"), (["--no-spherical"], "line"), (["--mix"], "levels mixed")):
        assert glow("interpolate", *pictures[:2], "--checkpoint", trained, "--overwrite", *options).code == 0
        facts = {"model": model_hash(load_model(trained)), "version": __version__}
        assert read_png_text(strip) == {"pictures": "a.png, b.png", "way": way, **facts}
    mixed = cells(pixels(strip), columns=3)
    assert np.array_equal(mixed[0], pixels(pictures[0]))
    assert np.array_equal(mixed[2], pixels(pictures[1]))
    assert not np.array_equal(mixed[1], mixed[0])
    glow("interpolate", *pictures[:2], "--checkpoint", conditional, "--overwrite", "--given", "kind d", "8")
    assert read_png_text(strip)["given"] == "Kind D, Kind I"


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_an_animation_runs_forwards_and_back(
    trained: Path, tmp_path: Path, pictures: list[Path], glow: Glow, suffix: str
) -> None:
    file = tmp_path / f"moving.{suffix}"
    result = glow("interpolate", *pictures[:2], "--checkpoint", trained, "--frames", 5, "--output", file)
    assert result.code == 0, result
    with Image.open(file) as picture:
        assert picture.n_frames == 8  # type: ignore[attr-defined]
        frames = []
        for number in (0, 4):
            picture.seek(number)
            frames.append(np.asarray(picture.convert("L"))[::30, ::30])
    assert np.array_equal(frames[0], pixels(pictures[0]))
    assert np.array_equal(frames[1], pixels(pictures[1]))


def test_wrong_options_of_interpolation_are_refused(
    trained: Path, tmp_path: Path, pictures: list[Path], refused: Callable[..., str]
) -> None:
    pair = [pictures[0], pictures[1], "--checkpoint", trained]
    assert "--frames: must be a whole number of at least 2" in refused("interpolate", *pair, "--frames", 1, code=2)
    assert "expected two or more" in refused("interpolate", pictures[0], "--checkpoint", trained, code=2)
    assert ".png, .gif" in refused("interpolate", *pair, "--output", "x.tiff", code=2)
    (tmp_path / "there.png").write_text("mine")
    assert "--overwrite" in refused("interpolate", *pair, "--output", tmp_path / "there.png")
    assert (tmp_path / "there.png").read_text() == "mine"
    assert not (tmp_path / "interpolation.png").exists()
