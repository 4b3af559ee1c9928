"""The pickle inside what ``torch.save`` wrote, read without running anything that it names."""

import io
import math
import pickle
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, UntypedStorage

# Those that torch.save writes.
_OPERATIONS = [getattr(pickle, name)[0] for name in (
    "PROTO", "MARK", "STOP", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "BINUNICODE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS",
    "BINGET", "LONG_BINGET", "BINPUT", "LONG_BINPUT", "GLOBAL", "REDUCE", "BINPERSID",
)]  # fmt: skip
_LARGEST_KEY = 10**6  # parameters of an optimiser are numbered
_MOST_DIMENSIONS = 64  # torch's own limit
# What a tensor takes beside its numbers, by itself and for each dimension, and a value in a dictionary.
_TENSOR_BYTES, _DIMENSION_BYTES, _VALUE_BYTES = 400, 20, 100

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


@dataclass(frozen=True, slots=True)
class _Storage:
    content: UntypedStorage
    dtype: torch.dtype
    numel: int


def read_pickle(content: bytes, read: Callable[[str], UntypedStorage], num_bytes: int) -> Any:
    """Return what a pickle of tensors, names and numbers holds.

    Args:
        content: The pickle.
        read: Returns the bytes of an entry under ``data/``, by name; called once for each.
        num_bytes: Size of the file. All tensors together take at most four times as much.
    Raises:
        ArchiveError: If it holds anything else, or more than there is room for.
        Exception: Of any other type, if it is damaged.
    """
    reader = _Reader(content, read, num_bytes)
    try:
        return reader.load()
    finally:
        reader.memo.clear()  # which holds the reader's own functions: a cycle that would keep all tensors in memory


class _Reader(pickle._Unpickler):
    """Reads a pickle with harmless functions in the place of torch's.

    torch's own reader makes tensors of any size of a single number, in older versions reads beyond the end of an entry,
    and under ``weights_only`` calls more, such as ``bytearray``, which takes as much memory as it is asked for.

    In Python, since the memo of the reader in C is an array as long as its largest index, of which one is enough. Of
    the operations those that ``torch.save`` writes are known. A pickle can name an earlier part of itself in two bytes,
    so no step may take time or memory in proportion to such a part: functions take a fixed number of arguments from a
    tuple, what is copied is counted, and keys are names and small numbers, since hashing nested tuples may take for
    ever. Of tensors, at most the dimensions are iterated over: each number would become a tensor.
    """

    memo: dict[int, Any]
    stack: list[Any]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Any]] = {code: pickle._Unpickler.dispatch[code] for code in _OPERATIONS}

    def __init__(self, content: bytes, read: Callable[[str], UntypedStorage], num_bytes: int) -> None:
        super().__init__(io.BytesIO(content))
        self._bytes_of, self._contents = read, dict[str, UntypedStorage]()
        self._room = 4 * num_bytes  # averages and weights may be one tensor under two names

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a class or function; refuse those that a checkpoint of tensors does not need."""
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): lambda: OrderedDict(),
            ("collections", "Counter"): lambda counts: Counter(self._copied(counts, dict)),
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, _grad, _hooks: tensor,
            ("torch", "Size"): lambda size: torch.Size(self._copied(size, tuple)),
            ("torch", "device"): lambda kind, index=None: torch.device(type=kind, index=index),
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        # Not by getattr, for which torch imports modules.
        if module == "torch" and isinstance(dtype := vars(torch).get(name), torch.dtype):
            return dtype
        raise ArchiveError(
            f"holds code ({f'{module}.{name}'[:80]!r}), which is never run; expected tensors and numbers"
        )

    def load_reduce(self) -> None:
        """Call a function with a tuple of arguments."""
        arguments = self.stack.pop()
        if type(arguments) is not tuple:
            raise ArchiveError("is truncated or damaged: the arguments of a function are no tuple")
        self.stack[-1] = self.stack[-1](*arguments)

    def load_setitem(self) -> None:
        """Take one key with its value."""
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def load_setitems(self) -> None:
        """Take keys with their values."""
        self._set(self.pop_mark())

    def load_build(self) -> None:
        """Leave out the only attribute that a state dict has, the versions of its modules: a stranger's change how
        weights are loaded.
        """
        state = self.stack.pop()
        if type(self.stack[-1]) is not OrderedDict or type(state) is not dict or list(state) != ["_metadata"]:
            raise ArchiveError("is truncated or damaged: something else than a state dict has attributes")

    dispatch |= {pickle.REDUCE[0]: load_reduce, pickle.BUILD[0]: load_build}
    dispatch |= {pickle.SETITEM[0]: load_setitem, pickle.SETITEMS[0]: load_setitems}

    def _set(self, items: list[Any]) -> None:
        target, keys = self.stack[-1], items[::2]
        if type(target) not in (dict, OrderedDict) or not all(_is_key(key) for key in keys):
            raise ArchiveError("is truncated or damaged: a key is neither a name nor a small number")
        target.update(zip(keys, items[1::2], strict=True))

    def persistent_load(self, pid: Any) -> _Storage:
        """Return the numbers of an entry; refuse another number of bytes."""
        if type(pid) is not tuple:
            raise ArchiveError("is truncated or damaged: a storage has no name")
        kind, dtype, key, _, numel = pid
        if kind != "storage" or type(key) is not str or dtype not in _STORAGES.values():
            raise ArchiveError("is truncated or damaged: a storage has no name or an unknown type")
        if key not in self._contents:
            self._contents[key] = self._bytes_of(key)
        if type(numel) is not int or self._contents[key].nbytes() != numel * dtype.itemsize:
            raise ArchiveError("is truncated or damaged: a tensor has another size than its bytes")
        return _Storage(self._contents[key], dtype, numel)

    def _tensor(
        self, storage: _Storage, offset: int, size: Sequence[int], stride: Sequence[int], _grad: object, _hooks: object
    ) -> Tensor:
        if (
            not isinstance(storage, _Storage)
            or not len(size) == len(stride) <= _MOST_DIMENSIONS
            or any(type(number) is not int or number < 0 for number in (offset, *size, *stride))
        ):
            raise ArchiveError("is truncated or damaged: a tensor has no storage or shape")
        count = math.prod(size)
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) if count else 0
        # Without the first, a stride of 0 would make a tensor of any size of a single number.
        if count > storage.numel or (count and last >= storage.numel):
            raise ArchiveError("is truncated or damaged: a tensor reaches beyond its bytes")
        self._take(_TENSOR_BYTES + _DIMENSION_BYTES * len(size) + count * storage.dtype.itemsize)
        return torch.empty(0, dtype=storage.dtype).set_(storage.content, offset, size, stride)

    def _copied(self, values: Any, kind: type[Any]) -> Any:
        if type(values) is not kind:
            raise ArchiveError(f"is truncated or damaged: expected a {kind.__name__}")
        self._take(_VALUE_BYTES * len(values))
        return values

    def _take(self, num_bytes: int) -> None:
        self._room -= num_bytes
        if self._room < 0:
            raise ArchiveError("is truncated or damaged: its contents are larger than the file")


def _is_key(value: Any) -> bool:
    return type(value) is str or (type(value) is int and abs(value) <= _LARGEST_KEY)
