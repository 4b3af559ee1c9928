"""The zip archive that ``torch.save`` writes, read without ``torch.load``: nothing runs, memory is bounded."""

import sys
import zipfile
from typing import IO, Any

import torch
from torch import UntypedStorage

from glow_app.storage.tensor_pickle import ArchiveError, read_pickle

# A checkpoint of 384 steps and their averages and moments has 40,000 entries of less than 100 bytes in the directory.
MAX_DIRECTORY = 12 << 20
_DIRECTORY_SIZE = 5  # its place in what zipfile returns of the end of a file

# Of names, numbers and the structure around the tensors; a checkpoint of 384 steps has 5 MB.
MAX_PICKLE = 16 << 20

_CHUNK = 1 << 16


def read_archive(file: IO[bytes]) -> Any:
    """Return what ``torch.save`` wrote: plain containers and tensors on the CPU, which own their memory.

    Args:
        file: Open for reading; left at an undefined place.
    Raises:
        ArchiveError: If entries are compressed, share a name or are larger than the file, if the check sum of one that
            is read is wrong, or if the pickle names anything but tensors and plain containers.
        OSError: If the file cannot be read.
    """
    num_bytes = file.seek(0, 2)
    try:
        # zipfile lists all entries of a directory at once; it has the directory's size from here as well.
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
        if end is None:
            raise ArchiveError("is truncated or damaged, or no checkpoint: it does not end as an archive of torch.save")
        if end[_DIRECTORY_SIZE] > MAX_DIRECTORY:
            raise ArchiveError("is truncated or damaged: its directory is too large")
        with zipfile.ZipFile(file) as archive:
            _check_entries(archive.infolist(), num_bytes)
            root = _root(archive.namelist())
            if (size := archive.getinfo(f"{root}/data.pkl").file_size) > MAX_PICKLE:
                raise ArchiveError(
                    f"is truncated or damaged: its data.pkl has {size:,} bytes; expected at most {MAX_PICKLE:,}"
                )
            order = f"{root}/byteorder"
            if order in archive.NameToInfo and archive.read(order) != sys.byteorder.encode():
                raise ArchiveError("was written by a machine with another byte order")
            content = archive.read(f"{root}/data.pkl")
            return read_pickle(content, lambda key: _bytes_of(archive, f"{root}/data/{key}"), num_bytes)
    except (ArchiveError, OSError):
        raise
    except zipfile.BadZipFile as error:
        raise ArchiveError(f"is truncated or damaged ({str(error)[:200]})") from error
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        raise ArchiveError("is truncated or damaged: its data.pkl cannot be read") from error


def _check_entries(entries: list[zipfile.ZipInfo], num_bytes: int) -> None:
    if not entries:
        raise ArchiveError("is empty")
    if len({entry.filename for entry in entries}) < len(entries):
        raise ArchiveError("holds two entries of one name")
    for entry in entries:
        if (
            entry.compress_type != zipfile.ZIP_STORED
            or entry.flag_bits & 0x61
            or entry.compress_size != entry.file_size
        ):
            raise ArchiveError(f"is not as torch.save writes it: {entry.filename[:80]!r} is compressed or encrypted")
        if not 0 <= entry.header_offset < num_bytes:
            raise ArchiveError(f"is truncated or damaged: {entry.filename[:80]!r} lies outside the file")
    # Each is read once at most, so this bounds the memory, also where they overlap.
    if sum(entry.file_size for entry in entries) > num_bytes:
        raise ArchiveError("is truncated or damaged: its entries are larger than the file")


def _root(names: list[str]) -> str:
    root = names[0].partition("/")[0]
    if f"{root}/data.pkl" not in names or any(not name.startswith(f"{root}/") for name in names):
        raise ArchiveError("is a zip archive, and not one that torch.save wrote")
    return root


def _bytes_of(archive: zipfile.ZipFile, name: str) -> UntypedStorage:
    """Return the bytes of an entry in torch's memory, aligned as its own; in small chunks, without a second copy."""
    content = torch.empty(archive.getinfo(name).file_size, dtype=torch.uint8)
    with archive.open(name) as entry:
        for part in content.split(_CHUNK):
            memoryview(part.numpy())[:] = entry.read(len(part))  # which refuses another length
    return content.untyped_storage()
