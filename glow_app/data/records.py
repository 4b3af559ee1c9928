"""Records in one file, each read by its place."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

__all__ = ["RecordFile"]


class RecordFile:
    """An open file and where its records lie.

    It stays readable when the file is removed, as a cache does that makes room.

    Args:
        path: The file.
        offsets: Of the records, bytes.
        lengths: Of the records, bytes.
    """

    _descriptor = -1

    def __init__(self, path: Path, offsets: Sequence[int] | np.ndarray, lengths: Sequence[int] | np.ndarray) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        self._offsets, self._lengths = offsets, lengths

    def read(self, index: int) -> bytes:
        """Return a record; at the end of a torn file, less of it. Several processes may read at once."""
        return os.pread(self._descriptor, int(self._lengths[index]), int(self._offsets[index]))

    def close(self) -> None:
        """Give the file back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()
