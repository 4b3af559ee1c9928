"""Precision: float32 inside autocast regions, float64 where rounding would be magnified, bfloat16 where it may be."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Switch autocast and TF32 off, in matrix products and convolutions.

    A map whose two directions round to 8 or 11 bits does not invert. The states of a flow stay float32 or wider; only
    conditioners, which compute the same in both directions, may be narrower.
    """
    switches: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn] if device.type == "cuda" else []
    allowed = [switch for switch in switches if switch.allow_tf32]
    try:
        for switch in allowed:
            switch.allow_tf32 = False
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for switch in allowed:
            switch.allow_tf32 = True


def fast_convolutions(device: torch.device) -> torch.autocast:
    """Return a context in which convolutions run in bfloat16 if the processor has it: about twice as fast."""
    has_bfloat16 = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16)


def conditioner_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype in which a conditioner of ``x`` runs: that of autocast, or of ``x``."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def widest_dtype(device: torch.device) -> torch.dtype:
    """Return float64, or float32 on MPS, which has nothing wider."""
    return torch.float32 if device.type == "mps" else torch.float64


def widen(x: Tensor) -> Tensor:
    """Return ``x`` in the widest type of its device."""
    return x.to(widest_dtype(x.device))


def narrow(values: Tensor, like: Tensor) -> Tensor:
    """Return ``values`` in the dtype of ``like``, but no narrower than float32."""
    return values.to(torch.promote_types(like.dtype, torch.float32))
