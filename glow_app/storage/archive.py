"""Read the zip archives of ``torch.save`` without ``torch.load``: no code runs, and memory is bounded."""

import sys
import zipfile
from typing import IO, Any

import torch
from torch import UntypedStorage

from glow_app.storage.tensor_pickle import ArchiveError, read_pickle

# In bytes. A checkpoint of 384 steps with averages and moments has 40,000 directory entries of less than 100 bytes.
MAX_DIRECTORY = 12 << 20
_DIRECTORY_SIZE = 5  # index of the size in zipfile's end-of-directory record

# Bytes of names, numbers and the structure around the tensors; a checkpoint of 384 steps has 5 MB.
MAX_PICKLE = 16 << 20

_CHUNK = 1 << 16


def read_archive(file: IO[bytes]) -> Any:
    """Return the object that ``torch.save`` wrote: plain containers, and tensors on the CPU that own their memory.

    Args:
        file: File open for reading; its final position is undefined.
    Raises:
        ArchiveError: If entries are compressed, share a name or exceed the file, a checksum is wrong, or the pickle
            names anything but tensors and plain containers.
        OSError: If the file cannot be read.
    """
    num_bytes = file.seek(0, 2)
    try:
        # zipfile reads the whole directory at once, so its size is checked first, from the record that zipfile uses.
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
            byteorder = f"{root}/byteorder"
            if byteorder in archive.NameToInfo and archive.read(byteorder) != sys.byteorder.encode():
                raise ArchiveError("was written by a machine with another byte order")
            content = archive.read(f"{root}/data.pkl")
            return read_pickle(content, lambda key: _bytes_of(archive, f"{root}/data/{key}"), num_bytes)
    except (ArchiveError, OSError):
        raise
    except zipfile.BadZipFile as error:
        raise ArchiveError(f"is truncated or damaged ({str(error)[:200]})") from error
    except Exception as error:  # the type of error depends on where the file is damaged
        raise ArchiveError("is truncated or damaged: its data.pkl cannot be read") from error


def _check_entries(entries: list[zipfile.ZipInfo], num_bytes: int) -> None:
    if not entries:
        raise ArchiveError("is empty")
    if len({entry.filename for entry in entries}) < len(entries):
        raise ArchiveError("has two entries of one name")
    for entry in entries:
        if (
            entry.compress_type != zipfile.ZIP_STORED
            or entry.flag_bits & 0x61
            or entry.compress_size != entry.file_size
        ):
            raise ArchiveError(f"is not as torch.save writes it: {entry.filename[:80]!r} is compressed or encrypted")
        if not 0 <= entry.header_offset < num_bytes:
            raise ArchiveError(f"is truncated or damaged: {entry.filename[:80]!r} lies outside the file")
    # Each entry is read at most once, so this bounds the memory even if entries overlap.
    if sum(entry.file_size for entry in entries) > num_bytes:
        raise ArchiveError("is truncated or damaged: its entries are larger than the file")


def _root(names: list[str]) -> str:
    root = names[0].partition("/")[0]
    if f"{root}/data.pkl" not in names or any(not name.startswith(f"{root}/") for name in names):
        raise ArchiveError("is a zip archive, but not one that torch.save wrote")
    return root


def _bytes_of(archive: zipfile.ZipFile, name: str) -> UntypedStorage:
    """Return the bytes of an entry as an aligned storage, read in small chunks to avoid a second copy."""
    content = torch.empty(archive.getinfo(name).file_size, dtype=torch.uint8)
    with archive.open(name) as entry:
        for part in content.split(_CHUNK):
            memoryview(part.numpy())[:] = entry.read(len(part))  # raises if the lengths differ
    return content.untyped_storage()
