"""A folder of fetched files that is kept below a size."""

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_NAME = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class ShardCache:
    """Files from elsewhere on the local disk, the least recently used of which make room for others.

    Several processes may use one folder: a file is fetched once, beside its place, and then renamed. A file that is
    removed while a process has it open keeps its room until that process closes it.

    Args:
        folder: Where they lie.
        max_bytes: How much they may take together. The file in use is kept even if it alone takes more.
    """

    folder: Path
    max_bytes: int

    def use(self, key: str, fetch: Callable[[Path], None], use: Callable[[Path], T]) -> T:
        """Return ``use`` of a file, fetching it first where it is not there.

        Args:
            key: Names the file and its version.
            fetch: Called with a path to write it to.
            use: Called with the path of the file, which may be removed as soon as it returns: opens it, say. Where it
                finds the file damaged, it removes it and raises ``FileNotFoundError``.
        Raises:
            OSError: If what was fetched is not there again and again.
        """
        path = self.folder / hashlib.sha256(key.encode()).hexdigest()
        for _ in range(5):
            try:
                used = use(path)
            except FileNotFoundError:  # not there yet, or removed at this moment
                self._fetch(path, fetch)
            else:
                with suppress(FileNotFoundError):  # its place was needed
                    os.utime(path)
                return used
        raise OSError(f"{path} vanishes as soon as it is fetched; is another program emptying {self.folder}?")

    def _fetch(self, path: Path, fetch: Callable[[Path], None]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with _lock(path.with_suffix(".lock")):
            if path.exists():
                return  # another process was first
            beside = path.with_suffix(".part")
            try:
                fetch(beside)
                with beside.open("rb") as file:
                    os.fsync(file.fileno())
                with _lock(self.folder / "room.lock"):
                    self._make_room(beside.stat().st_size)
                    os.replace(beside, path)
            finally:
                beside.unlink(missing_ok=True)

    def _make_room(self, num_bytes: int) -> None:
        files = []
        for path in self.folder.iterdir():
            if _NAME.fullmatch(path.name) and path.is_file():  # and nothing else that may lie here
                status = path.stat()
                files.append((status.st_mtime_ns, status.st_size, path))
        total = num_bytes + sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
