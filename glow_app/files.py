"""Files that are whole or not there, and how an address differs from a path."""

import os
import secrets
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["HUB", "atomic_file", "atomic_folder"]

HUB = "hf://"  # what an address of the Hugging Face hub begins with


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a binary file beside ``path`` that takes its place at the end; after an error, ``path`` is as it was.

    Args:
        path: Where to; an existing file is replaced.
    """
    # Of a name that nobody can foresee and a file that was not there: in a folder of a stranger's it could be a link.
    beside = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    opened = beside.open("xb")
    try:
        with opened as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(
    folder: Path, names: Collection[str], is_ours: Callable[[Path], bool], overwrite: bool = False
) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``folder`` at the end; after an error, ``folder`` is as it was.

    Args:
        folder: Where to.
        names: Of the files that may be replaced; a folder that holds others is left alone.
        is_ours: Called with an existing folder: whether what it holds was written by this project.
        overwrite: Replace an existing folder.

    Raises:
        FileExistsError: If the folder exists, unless ``overwrite`` and there is nothing but this project's in it.
    """
    if folder.exists():
        _require_replaceable(folder, names, is_ours, overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        # Not the scratch folder itself: it is private to the user, while what is written is to be read by others.
        beside = Path(scratch) / "new"
        beside.mkdir()
        yield beside
        _exchange(beside, folder, Path(scratch) / "old")


def _require_replaceable(
    folder: Path, names: Collection[str], is_ours: Callable[[Path], bool], overwrite: bool
) -> None:
    if not overwrite:
        raise FileExistsError(f"{folder} exists already; choose another place or pass --overwrite")
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; choose another place")
    others = {path.name for path in folder.iterdir()} - set(names)
    if others:
        raise FileExistsError(f"{folder} holds other files too, such as {min(others)}; choose another place")
    if not is_ours(folder):
        raise FileExistsError(f"{folder} holds files of another program; choose another place")


def _exchange(new: Path, folder: Path, old: Path) -> None:
    """Put ``new`` in the place of ``folder``, or leave ``folder`` as it was."""
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(new, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise
