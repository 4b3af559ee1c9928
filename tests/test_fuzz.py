"""Hundreds of damaged files of each kind: each is read or refused, in bounded memory, and no file is written."""

import json
import random
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from registry import tiny_model

from glow_app.data.decoding import decode_image
from glow_app.pictures.images import read_png_text
from glow_app.pipeline import Direction, load_direction, save_direction
from glow_app.pipeline.tensor_file import Latents, load_latents, save_latents
from glow_app.storage.pretrained import save_pretrained
from glow_app.storage.stored_model import StoredModel, load_model

MUTATIONS = 120
MEMORY = 1 << 30  # bytes of address space beyond what is used at the start

# Errors that a command prints in one line; the last four come from invalid values deep in a library.
EXPECTED = (ValueError, OSError, FloatingPointError, KeyError, TypeError, IndexError, SyntaxError, OverflowError)

Kind = tuple[Path, Callable[[Path], object]]


def checkpoint(folder: Path) -> Kind:
    model = tiny_model()
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    content = {"state_dict": weights, "glow_app": {"model": model.config, "training": {}}, "global_step": 3}
    torch.save(content, folder / "x.ckpt")
    return folder / "x.ckpt", load_model


def exported(folder: Path, name: str) -> Kind:
    def read(path: Path) -> None:
        load_model(path.parent)
        StoredModel(path.parent).data()

    return save_pretrained(tiny_model(), folder / "model", {"data": {"source": "digits", "limit": 10}}) / name, read


def latents(folder: Path) -> Kind:
    model = tiny_model()
    levels = [torch.randn(2, *shape) for shape in model.flow.latent_shapes]
    save_latents(Latents(levels, ["a", "b"]), model, folder / "x.safetensors")

    def read(path: Path) -> None:
        found = load_latents(path, model)
        model.decode([level.to(model.dtype) for level in found.levels], found.given)

    return folder / "x.safetensors", read


def direction(folder: Path) -> Kind:
    model = tiny_model()
    levels = [torch.randn(shape) for shape in model.flow.latent_shapes]
    path = save_direction(Direction(levels, 9), "x", model, folder)
    return path, lambda path: load_direction("x", model, path.parent)


def picture(folder: Path, suffix: str) -> Kind:
    def read(path: Path) -> None:
        decode_image(path, (3, 8, 8), "crop")
        if suffix == "png":
            read_png_text(path)

    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"x.{suffix}")
    return folder / f"x.{suffix}", read


PICTURES = ("png", "jpg", "gif", "webp", "tiff", "bmp")  # their decoders raise any Exception
KINDS: dict[str, Callable[[Path], Kind]] = {
    "checkpoint": checkpoint,
    "weights": partial(exported, name="model.safetensors"),
    "configuration": partial(exported, name="config.json"),
    "latents": latents,
    "direction": direction,
    **{suffix: partial(picture, suffix=suffix) for suffix in PICTURES},
}
NUMBERS = (b"-1", b"0", b"99999999999999999999", b"1e999", b"[]", b"{}", b'"x"', b"null", b"true", b"1000000", b"NaN")


def mutated(content: bytes, generator: random.Random, numbers_only: bool = False) -> bytes:
    """Return the content with a few random changes: flipped bits, cuts, repetitions, other lengths and numbers."""
    data = bytearray(content)
    for _ in range(generator.choice((1, 1, 2, 5))):
        place = generator.randrange(len(data) or 1)
        kind = 6 if numbers_only else generator.randrange(7)
        if kind == 0 and data:
            data[place] ^= 1 << generator.randrange(8)
        elif kind == 1:
            del data[place:]
        elif kind == 2:
            start = generator.randrange(len(data) or 1)
            data[place:place] = data[start : start + generator.randrange(200)]
        elif kind == 3:
            width = generator.choice((2, 4, 8))
            value = generator.choice((0, 1, (1 << (8 * width - 1)) - 1, (1 << (8 * width)) - 1, 1 << 24))
            data[place : place + width] = (value % (1 << (8 * width))).to_bytes(width, "little")
        elif kind == 4:
            del data[place : place + generator.randrange(1, 100)]
        elif kind == 5:
            data[place : place + 8] = generator.randbytes(8)
        elif digits := [at for at, byte in enumerate(data[:20_000]) if 48 <= byte <= 57]:
            start = end = generator.choice(digits)
            while end < len(data) and 48 <= data[end] <= 57:
                end += 1
            data[start:end] = generator.choice(NUMBERS)
    return bytes(data)


def fuzz(kind: str, folder: Path) -> None:
    """Read mutations of a file of one kind."""
    path, read = KINDS[kind](folder)
    content = path.read_bytes()
    read(path)
    before = set(folder.rglob("*"))
    for number in range(MUTATIONS):
        path.write_bytes(
            mutated(content, random.Random(f"{kind} {number}"), kind == "configuration" and number % 4 > 0)
        )
        try:
            read(path)
        except EXPECTED:
            pass
        except Exception as error:
            if kind not in PICTURES:
                raise AssertionError(f"{kind} {number}: {type(error).__name__}: {error}") from error
    assert set(folder.rglob("*")) == before


@pytest.mark.slow
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    # In a separate process, whose memory is limited, and in which a library may crash.
    command = [sys.executable, __file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == list(KINDS)


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    for name in KINDS:
        (folder := Path(sys.argv[1], name)).mkdir()
        fuzz(name, folder)
    print(json.dumps(list(KINDS)))
