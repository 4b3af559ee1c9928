"""Full precision inside autocast regions."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["full_precision"]


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Switch autocast and TF32 matrix products off.

    An invertible map whose two directions round to 8 or 11 bits does not invert; the states of a flow stay float32
    or wider, and only conditioners, which run the same way in both directions, may be narrower.

    Args:
        device: Where the tensors are.
    """
    matmul = torch.backends.cuda.matmul
    allow_tf32 = matmul.allow_tf32 if device.type == "cuda" else False
    try:
        if allow_tf32:
            matmul.allow_tf32 = False
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if allow_tf32:
            matmul.allow_tf32 = True
