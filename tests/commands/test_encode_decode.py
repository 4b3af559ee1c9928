"""`glow encode` and `glow decode`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from damage import full_disk
from PIL import Image
from run_files import pixels
from safetensors.torch import load_file, save_file

from glow_app.pipeline import infer
from glow_app.storage.stored_model import load_model

Glow = Callable[..., Any]


def test_encoding_and_decoding_returns_the_pictures(exported: Path, pictures: list[Path], glow: Glow) -> None:
    (pictures[0].parent / "broken.png").write_bytes(b"x")
    places = [pictures[0].parent, "nothing.png", pictures[1]]
    result = glow("encode", *places, "--checkpoint", exported, "--batch-size", 2)
    assert (result.code, result.output.count("skipped: ")) == (1, 2)
    assert "skipped: there is no file nothing.png" in result.output
    assert result.output.endswith("4 images, latents of 2x4x4, 8x2x2: outputs/encode/latents.safetensors\n"), result
    images = torch.from_numpy(np.stack([pixels(path) for path in [*pictures, pictures[1]]])[:, None])
    stored = load_file("outputs/encode/latents.safetensors")
    for number, level in enumerate(load_model(exported).encode(images)):
        assert torch.equal(stored[f"level{number}"], level)
    result = glow("decode", "outputs/encode/latents.safetensors", "--checkpoint", exported, "--batch-size", 3)
    assert result.output == "4 images: outputs/decode\n"
    for number, path in enumerate([*pictures, pictures[1]]):
        assert np.array_equal(pixels(Path(f"outputs/decode/{number:06d}_{path.stem}.png")), pixels(path))
    Image.fromarray(np.full((8, 8), 100, np.uint8)).save("odd.png")
    result = glow("encode", "odd.png", "--checkpoint", exported, "--overwrite")
    assert "quantised to 4 bits first, which changed pixels by up to 2 of 255\n" in result.output


def test_a_full_disk_leaves_no_files(exported: Path, tmp_path: Path, pictures: list[Path], glow: Glow) -> None:
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    with full_disk():
        result = glow("encode", *pictures, "--checkpoint", exported)
    assert result.code == 1, result
    [line] = result.errors
    assert line == "error: outputs/encode/latents.safetensors: File too large"
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before


def test_a_class_conditional_model(conditional: Path, pictures: list[Path], glow: Glow) -> None:
    encode = ["encode", *pictures, "--checkpoint", conditional, "--overwrite"]
    for values, expected in (([3], [3, 3, 3]), ([3, "kind b", 8], [3, 1, 8])):
        assert glow(*encode, "--batch-size", 2, "--given", *values).code == 0
        assert load_file("outputs/encode/latents.safetensors")["given"].tolist() == expected
    inferred = glow(*encode, "--batch-size", 2)
    classes = load_file("outputs/encode/latents.safetensors")["given"].tolist()
    images = torch.from_numpy(np.stack([pixels(path) for path in pictures])[:, None])
    most_likely = infer(load_model(conditional), images)
    assert most_likely is not None
    assert classes == most_likely.tolist()
    for line, path, number in zip(inferred.output.splitlines(), pictures, classes, strict=False):
        assert line == f"{path}: given Kind {'ABCDEFGHIJ'[number]}, inferred"
    assert glow("decode", "outputs/encode/latents.safetensors", "--checkpoint", conditional).code == 0
    assert np.array_equal(pixels(Path("outputs/decode/000000_a.png")), pixels(pictures[0]))


def test_folder_names_give_the_classes(conditional: Path, pictures: list[Path], glow: Glow) -> None:
    here = pictures[0].parent
    for path, kind in zip(pictures, ("Kind B", "Kind I", "Kind ?"), strict=True):
        (here / kind).mkdir()
        path.rename(here / kind / path.name)
    encode = ["encode", here, "--checkpoint", conditional, "--overwrite"]
    output = glow(*encode).output
    expected = "given to 2 pictures, by the names of their folders: Kind B (1), Kind I (1)\n"
    assert output.startswith(f"{expected}{here}/Kind ?/c.png: given ")
    assert load_file("outputs/encode/latents.safetensors")["given"].tolist()[1:] == [1, 8]
    (here / "Kind C.png").write_bytes(b"broken")  # the third of four
    assert "names of their folders" not in glow(*encode, "--given", 3, 4, 5, 6).output
    assert load_file("outputs/encode/latents.safetensors")["given"].tolist() == [3, 4, 6]


def test_wrong_inputs_are_refused(
    exported: Path, conditional: Path, pictures: list[Path], glow: Glow, refused: Callable[..., str]
) -> None:
    assert "expected a folder" in refused("encode", *pictures, "--output", "x.safetensors", code=2)
    decode = ["decode", "outputs/encode/latents.safetensors", "--checkpoint"]
    assert "there is no file outputs/encode/latents.safetensors" in refused(*decode, exported)
    glow("encode", *pictures, "--checkpoint", exported)
    assert "belong to another model" in refused(*decode, conditional)
    assert glow(*decode, exported).code == 0
    decode += [str(exported), "--overwrite"]
    whole = Path("outputs/encode/latents.safetensors").read_bytes()
    for content in (b"", b"no latents at all", whole[: len(whole) // 2]):
        Path("outputs/encode/latents.safetensors").write_bytes(content)
        assert "outputs/encode/latents.safetensors has no latents" in refused(*decode)
    save_file({"level0": torch.zeros(3)}, "outputs/encode/latents.safetensors")
    assert "expected a file that glow encode wrote" in refused(*decode)
