"""Atomic writing of files and folders, hashes of files, folders for results, and the prefix of hub addresses."""

import hashlib
import os
import secrets
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from glow_app.messages import UsageError

HUB = "hf://"  # prefix of addresses of the Hugging Face hub

# Formats of pictures that are written, and their suffixes, the usual one first.
PICTURE_SUFFIXES = {
    "jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "png": (".png",),
    "tiff": (".tif", ".tiff"),
    "webp": (".webp",),
}
FORMAT_OF = {suffix: name for name, suffixes in PICTURE_SUFFIXES.items() for suffix in suffixes}

# Suffixes of the files that commands write.
_RESULTS = {*FORMAT_OF, ".csv", ".gif", ".json", ".pt2", ".safetensors", ".tar"}


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_folder(folder: Path) -> None:
    """Raise FileExistsError if a folder's path is a file, and UsageError if it looks like the name of a file."""
    if folder.is_file():
        raise FileExistsError(f"{folder} is a file; expected a folder for the results")
    if folder.suffix.lower() in _RESULTS and not folder.exists():
        raise UsageError(f"{folder} is the name of a file; expected a folder for the results")


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a temporary binary file that replaces ``path`` at the end; after an error, ``path`` is unchanged.

    Folders that do not exist are created.
    """
    temporary = path.with_name(f".{path.name[-50:]}-{secrets.token_hex(8)}")  # within the limit on names
    with _name_in_errors(path, temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = temporary.open("xb")
        try:
            with opened as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def _name_in_errors(path: Path, temporary: Path) -> Iterator[None]:
    """Make errors name ``path`` if they name no file, like that of a full disk, or the temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno and (error.filename is None or Path(error.filename).is_relative_to(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@contextmanager
def atomic_folder(folder: Path, names: Collection[str], overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty temporary folder that replaces ``folder`` at the end; after an error, ``folder`` is unchanged.

    Args:
        names: Names of the files that may be replaced; a folder with other files is refused.
    Raises:
        FileExistsError: If the folder exists, unless ``overwrite`` is True and it contains nothing else.
    """
    if folder.exists():
        if not overwrite:
            raise FileExistsError(f"{folder} exists already; choose another place or pass --overwrite")
        if others := {path.name for path in folder.iterdir()} - {*names}:
            raise FileExistsError(f"{folder} contains other files, such as {min(others)}; choose another place")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch,
        _name_in_errors(folder, Path(scratch)),
    ):
        # A subfolder, because the scratch folder's permissions exclude other users.
        new = Path(scratch) / "new"
        new.mkdir()
        yield new
        _replace_folder(new, folder, Path(scratch) / "old" if overwrite else None)


def _replace_folder(new: Path, folder: Path, old: Path | None) -> None:
    """Replace ``folder`` by ``new`` or leave it unchanged; without ``old``, a folder created meanwhile is kept."""
    try:
        if old and folder.exists():
            os.replace(folder, old)
        os.replace(new, folder)
    except BaseException:
        if old and old.exists() and not folder.exists():
            os.replace(old, folder)
        raise
