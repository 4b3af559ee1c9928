"""The zip archive around what ``torch.save`` wrote, checked before anything in it is read."""

import io
import math
import pickle
import struct
import zipfile
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, Any, ClassVar

import torch

__all__ = ["ArchiveError", "check_archive", "require_few"]

# A checkpoint of 384 steps and their averages and moments has 40,000 entries of less than 100 bytes in the directory.
MAX_ENTRIES = 200_000
MAX_DIRECTORY = 200 * MAX_ENTRIES

# What follows an entry's bytes: its check sum and sizes once more.
MAX_DESCRIPTOR = 24
# Before them: a name, and the padding that brings them to a multiple of 64 or, for direct access, of 4096.
MAX_HEADER = 8192

CHUNK = 1 << 20

_END = struct.Struct("<4s4H2IH")
_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCAL = struct.Struct("<4s5H3I2H")

# Of names, numbers and the structure around the tensors; a checkpoint of 384 steps has 5 MB.
MAX_PICKLE = 16 << 20

# Those that torch.save writes.
_OPERATIONS = [getattr(pickle, name)[0] for name in (
    "PROTO", "MARK", "STOP", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "BINUNICODE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS",
    "BINGET", "LONG_BINGET", "BINPUT", "LONG_BINPUT", "GLOBAL", "REDUCE", "BINPERSID",
)]  # fmt: skip
_LARGEST_KEY = 10**6  # parameters of an optimiser are numbered

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class ArchiveError(ValueError):
    """What is wrong with an archive, to stand after its name."""


@dataclass(frozen=True)
class _Entry:
    name: str
    start: int
    size: int
    crc: int


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
    for entry in entries:
        _check_sum(file, entry)
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
    _check_pickle(file.read(content.size), sizes)


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
        raise ArchiveError(f"is truncated or damaged: {name!r} is no name of an entry")
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 0x61 or info.compress_size != info.file_size:
        raise ArchiveError(f"is not as torch.save writes it: {name!r} is compressed or encrypted")
    file.seek(info.header_offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size:
        raise ArchiveError("is truncated or damaged: an entry lies outside")
    signature, _, _, method, *_, name_length, extra_length = _LOCAL.unpack(header)
    if signature != b"PK\3\4" or method or file.read(name_length) != name.encode():
        raise ArchiveError(f"is truncated or damaged: {name!r} is another entry where it lies")
    return _Entry(name, info.header_offset + _LOCAL.size + name_length + extra_length, info.file_size, info.CRC)


def _check_sum(file: IO[bytes], entry: _Entry) -> None:
    """Compare the check sum, which torch does not look at."""
    file.seek(entry.start)
    crc = 0
    for length in _lengths(entry.size):
        part = file.read(length)
        if len(part) < length:
            raise ArchiveError("is truncated or damaged: an entry lies outside")
        crc = zlib.crc32(part, crc)
    if crc != entry.crc:
        raise ArchiveError(f"is truncated or damaged: the check sum of {entry.name} is wrong")


def _lengths(size: int) -> Iterator[int]:
    yield from (min(CHUNK, size - start) for start in range(0, size, CHUNK))


@dataclass(frozen=True)
class _Storage:
    numel: int
    itemsize: int


def _check_pickle(content: bytes, sizes: Mapping[str, int]) -> None:
    try:
        _Checker(content, sizes).load()
    except ArchiveError:
        raise
    except Exception as error:  # what a damaged pickle raises depends on where it is damaged
        raise ArchiveError("is truncated or damaged: its data.pkl cannot be read") from error


class _Checker(pickle._Unpickler):
    """Goes through a pickle with harmless functions in the place of torch's, and compares tensors with their bytes.

    torch's own reader makes tensors of any size of a single number, in older versions reads beyond the end of an entry,
    and under ``weights_only`` calls more, such as ``bytearray``, which takes as much memory as it is asked for.

    In Python, since the memo of the reader in C is an array as long as its largest index, of which one is enough. Of
    the operations those that ``torch.save`` writes are known; keys are names and small numbers, since the hash of
    nested tuples may take for ever.

    Args:
        content: The pickle.
        sizes: Bytes of the entries under ``data/``, by name.
    """

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Any]] = {code: pickle._Unpickler.dispatch[code] for code in _OPERATIONS}

    def __init__(self, content: bytes, sizes: Mapping[str, int]) -> None:
        super().__init__(io.BytesIO(content))
        self._sizes = sizes
        self._room = 4 * sum(sizes.values())  # averages and weights may be one tensor under two names

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a class or function; refuse those that a checkpoint of tensors does not need."""
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): _ordered,
            ("collections", "Counter"): _counter,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): _first,
            ("torch", "Size"): tuple,
            ("torch", "device"): _first,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        raise ArchiveError(
            f"holds code ({f'{module}.{name}'[:80]!r}), which is never run; expected tensors and numbers"
        )

    def load_setitem(self) -> None:
        """Take one key with its value."""
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def load_setitems(self) -> None:
        """Take keys with their values."""
        self._set(self.pop_mark())

    def load_build(self) -> None:
        """Leave out the attributes of a dictionary: those of a state dict are numbers of versions."""
        state = self.stack.pop()
        if type(self.stack[-1]) is not OrderedDict or type(state) is not dict:
            raise ArchiveError("is truncated or damaged: something else than a dictionary has attributes")

    dispatch |= {pickle.SETITEM[0]: load_setitem, pickle.SETITEMS[0]: load_setitems, pickle.BUILD[0]: load_build}

    def _set(self, items: list[Any]) -> None:
        target, keys = self.stack[-1], items[::2]
        if not isinstance(target, dict) or not all(_is_key(key) for key in keys):
            raise ArchiveError("is truncated or damaged: a key is neither a name nor a small number")
        target.update(zip(keys, items[1::2], strict=True))

    def persistent_load(self, pid: Any) -> _Storage:
        """Return how many numbers a storage has; refuse one whose entry does not have as many bytes."""
        kind, dtype, key, _, numel = pid
        if kind != "storage" or type(numel) is not int or self._sizes[key] != numel * dtype.itemsize:
            raise ArchiveError("is truncated or damaged: a tensor has another size than its bytes")
        return _Storage(numel, dtype.itemsize)

    def _tensor(self, storage: _Storage, offset: int, size: Sequence[int], stride: Sequence[int], *_: object) -> None:
        numbers = [offset, *size, *stride]
        if not isinstance(storage, _Storage) or any(type(one) is not int or one < 0 for one in numbers):
            raise ArchiveError("is truncated or damaged: a tensor has no storage or shape")
        count = math.prod(size)
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) if count else 0
        # Without the first, a stride of 0 would make a tensor of any size of a single number.
        if count > storage.numel or (count and last >= storage.numel):
            raise ArchiveError("is truncated or damaged: a tensor reaches beyond its bytes")
        self._room -= count * storage.itemsize
        if self._room < 0:
            raise ArchiveError("is truncated or damaged: its tensors are larger than the file")


def _is_key(value: Any) -> bool:
    return type(value) is str or (type(value) is int and abs(value) <= _LARGEST_KEY)


def _ordered() -> "OrderedDict[Any, Any]":
    return OrderedDict()


def _counter(counts: Any) -> "Counter[Any]":
    return Counter(counts if type(counts) is dict else {})


def _first(value: Any, *_: object) -> Any:
    return value


def require_few(values: Any, most: int) -> None:
    """Refuse containers that stand for more values than there is memory for, as those that share their parts may.

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
