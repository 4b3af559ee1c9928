"""Numbers next to nothing, such as old moments, can take a processor a hundred times as long as others."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["flushed_denormals"]


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Let this thread, and the workers that torch starts from it meanwhile, take numbers below 1e-38 for 0.

    Undone for this thread afterwards, as it is a mode of the processor: other code that runs in it, such as
    hypothesis, counts on IEEE 754 to the last bit.
    """
    flushed_before = sys.float_info.min / 2 == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed_before)
