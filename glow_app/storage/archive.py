"""The zip archive around what ``torch.save`` wrote, checked before anything in it is read."""

import struct
import zipfile
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, Any

from glow_app.storage.tensor_pickle import ArchiveError, check_pickle

# A checkpoint of 384 steps and their averages and moments has 40,000 entries of less than 100 bytes in the directory.
MAX_ENTRIES = 200_000
MAX_DIRECTORY = 200 * MAX_ENTRIES

# The record after an entry's bytes, which repeats its check sum and sizes.
MAX_DESCRIPTOR = 24
# The record before them: a name, and the padding that brings them to a multiple of 64 or, for direct access, of 4096.
MAX_HEADER = 8192

_END = struct.Struct("<4s4H2IH")
_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCAL = struct.Struct("<4s5H3I2H")

# Of names, numbers and the structure around the tensors; a checkpoint of 384 steps has 5 MB.
MAX_PICKLE = 16 << 20


@dataclass(frozen=True)
class _Entry:
    name: str
    start: int
    size: int


def check_archive(file: IO[bytes]) -> None:
    """Check that a file is a whole archive of ``torch.save``, with nothing in it but tensors and plain types.

    No entry is held in memory but the pickle of names and numbers, which may not be larger than the file.

    Args:
        file: Open for reading; left at an undefined place.
    Raises:
        ArchiveError: If entries are compressed, overlap, share a name or do not fill the file, if a check sum is wrong,
            or if the pickle names anything but tensors and plain containers.
    """
    entries = _entries(file)
    with zipfile.ZipFile(file) as archive:
        wrong = archive.testzip()  # torch does not look at the check sums
    if wrong is not None:
        raise ArchiveError(f"is truncated or damaged: the check sum of {wrong} is wrong")
    by_name = {entry.name: entry for entry in entries}
    root = entries[0].name.partition("/")[0]
    content = by_name.get(f"{root}/data.pkl")
    if content is None or any(not name.startswith(f"{root}/") for name in by_name):
        raise ArchiveError("is a zip archive, and not one that torch.save wrote")
    if content.size > MAX_PICKLE:
        raise ArchiveError(
            f"is truncated or damaged: its data.pkl has {content.size:,} bytes; expected at most {MAX_PICKLE:,}"
        )
    file.seek(content.start)
    prefix = f"{root}/data/"
    sizes = {name.removeprefix(prefix): entry.size for name, entry in by_name.items() if name.startswith(prefix)}
    check_pickle(file.read(content.size), sizes)


def _entries(file: IO[bytes]) -> list[_Entry]:
    """Return the entries in the order in which they lie, having made sure that every reader would see the same."""
    end = _directory_end(file)
    try:
        with zipfile.ZipFile(file) as archive:
            if archive.comment or archive.start_dir > end:
                raise ArchiveError("has an archive inside or behind an archive")
            infos, directory = sorted(archive.infolist(), key=lambda info: info.header_offset), archive.start_dir
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, struct.error, NotImplementedError) as error:
        if isinstance(error, ArchiveError):
            raise
        raise ArchiveError(f"is truncated or damaged ({error})") from error
    if not infos:
        raise ArchiveError("is empty")
    if len({info.filename for info in infos}) < len(infos):
        raise ArchiveError("holds two entries of one name")
    entries = [_entry(file, info) for info in infos]
    offsets = [*(info.header_offset for info in infos), directory]
    for entry, (begin, following) in zip(entries, pairwise(offsets), strict=True):
        gap = following - entry.start - entry.size
        if entry.start - begin > MAX_HEADER or not 0 <= gap <= MAX_DESCRIPTOR:
            raise ArchiveError(f"is truncated or damaged: {entry.name!r} does not end where the next entry begins")
    if offsets[0] != 0:
        raise ArchiveError("holds something before its first entry")
    return entries


def _directory_end(file: IO[bytes]) -> int:
    """Return where the directory ends; refuse one that is too large, or which readers look for at different places."""
    size = file.seek(0, 2)
    if size < _END.size:
        raise ArchiveError("is truncated or damaged: it is too short")
    file.seek(end := size - _END.size)
    signature, *_, count, length, start, comment = _END.unpack(file.read(_END.size))
    if signature != b"PK\5\6" or comment:
        raise ArchiveError("is truncated or damaged, or no checkpoint: it does not end as an archive of torch.save")
    if (locator := end - _LOCATOR.size) >= _END64.size:
        file.seek(locator)
        mark, _, place, _ = _LOCATOR.unpack(file.read(_LOCATOR.size))
        if mark == b"PK\6\7":
            end = locator - _END64.size
            file.seek(end)
            mark, *_, count, length, start = _END64.unpack(file.read(_END64.size))
            if mark != b"PK\6\6" or place != end:
                raise ArchiveError("is truncated or damaged: its directory is said to be at two places")
    if start + length != end or count > MAX_ENTRIES or length > MAX_DIRECTORY:
        raise ArchiveError("is truncated or damaged: its directory does not lie at its end, or is too large")
    return end


def _entry(file: IO[bytes], info: zipfile.ZipInfo) -> _Entry:
    name = info.orig_filename
    if not (name.isascii() and name.isprintable()) or name != info.filename:
        raise ArchiveError(f"is truncated or damaged: {name!r} is not a valid entry name")
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 0x61 or info.compress_size != info.file_size:
        raise ArchiveError(f"is not as torch.save writes it: {name!r} is compressed or encrypted")
    file.seek(info.header_offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size:
        raise ArchiveError("is truncated or damaged: an entry lies outside")
    signature, _, _, method, *_, name_length, extra_length = _LOCAL.unpack(header)
    if signature != b"PK\3\4" or method or file.read(name_length) != name.encode():
        raise ArchiveError(f"is truncated or damaged: {name!r} is another entry where it lies")
    return _Entry(name, info.header_offset + _LOCAL.size + name_length + extra_length, info.file_size)


def require_few(values: Any, most: int) -> None:
    """Refuse containers with more values than fit into memory, which small files can describe by sharing parts.

    Raises:
        ValueError: If there are more values, counted wherever they stand.
    """
    waiting, count = [values], 0
    while waiting:
        one = waiting.pop()
        count += 1
        if count > most:
            raise ValueError(f"expected at most {most:,} values")
        waiting += one.values() if isinstance(one, dict) else one if isinstance(one, (list, tuple, set)) else ()
