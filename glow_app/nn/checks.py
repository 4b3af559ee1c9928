"""The check of a context that networks and bijections share."""

from torch import Tensor

__all__ = ["require_context"]


def require_context(name: str, context: Tensor | None, num: int, context_features: int) -> Tensor:
    """Return the context, if it is one vector for each row of a batch.

    Args:
        name: Who wants it, for the message.
        context: What was given.
        num: Batch size B.
        context_features: Its size E.

    Raises:
        ValueError: If ``context`` is not (B, E).
    """
    expected = (num, context_features)
    found = None if context is None else tuple(context.shape)
    if context is None or found != expected:
        raise ValueError(f"{name} expects a context of shape {expected}, got {found}")
    return context
