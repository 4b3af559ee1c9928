"""How much memory a piece of work would need at its peak, without the memory and without the work."""

import copy
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeCopyMode,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Counted", "ShapesOnly", "ValuesNeededError"]

aten = torch.ops.aten

# Examples of the batch that is counted. Prime and larger than any width, so that what has a row for each example
# is told from what has not by its size, and one count is good for batches of every size.
PROBE = 10_007

# Questions about values that are answered. A flow asks a few at each level (are the labels in range, did the inverse
# drift?); an adaptive solver asks without end, and what it needs cannot be known without the values.
MAX_QUESTIONS = 200

Model = TypeVar("Model", bound=nn.Module)


class ValuesNeededError(RuntimeError):
    """What the work does depends on the values of its tensors."""


class Counted(NamedTuple):
    """What was counted.

    Args:
        peak: Bytes that tensors of the work hold at most, at the batch size that was asked for.
        an_example: The most of them that grow with the batch, for each example.
    """

    peak: int
    an_example: int


class ShapesOnly(Generic[Model]):
    """A copy of a model that has shapes but no values, to count what tensors would hold while it works.

    The figures are those of :func:`~glow_app.peak_memory.peak_memory` in float32 on a CPU, but for the weights of a
    layer or two; the workspaces of other kernels come on top. An operation takes a tenth of a millisecond, whatever its
    size.

    Args:
        model: Of any size; it is not changed.
    """

    def __init__(self, model: Model) -> None:
        self._mode = FakeTensorMode()
        with FakeCopyMode(self._mode):
            self.model = copy.deepcopy(model)

    def count(self, run: Callable[[Model, int], object], batch_size: int) -> Counted:
        """Count the bytes that tensors would hold, gradients included, beyond the model's own.

        Args:
            run: Called with the copy and a number of examples; makes its inputs itself. Questions about values are
                answered with True and 0.
            batch_size: For which the peak is told.

        Raises:
            ValuesNeededError: If ``run`` asks too many of them, or the size of a tensor depends on values.
        """
        for parameter in self.model.parameters():
            parameter.grad = None
        count = _Count(batch_size)
        try:
            with self._mode, count:
                run(self.model, PROBE)
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise ValuesNeededError(f"the work depends on the values of its tensors: {error}") from error
        return Counted(count.peak, count.an_example)


class _Count(TorchDispatchMode):
    """Sees every operation, and the end of every storage that one made."""

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.fixed = self.growing = self.peak = self.an_example = self.questions = 0
        self.known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        # Asked twice as often as everything else together.
        if func is torch.ops.prim.device.default:
            return args[0].fake_device
        if func is aten._local_scalar_dense.default:
            return self._answer(args[0])
        copied = _copied(func, args)
        for size in copied:
            self._add(size)
        given = {tensor.untyped_storage()._cdata for tensor in _tensors(args)}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors((result,)):
            storage = tensor.untyped_storage()
            if storage._cdata not in given and storage._cdata not in self.known:
                self._begin(storage)
        for size in copied:
            self._add(-size)
        return result

    def _answer(self, question: Tensor) -> bool | int | float:
        self.questions += 1
        if self.questions > MAX_QUESTIONS:
            raise ValuesNeededError("the work depends on the values of its tensors and cannot be counted without them")
        return True if question.dtype == torch.bool else 0.0 if question.is_floating_point() else 0

    def _begin(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()

        def end(_: object) -> None:
            del self.known[key]
            self._add(-size)

        self.known[key] = weakref.ref(storage, end)
        self._add(size)

    def _add(self, size: int) -> None:
        if size % PROBE:
            self.fixed += size
        else:
            self.growing += size // PROBE
        self.peak = max(self.peak, self.fixed + self.batch_size * self.growing)
        self.an_example = max(self.an_example, self.growing)


def _copied(func: Any, args: tuple[Any, ...]) -> list[int]:
    """Return the bytes of what a convolution copies for itself: tensors that are not laid out as its kernel wants."""
    num_operands = {aten.convolution.default: 2, aten.convolution_backward.default: 3}.get(func, 0)
    operands = args[:num_operands]
    wanted = torch.contiguous_format
    if any(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in operands[-2:]):
        wanted = torch.channels_last
    return [
        tensor.numel() * tensor.element_size() for tensor in operands if not tensor.is_contiguous(memory_format=wanted)
    ]


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)
