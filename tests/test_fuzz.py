"""Thousands of damaged files: an error in a line or a result, in bounded memory, and nothing written."""

import json
import random
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from registry import tiny_model

MUTATIONS = 250
ROOM = 1 << 30  # bytes of address space beyond what is taken at the beginning

# What a command prints in one line; the last are those of a bad value deep in a library, printed with their names.
EXPECTED = (ValueError, OSError, FloatingPointError, KeyError, TypeError, IndexError, SyntaxError, OverflowError)

Read = Callable[[Path], object]


def checkpoint(folder: Path) -> tuple[Path, Read]:
    from glow_app.storage.stored_model import StoredModel, load_density
    from lightning_modules.runs.recovery import read_whole

    def read(path: Path) -> None:
        load_density(path)
        _ = StoredModel(path).facts
        StoredModel(path).data()
        read_whole(path)

    model = tiny_model()
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    content = {"state_dict": weights, "glow_app": {"model": model.config, "training": {}}, "global_step": 3}
    torch.save(content, folder / "x.ckpt")
    return folder / "x.ckpt", read


def pickled(folder: Path) -> tuple[Path, Read]:
    """Read checkpoints whose archive is whole, and whose pickle is damaged."""
    path, read_archive = checkpoint(folder)
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    (folder / "data.pkl").write_bytes(entries["x/data.pkl"])

    def read(path: Path) -> None:
        again = path.with_name("again.ckpt")
        with zipfile.ZipFile(again, "w") as archive:
            for name, data in (entries | {"x/data.pkl": path.read_bytes()}).items():
                archive.writestr(name, data)
        read_archive(again)

    return folder / "data.pkl", read


def checkpoint_of_lies(folder: Path) -> tuple[Path, Read]:
    """Read checkpoints whose archive is whole, and in which the numbers of the model are others."""
    from glow_app.storage.checkpoint import density_of

    model = tiny_model()
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    (folder / "x.json").write_text(json.dumps(model.config))

    def read(path: Path) -> None:
        config = json.loads(path.read_text(errors="replace"))
        density_of({"state_dict": dict(weights), "glow_app": {"model": config, "training": {}}})

    return folder / "x.json", read


def exported(folder: Path) -> tuple[Path, Read]:
    from glow_app.storage.pretrained import load_pretrained, save_pretrained

    save_pretrained(tiny_model(), folder / "model")
    return folder / "model" / "model.safetensors", lambda path: load_pretrained(path.parent)


def exported_config(folder: Path) -> tuple[Path, Read]:
    path, read = exported(folder)
    return path.with_name("config.json"), read


def latents(folder: Path) -> tuple[Path, Read]:
    from glow_app.generation.tensor_file import Latents, load_latents, save_latents

    model = tiny_model()
    levels = [torch.randn(2, *shape) for shape in model.flow.latent_shapes]
    save_latents(Latents(levels, ["a", "b"]), model, folder / "x.safetensors")

    def read(path: Path) -> None:
        found = load_latents(path, model)
        model.decode([level.to(model.dtype) for level in found.levels], found.labels)

    return folder / "x.safetensors", read


def direction(folder: Path) -> tuple[Path, Read]:
    from glow_app.generation import Direction, load_direction, save_direction

    model = tiny_model()
    levels = [torch.randn(shape) for shape in model.flow.latent_shapes]
    path = save_direction(Direction(levels, 9), "x", model, folder)
    return path, lambda path: load_direction("x", model, path.parent)


def picture(ending: str) -> Callable[[Path], tuple[Path, Read]]:
    def make(folder: Path) -> tuple[Path, Read]:
        from glow_app.data.decoding import decode_image
        from glow_app.pictures.images import read_png_text

        def read(path: Path) -> None:
            decode_image(path, (3, 8, 8), "crop")
            if ending == "png":
                read_png_text(path)

        rng = np.random.default_rng(0)
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(folder / f"x.{ending}")
        return folder / f"x.{ending}", read

    return make


def record(folder: Path) -> tuple[Path, Read]:
    from glow_app.commands.results import listed_results

    (folder / "run.json").write_text(json.dumps({"files": [{"file": f"seed{n:06d}_t0.70.png"} for n in range(9)]}))
    return folder / "run.json", lambda path: listed_results(path.parent)


