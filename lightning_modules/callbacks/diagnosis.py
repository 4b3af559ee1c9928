"""Where numbers stop being finite."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["first_bad_gradient", "first_bad_module"]


def first_bad_module(module: nn.Module, run: Callable[[], object]) -> str | None:
    """Return the first module inside ``module``, the innermost one, that made finite numbers into others, or None.

    Args:
        module: Whose parts are watched.
        run: Runs the forward pass in question once more.
    """
    found: list[str] = []
    handles = []
    for name, part in module.named_modules():

        def watch(part: nn.Module, inputs: Any, outputs: Any, name: str = name) -> None:
            if not found and not _finite(outputs) and _finite(inputs):
                found.append(f"{name} ({type(part).__name__})")

        handles.append(part.register_forward_hook(watch))
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def first_bad_gradient(module: nn.Module) -> str | None:
    """Return the last parameter with a gradient that is not finite: the first that the backward pass came to; or None.

    Args:
        module: Whose parameters.
    """
    bad = [name for name, p in module.named_parameters() if p.grad is not None and not _finite(p.grad)]
    return bad[-1] if bad else None


def _finite(tree: Any) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in _floats(tree))


def _floats(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor) and tree.is_floating_point():
        yield tree
    elif isinstance(tree, (list, tuple)):
        for part in tree:
            yield from _floats(part)
