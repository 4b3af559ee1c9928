"""A cache of fetched files with a maximum size."""

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
    """A cache of fetched files on the local disk, which evicts the least recently used.

    Several processes may share a folder: each file is fetched once, to a temporary name, and then renamed. A file that
    is removed while a process has it open occupies disk space until that process closes it.

    Args:
        folder: Folder of the cache.
        max_bytes: Maximum total size. A file larger than this is fetched all the same, and then the only one.
    """

    folder: Path
    max_bytes: int

    def use(self, key: str, fetch: Callable[[Path], None], use: Callable[[Path], T]) -> T:
        """Return the result of ``use`` on a file; fetch the file first if it is missing.

        Args:
            key: Identifies the file and its version.
            fetch: Writes the file to a path.
            use: Function of the file's path, for example one that opens it; the file may be removed once it returns.
                If the file is damaged, it must remove it and raise ``FileNotFoundError``.
        Raises:
            OSError: If the file vanishes repeatedly after it was fetched.
        """
        path = self.folder / hashlib.sha256(key.encode()).hexdigest()
        for _ in range(5):
            try:
                result = use(path)
            except FileNotFoundError:  # not fetched yet, or just removed
                self._fetch(path, fetch)
            else:
                with suppress(FileNotFoundError):  # evicted meanwhile
                    os.utime(path)
                return result
        raise OSError(f"{path} vanishes as soon as it is fetched; is another program emptying {self.folder}?")

    def _fetch(self, path: Path, fetch: Callable[[Path], None]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with _lock(path.with_suffix(".lock")):
            if path.exists():
                return  # another process fetched it
            temporary = path.with_suffix(".part")
            try:
                fetch(temporary)
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
                with _lock(self.folder / "room.lock"):
                    self._make_room(temporary.stat().st_size)
                    os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)

    def _make_room(self, num_bytes: int) -> None:
        files = []
        for path in self.folder.iterdir():
            if _NAME.fullmatch(path.name) and path.is_file():  # ignores other files in the folder
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