KINDS: dict[str, Callable[[Path], tuple[Path, Read]]] = {
    **{
        one.__name__: one
        for one in (
            checkpoint, pickled, checkpoint_of_lies, exported, exported_config, latents, direction,
            record,
        )
    },
    **{ending: picture(ending) for ending in ("png", "jpg", "gif", "webp", "tiff", "bmp")},
}  # fmt: skip

# Whose libraries share no narrower type than Exception.
FOREIGN = ("png", "jpg", "gif", "webp", "tiff", "bmp")
# In which other numbers tell more than other bytes.
TEXT = ("checkpoint_of_lies", "exported_config")

# What stands for lengths and numbers in text and in bytes.
NUMBERS = (b"-1", b"0", b"99999999999999999999", b"1e999", b"[]", b"{}", b'"x"', b"null", b"true", b"1000000", b"NaN")


def mutated(content: bytes, random_numbers: random.Random, numbers_only: bool = False) -> bytes:
    """Return bytes with a few changes: flips, cuts, repetitions, lies about lengths, other numbers in text."""
    data = bytearray(content)
    for _ in range(random_numbers.choice((1, 1, 2, 5))):
        place = random_numbers.randrange(len(data) or 1)
        kind = 6 if numbers_only else random_numbers.randrange(7)
        if kind == 0 and data:
            data[place] ^= 1 << random_numbers.randrange(8)
        elif kind == 1:
            del data[place:]
        elif kind == 2:
            start = random_numbers.randrange(len(data) or 1)
            data[place:place] = data[start : start + random_numbers.randrange(200)]
        elif kind == 3:
            width = random_numbers.choice((2, 4, 8))
            value = random_numbers.choice((0, 1, (1 << (8 * width - 1)) - 1, (1 << (8 * width)) - 1, 1 << 24))
            data[place : place + width] = (value % (1 << (8 * width))).to_bytes(width, "little")
        elif kind == 4:
            del data[place : place + random_numbers.randrange(1, 100)]
        elif kind == 5:
            data[place : place + 8] = random_numbers.randbytes(8)
        else:
            digits = [at for at, one in enumerate(data[:20_000]) if 48 <= one <= 57]
            if digits:
                at = random_numbers.choice(digits)
                end = at
                while end < len(data) and 48 <= data[end] <= 57:
                    end += 1
                data[at:end] = random_numbers.choice(NUMBERS)
    return bytes(data)


def fuzz(kind: str, folder: Path, count: int, seed: int) -> dict[str, int]:
    """Read so many mutations of a file of a kind; return how often each exception came."""
    path, read = KINDS[kind](folder)
    content = path.read_bytes()
    read(path)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, resource.RLIM_INFINITY))
    before = sorted(str(one) for one in folder.rglob("*"))
    seen: dict[str, int] = {}
    for number in range(count):
        data = mutated(content, random.Random(f"{kind} {seed} {number}"), kind in TEXT and number % 4 > 0)
        path.write_bytes(data)
        try:
            read(path)
            name = "read"
        except EXPECTED as error:
            name = type(error).__name__
        except Exception as error:
            if kind in FOREIGN:
                name = type(error).__name__
            else:
                (folder.parent / f"failed-{kind}-{number}").write_bytes(data)
                raise AssertionError(f"{kind} {seed} {number}: {type(error).__name__}: {error}") from error
        seen[name] = seen.get(name, 0) + 1
    after = {str(one) for one in folder.rglob("*")} - set(before)
    assert after <= {str(folder / "records"), str(folder / "again.ckpt")}
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_refused_in_a_line_or_read(kind: str, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    # In a process of its own: its memory is bounded, and a crash of a library would be seen.
    command = [sys.executable, __file__, kind, str(tmp_path / "files"), str(MUTATIONS), "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert sum(json.loads(done.stdout.splitlines()[-1]).values()) == MUTATIONS


def test_mutations_are_of_all_kinds() -> None:
    made: set[bytes] = {mutated(b'{"a": 100, "b": [1, 2, 3]}', random.Random(number)) for number in range(200)}
    assert len(made) > 150


if __name__ == "__main__":
    import warnings

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    arguments: Any = sys.argv[1:]
    print(json.dumps(fuzz(arguments[0], Path(arguments[1]), int(arguments[2]), int(arguments[3]))))
