"""The pickle inside what ``torch.save`` wrote, gone through without running anything that it names."""

import io
import math
import pickle
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

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
class _Storage:
    numel: int
    itemsize: int


def check_pickle(content: bytes, sizes: Mapping[str, int]) -> None:
    """Refuse a pickle that holds anything but tensors, names and numbers, or more than there is room for.

    Args:
        content: The pickle.
        sizes: Bytes of the entries under ``data/``, by name.
    Raises:
        ArchiveError: If it does, or is damaged.
    """
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
            ("collections", "OrderedDict"): lambda: OrderedDict(),
            ("collections", "Counter"): lambda counts: Counter(counts if type(counts) is dict else {}),
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): lambda value, *_: value,
            ("torch", "Size"): tuple,
            ("torch", "device"): lambda value, *_: value,
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
