"""Which checkpoint of a run to go on from: the newest one that is whole and finite."""

import warnings
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glow_app.storage.checkpoint import read_checkpoint

LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"
NEXT = ".next.ckpt"
BEST = "best.ckpt"


def good_checkpoint(run_dir: Path, without: Container[Path] = ()) -> Path | None:
    """Return the newest good checkpoint of a run, with a warning for each that was passed over; None if there is none.

    Checkpoints of ``without``, which have not helped, are left out.

    Raises:
        ValueError: If there are checkpoints, but no good one.
    """
    paths = [path for name in (LAST, PREVIOUS, BEST) if (path := run_dir / name).exists() and path not in without]
    good: list[tuple[int, Path]] = []
    reasons = []
    for path in paths:
        try:
            good.append((read_whole(path)["global_step"], path))
        except ValueError as error:
            reasons.append(str(error))
            continue
        if path.name == LAST:
            break  # what is newer is trained again as it was
    if not good and reasons:
        raise ValueError(f"no checkpoint of {run_dir} is good: {'; '.join(reasons)}. Delete them to begin again")
    for reason in reasons:
        warnings.warn(f"passed over: {reason}", stacklevel=2)
    return max(good, key=lambda step_and_path: step_and_path[0])[1] if good else None


def read_whole(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ``glow fit`` that one can go on from.

    Raises:
        ValueError: If it is damaged or foreign, or holds a number that is not finite.
    """
    checkpoint = read_checkpoint(path)
    if (name := non_finite(checkpoint)) is not None:
        raise ValueError(f"{path} holds a number in {name} that is not finite")
    return checkpoint


def non_finite(checkpoint: dict[str, Any]) -> str | None:
    """Return where in the weights or the optimiser's state a number is not finite, or None."""
    for key in ("state_dict", "current_model_state", "optimizer_states"):
        for name, tensor in _tensors(checkpoint.get(key), key):
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                return name
    return None


def take_place(run_dir: Path) -> None:
    """Put the checkpoint beside ``last.ckpt``, if there is one, in its place; the old one becomes ``previous.ckpt``."""
    waiting, last = run_dir / NEXT, run_dir / LAST
    if not waiting.exists():  # it was not finite
        return
    if last.exists():
        _keep(last)
    waiting.replace(last)


def _keep(last: Path) -> None:
    previous, beside = last.with_name(PREVIOUS), last.with_name(f".{PREVIOUS}")
    beside.unlink(missing_ok=True)
    try:
        beside.hardlink_to(last)
    except OSError:  # not every file system has links
        last.replace(previous)
        return
    beside.replace(previous)


def _tensors(tree: Any, name: str) -> Iterable[tuple[str, Tensor]]:
    waiting, seen = [(name, tree)], set()
    while waiting:
        name, one = waiting.pop()
        if isinstance(one, Tensor):
            yield name, one
        elif isinstance(one, (dict, list, tuple)) and id(one) not in seen:
            seen.add(id(one))  # lists of one list over and over may be more than there is time for
            items = one.items() if isinstance(one, dict) else enumerate(one)
            waiting += [(f"{name}.{key}", value) for key, value in items]
