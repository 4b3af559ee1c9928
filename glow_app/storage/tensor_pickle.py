"""Read the pickle inside an archive of ``torch.save`` without running code that it names."""

import io
import math
import pickle
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, UntypedStorage

# The opcodes that torch.save writes.
_OPERATIONS = [getattr(pickle, name)[0] for name in (
    "PROTO", "MARK", "STOP", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "BINUNICODE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS",
    "BINGET", "LONG_BINGET", "BINPUT", "LONG_BINPUT", "GLOBAL", "REDUCE", "BINPERSID",
)]  # fmt: skip
_LARGEST_KEY = 10**6  # optimiser states have parameter indices as keys
_MOST_DIMENSIONS = 64  # torch's own limit
# Memory overhead of a tensor, of each of its dimensions, and of a value in a dictionary.
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
    """An archive is damaged or unsupported; the message continues a sentence that begins with its name."""


@dataclass(frozen=True, slots=True)
class _Storage:
    content: UntypedStorage
    dtype: torch.dtype
    numel: int


def read_pickle(content: bytes, read: Callable[[str], UntypedStorage], num_bytes: int) -> Any:
    """Return the content of a pickle of tensors, strings and numbers.

    Args:
        content: The pickle.
        read: Returns the bytes of an entry under ``data/`` by name; called once per entry.
        num_bytes: Size of the file. All tensors together may take at most four times as much.
    Raises:
        ArchiveError: If the pickle contains other objects, or exceeds the memory limit.
        Exception: Of any type, if the pickle is damaged.
    """
    reader = _Reader(content, read, num_bytes)
    try:
        return reader.load()
    finally:
        reader.memo.clear()  # it contains bound methods of the reader: a cycle that would keep all tensors alive


class _Reader(pickle._Unpickler):
    """Reads a pickle with harmless functions in place of torch's.

    torch's own reader can expand a single number to a tensor of any size, reads beyond the end of an entry in older
    versions, and even with ``weights_only`` calls functions such as ``bytearray``, which allocate any amount of memory.

    This is the Python unpickler, because the C unpickler's memo is an array as long as its largest index, so that a
    single entry could exhaust memory. Only the opcodes that ``torch.save`` writes are known. A pickle can refer to an
    earlier part of itself in two bytes, so no step may take time or memory proportional to such a part: functions take
    a fixed number of arguments from a tuple, copies are counted, and keys are strings and small integers, because
    hashing nested tuples could take forever. Elements of tensors are never iterated over: each would become a tensor.
    """

    memo: dict[int, Any]
    stack: list[Any]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Any]] = {code: pickle._Unpickler.dispatch[code] for code in _OPERATIONS}

    def __init__(self, content: bytes, read: Callable[[str], UntypedStorage], num_bytes: int) -> None:
        super().__init__(io.BytesIO(content))
        self._bytes_of, self._contents = read, dict[str, UntypedStorage]()
        self._room = 4 * num_bytes  # weights and averages may share a storage, which counts for each tensor

    def find_class(self, module: str, name: str) -> Any:
        """Return the substitute of a class or function; refuse those that a checkpoint of tensors does not need."""
        substitutes: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): lambda: OrderedDict(),
            ("collections", "Counter"): lambda counts: Counter(self._copied(counts, dict)),
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, _grad, _hooks: tensor,
            ("torch", "Size"): lambda size: torch.Size(self._copied(size, tuple)),
            ("torch", "device"): lambda kind, index=None: torch.device(type=kind, index=index),
        }
        if (module, name) in substitutes:
            return substitutes[module, name]
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        # vars() instead of getattr(), which would let torch import modules.
        if module == "torch" and isinstance(dtype := vars(torch).get(name), torch.dtype):
            return dtype
        raise ArchiveError(
            f"holds code ({f'{module}.{name}'[:80]!r}), which is never run; expected tensors and numbers"
        )

    def load_reduce(self) -> None:
        """Call a function with a tuple of arguments."""
        arguments = self.stack.pop()
        if type(arguments) is not tuple:
            raise ArchiveError("is truncated or damaged: the arguments of a function are not a tuple")
        self.stack[-1] = self.stack[-1](*arguments)

    def load_setitem(self) -> None:
        """Set an item of a dictionary."""
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def load_setitems(self) -> None:
        """Set several items of a dictionary."""
        self._set(self.pop_mark())

    def load_build(self) -> None:
        """Discard the only attribute of a state dict, the versions of modules: false ones would affect loading."""
        state = self.stack.pop()
        if type(self.stack[-1]) is not OrderedDict or type(state) is not dict or list(state) != ["_metadata"]:
            raise ArchiveError("is truncated or damaged: an object other than a state dict has attributes")

    dispatch |= {pickle.REDUCE[0]: load_reduce, pickle.BUILD[0]: load_build}
    dispatch |= {pickle.SETITEM[0]: load_setitem, pickle.SETITEMS[0]: load_setitems}

    def _set(self, items: list[Any]) -> None:
        target, keys = self.stack[-1], items[::2]
        if type(target) not in (dict, OrderedDict) or not all(_is_key(key) for key in keys):
            raise ArchiveError("is truncated or damaged: a key is neither a name nor a small number")
        target.update(zip(keys, items[1::2], strict=True))

    def persistent_load(self, pid: Any) -> _Storage:
        """Return the storage of an entry; refuse one whose number of bytes does not match."""
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
        # Without the first condition, a stride of 0 could expand a single number to a tensor of any size.
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
