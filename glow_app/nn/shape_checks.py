"""Checks of the shapes and other arguments of networks and bijections."""

import math
from collections.abc import Collection

from torch import Tensor


def require_choice(choices: Collection[str], **arguments: object) -> None:
    """Raise ValueError for an argument that is none of the choices."""
    for name, value in arguments.items():
        if value not in choices:
            raise ValueError(f"{name} is {value!r}; expected one of {', '.join(choices)}")


def require_at_least(least: int, **arguments: float) -> None:
    """Raise ValueError for an argument that is below the least, or not finite."""
    for name, value in arguments.items():
        if not least <= value < math.inf:
            finite = "" if value < least else ", and finite"
            raise ValueError(f"{name} is {value}; expected at least {least}{finite}")


def require_positive(**arguments: float) -> None:
    """Raise ValueError for an argument that is not above 0, or not finite."""
    for name, value in arguments.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}; expected a finite number above 0")


def require_context(name: str, context: Tensor | None, num: int, context_features: int) -> Tensor:
    """Return a context (B, E), or the mean of (B, E, H, W) over its pixels; raise ValueError for other shapes."""
    expected = (num, context_features)
    shape = None if context is None else tuple(context.shape)
    if context is None or context.ndim not in (2, 4) or context.shape[:2] != expected:
        raise ValueError(f"{name} expects a context of shape {expected}, got {shape}")
    return context if context.ndim == 2 else context.mean((2, 3))


def require_image(name: str, x: Tensor, num_channels: int | None = None) -> None:
    """Raise ValueError for an input that is not (B, C, H, W), with C the number of channels unless that is None."""
    if x.ndim != 4 or (num_channels is not None and x.shape[1] != num_channels):
        channels = "C" if num_channels is None else num_channels
        raise ValueError(f"{name} expects shape (B, {channels}, H, W), got {tuple(x.shape)}")


def require_vector(name: str, x: Tensor, num_features: int) -> None:
    """Raise ValueError for an input that is not (B, num_features)."""
    if x.ndim != 2 or x.shape[1] != num_features:
        raise ValueError(f"{name} expects shape (B, {num_features}), got {tuple(x.shape)}")
