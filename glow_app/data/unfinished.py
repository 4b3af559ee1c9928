"""Folders that take long to build, and what is left of them when a process is killed."""

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
    """Yield what :func:`~glow_app.files.atomic_folder` does, and hold a lock in the temporary folder meanwhile.

    A process that is killed leaves that folder behind, and the system releases its lock: the next one that builds
    ``folder`` removes it. On a disk without locks it stays.
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
            path = path.rename(scratch / _LOCK)  # only now, so that nobody finds it unlocked
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # before it is unlocked, for the same reason


def _remove_abandoned(folder: Path) -> None:
    for path in folder.parent.glob(f".{glob.escape(folder.name)}-*/{_LOCK}"):
        with suppress(OSError):  # its process lives, or another one removes it too
            with path.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # What was replaced is kept: the process may have been killed between the two renamings.
                is_abandoned = path.exists() and {part.name for part in path.parent.iterdir()} <= {_LOCK, "new"}
            if is_abandoned:
                shutil.rmtree(path.parent)
