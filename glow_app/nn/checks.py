"""The check of a context, for networks and bijections."""

from torch import Tensor

__all__ = ["require_context"]


def require_context(name: str, context: Tensor | None, num: int, context_features: int) -> Tensor:
    """Return the context if its shape is (B, E).

    Args:
        name: The caller, for the message.
        context: The context to check.
        num: Batch size B.
        context_features: Size E.

    Raises:
        ValueError: If ``context`` is not (B, E).
    """
    expected = (num, context_features)
    shape = None if context is None else tuple(context.shape)
    if context is None or shape != expected:
        raise ValueError(f"{name} expects a context of shape {expected}, got {shape}")
    return context
