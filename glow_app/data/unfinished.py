"""Folders that take long to build, with removal of what killed processes leave behind."""

import fcntl
import glob
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from glow_app.files import atomic_folder

_LOCK = "building.lock"


@contextmanager
def built_folder(
    folder: Path, names: Collection[str], is_ours: Callable[[Path], bool], overwrite: bool = False
) -> Iterator[Path]:
    """Build a folder with :func:`~glow_app.files.atomic_folder`, holding a lock in the temporary folder.

    A killed process leaves the temporary folder behind, but the operating system releases its lock; the next process
    that builds ``folder`` removes it. On file systems without locks it stays.
    """
    _remove_abandoned(folder)
    with atomic_folder(folder, names, is_ours, overwrite) as building, _lock(building.parent):
        yield building


@contextmanager
def _lock(scratch: Path) -> Iterator[None]:
    path = scratch / f"{_LOCK}.new"
    with path.open("wb") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path = path.rename(scratch / _LOCK)  # only after locking, so that it is never visible unlocked
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # before unlocking, for the same reason


def _remove_abandoned(folder: Path) -> None:
    for path in folder.parent.glob(f".{glob.escape(folder.name)}-*/{_LOCK}"):
        with suppress(OSError):  # its process is alive, or another process removes it too
            with path.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Keep a replaced folder: the process may have been killed between the two renames.
                is_abandoned = path.exists() and {part.name for part in path.parent.iterdir()} <= {_LOCK, "new"}
            if is_abandoned:
                shutil.rmtree(path.parent)
