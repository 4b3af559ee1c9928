"""`glow reconstruct` and `glow interpolate`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from run_files import pixels

from glow_app import __version__
from glow_app.pictures.animations import animation_bytes
from glow_app.pictures.images import grid, read_png_text, strip
from glow_app.pictures.inputs import as_images
from glow_app.pipeline import infer, interpolate, mix_levels
from glow_app.storage.stored_model import load_model

Glow = Callable[..., Any]


def test_reconstructions_are_exact(trained: Path, tmp_path: Path, pictures: list[Path], glow: Glow) -> None:
    (pictures[0].parent / "broken.png").write_bytes(b"\x89PNG and no more")
    result = glow("reconstruct", pictures[0].parent, "--checkpoint", trained, "--batch-size", 2)
    assert (result.code, result.errors) == (1, []), result
    assert "skipped: " in result.output
    assert "3 images, largest pixel error 0 of 255" in result.output
    assert "bits" not in result.output
    assert "resized" not in result.output
    comparison = tmp_path / "outputs/reconstruct" / "comparison.png"
    twice = as_images(pictures, (1, 8, 8)).repeat_interleave(2, 0)
    assert np.array_equal(pixels(comparison), np.asarray(grid(twice, 8, above=["original", "decoded"] * 4)))
    assert read_png_text(comparison) == {"model": load_model(trained).hash, "version": __version__}


def test_quantisation_and_resizing_are_reported(trained: Path, tmp_path: Path, glow: Glow) -> None:
    eight_bits = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(eight_bits).save(tmp_path / "bits.png")
    Image.fromarray(np.full((9, 13, 3), 51, np.uint8)).save(tmp_path / "large.png")
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "red.png")
    files = [tmp_path / f"{name}.png" for name in ("bits", "large", "red")]
    result = glow("reconstruct", *files, "--checkpoint", trained)
    assert result.code == 0, result
    assert "1 picture: cropped and reduced to 8x8\n1 picture: colours made grey\n" in result.output
    assert ".png:" not in result.output
    single = glow("reconstruct", files[1], "--checkpoint", trained, "--output", "single")
    assert f"{files[1]}: cropped and reduced to 8x8\n" in single.output
    assert "largest pixel error 0 of 255" in result.output
    lost = np.abs((eight_bits >> 4) * 17 - eight_bits.astype(int)).max()
    assert f"quantised to 4 bits first, which changed pixels by up to {lost} of 255" in result.output


def test_existing_files_and_inputs_are_not_replaced(
    trained: Path, pictures: list[Path], glow: Glow, refused: Callable[..., str]
) -> None:
    given = pictures[0].rename(pictures[0].with_name("comparison.png"))
    options = ["--checkpoint", trained, "--output", given.parent, "--overwrite"]
    assert f"{given} is an input" in refused("reconstruct", given.parent, *options, code=2)
    again = ["reconstruct", pictures[1], "--checkpoint", trained]
    assert "outputs/reconstruct/comparison.png" in glow(*again).output
    result = glow(*again)
    assert "outputs/reconstruct already contains results; writing to outputs/reconstruct-2" in result.output
    assert "side by side: outputs/reconstruct-2/comparison.png" in result.output
    assert "writing to" not in glow(*again, "--overwrite").output
    once = [*again, "--output", "once.png"]
    assert glow(*once).code == 0
    assert "once.png exists already" in refused(*once)


def test_interpolation_between_classes(
    conditional: Path, tmp_path: Path, pictures: list[Path], glow: Glow, refused: Callable[..., str]
) -> None:
    options = [*pictures, "--checkpoint", conditional, "--output", "deep/strip.png", "--frames", 4, "--overwrite"]
    assert "0 to 9" in refused("interpolate", *options, "--given", 3, 8, 10)
    assert "2 values for 3 pictures" in refused("interpolate", *options, "--given", 3, 8, code=2)
    assert not (tmp_path / "deep").exists()
    model = load_model(conditional)
    for labels, given in ((["--given", 3, 8, 1], [3, 8, 1]), ([], infer(model, pictures))):
        result = glow("interpolate", *options, *labels)
        assert "7 frames" in result.output
        assert result.output.count(", inferred") == (0 if labels else 3)
        expected = strip(interpolate(model, pictures, 4, given), 4)
        assert np.array_equal(pixels(tmp_path / "deep/strip.png"), np.asarray(expected))
    glow("interpolate", *pictures[:2], *options[3:], "--given", "kind d", "8")
    assert read_png_text(tmp_path / "deep/strip.png")["given"] == "Kind D, Kind I"


def test_frames_and_metadata(trained: Path, pictures: list[Path], glow: Glow) -> None:
    model, pair = load_model(trained), pictures[:2]
    facts = {"pictures": "a.png, b.png", "model": model.hash, "version": __version__}
    line = interpolate(model, pair, 5)
    for options, way, frames in (
        (["--frames", 5], "line", line),
        (["--frames", 5, "--spherical"], "arc", interpolate(model, pair, 5, spherical=True)),
        (["--mix"], "levels mixed", mix_levels(model, pair)),
    ):
        assert glow("interpolate", *pair, "--checkpoint", trained, "--overwrite", *options).code == 0
        assert np.array_equal(pixels(Path("outputs/interpolate/strip.png")), np.asarray(strip(frames, len(frames))))
        assert read_png_text(Path("outputs/interpolate/strip.png")) == facts | {"way": way}
    assert glow("interpolate", *pair, "--checkpoint", trained, "--frames", 5, "--output", "moving.gif").code == 0
    assert Path("moving.gif").read_bytes() == animation_bytes(line, ".gif")


def test_wrong_options_of_interpolation_are_refused(
    trained: Path, pictures: list[Path], refused: Callable[..., str]
) -> None:
    pair = [pictures[0], pictures[1], "--checkpoint", trained]
    assert "--frames: must be a whole number of at least 2" in refused("interpolate", *pair, "--frames", 1, code=2)
    assert "expected two or more" in refused("interpolate", pictures[0], "--checkpoint", trained, code=2)
    assert "such as NAME.png or NAME.gif" in refused("interpolate", *pair, "--output", "x.csv", code=2)
