"""`glow encode` and `glow decode`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from damage import full_disk
from PIL import Image
from run_files import pixels
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from glow_app.generation import infer_labels
from glow_app.storage.stored_model import load_model

Glow = Callable[..., Any]


def test_pictures_come_back(trained: Path, tmp_path: Path, pictures: list[Path], glow: Glow) -> None:
    (pictures[0].parent / "broken.png").write_bytes(b"x")
    result = glow("encode", pictures[0].parent, pictures[1], "--checkpoint", trained, "--batch-size", 2)
    assert result.code == 0, result
    assert "skipped: " in result.output
    assert "4 images, latents of 2x4x4, 8x2x2: latents.safetensors" in result.output
    result = glow("decode", "latents.safetensors", "--checkpoint", trained, "--batch-size", 3)
    assert result.output == "4 images: decoded\n"
    expected = [*pictures, pictures[1]]
    for number, path in enumerate(expected):
        assert np.array_equal(pixels(tmp_path / f"decoded/{number:06d}_{path.stem}.png"), pixels(path))


def test_the_latents_are_the_models(trained: Path, pictures: list[Path], glow: Glow) -> None:
    glow("encode", *pictures, "--checkpoint", trained)
    images = torch.from_numpy(np.stack([pixels(path) for path in pictures])[:, None])
    found = load_file("latents.safetensors")
    for number, level in enumerate(load_model(trained).encode(images)):
        assert torch.equal(found[f"level{number}"], level)


def test_bits_that_are_lost_are_told(trained: Path, tmp_path: Path, pictures: list[Path], glow: Glow) -> None:
    lost = "the model keeps 4 of 8 bits, which changed a pixel by up to "
    assert lost not in glow("encode", *pictures, "--checkpoint", trained).output
    Image.fromarray(np.full((8, 8), 100, np.uint8)).save("odd.png")
    assert f"{lost}2 beforehand\n" in glow("encode", "odd.png", "--checkpoint", trained, "--overwrite").output


def test_a_full_disk_leaves_nothing(trained: Path, tmp_path: Path, pictures: list[Path], glow: Glow) -> None:
    before = sorted(tmp_path.iterdir())
    with full_disk():
        result = glow("encode", *pictures, "--checkpoint", trained)
    assert result.code == 1, result
    [line] = result.errors
    assert line.startswith("error: latents.safetensors cannot be written: ")
    assert "File too large" in line
    assert sorted(tmp_path.iterdir()) == before


def test_the_kind_of_the_file_is_in_its_name(pictures: list[Path], refused: Callable[..., str]) -> None:
    assert "ends in .safetensors" in refused("encode", *pictures, "--output", "x.txt", code=2)


def test_a_class_conditional_model(
    conditional: Path, tmp_path: Path, pictures: list[Path], glow: Glow, refused: Callable[..., str]
) -> None:
    assert "0 to 9" in refused("encode", *pictures, "--checkpoint", conditional, "--label", 10)
    assert glow("encode", *pictures, "--checkpoint", conditional, "--label", 3).code == 0
    assert load_file("latents.safetensors")["labels"].tolist() == [3, 3, 3]
    inferred = glow("encode", *pictures, "--checkpoint", conditional, "--overwrite", "--batch-size", 2)
    classes = load_file("latents.safetensors")["labels"].tolist()
    images = torch.from_numpy(np.stack([pixels(path) for path in pictures])[:, None])
    assert classes == infer_labels(load_model(conditional), images).tolist()
    for line, path, number in zip(inferred.output.splitlines(), pictures, classes, strict=False):
        assert line.startswith(f"{path}: class {number} (Kind {'ABCDEFGHIJ'[number]}), inferred with probability ")
    assert glow("decode", "latents.safetensors", "--checkpoint", conditional).code == 0
    assert np.array_equal(pixels(tmp_path / "decoded/000000_a.png"), pixels(pictures[0]))


def test_a_folder_with_a_classs_name_gives_the_class(conditional: Path, pictures: list[Path], glow: Glow) -> None:
    here = pictures[0].parent
    for path, kind in zip(pictures, ("Kind B", "Kind I", "Kind ?"), strict=True):
        (here / kind).mkdir()
        path.rename(here / kind / path.name)
    encode = ["encode", here, "--checkpoint", conditional]
    output = glow(*encode).output
    expected = "classes of 2 pictures, from the names of their folders: 1 of class 1 (Kind B), 1 of class 8 (Kind I)\n"
    assert output.startswith(f"{expected}{here}/Kind ?/c.png: class ")
    assert load_file("latents.safetensors")["labels"].tolist()[1:] == [1, 8]
    given = glow(*encode, "--label", 3, "--overwrite")
    assert "names of their folders" not in given.output
    assert load_file("latents.safetensors")["labels"].tolist() == [3, 3, 3]


def test_what_is_refused(
    trained: Path, conditional: Path, tmp_path: Path, pictures: list[Path], glow: Glow, refused: Callable[..., str]
) -> None:
    decode = ["decode", "latents.safetensors", "--checkpoint"]
    assert "there is no file latents.safetensors" in refused(*decode, trained)
    glow("encode", *pictures, "--checkpoint", trained)
    assert "--overwrite" in refused("encode", *pictures, "--checkpoint", trained)
    assert "are those of another model" in refused(*decode, conditional)
    assert glow(*decode, trained).code == 0
    assert "--overwrite" in refused(*decode, trained)
    whole = (tmp_path / "latents.safetensors").read_bytes()
    for content in (b"", b"no latents at all", whole[: len(whole) // 2]):
        (tmp_path / "latents.safetensors").write_bytes(content)
        message = refused(*decode, trained, "--overwrite")
        assert "latents.safetensors is damaged or no safetensors file, and holds no latents; expected a file" in message
    (tmp_path / "latents.safetensors").write_bytes(whole)
    with safe_open("latents.safetensors", "pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    save_file({**tensors, "levelx": torch.zeros(3)}, "latents.safetensors", metadata)
    assert "is damaged: its latents are not of the shapes" in refused(*decode, trained, "--overwrite")
    save_file({"level0": torch.zeros(3)}, "latents.safetensors")
    assert "expected a file of glow encode" in refused(*decode, trained, "--overwrite")
