"""Choice of the checkpoint from which a run resumes: a complete one with finite numbers."""

import warnings
from collections.abc import Container, Iterable, Mapping
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
    """Return a run's last checkpoint or, if it is not good, the newest other one; None if there is none.

    A good checkpoint is complete, and its numbers are finite. A warning names each one that was passed over.

    Args:
        run_dir: Folder of the run.
        without: Checkpoints to leave out.
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
            break  # the best one may be newer, but training from the last one repeats its steps exactly
    if not good and reasons:
        raise ValueError(f"no checkpoint of {run_dir} is good: {'; '.join(reasons)}. Delete them to begin again")
    for reason in reasons:
        warnings.warn(f"passed over: {reason}", stacklevel=2)
    return max(good, key=lambda step_and_path: step_and_path[0])[1] if good else None


def read_whole(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ``glow fit`` from which training can resume.

    Raises:
        ValueError: If the file is damaged or not such a checkpoint, or has a non-finite number.
    """
    checkpoint = read_checkpoint(path)
    if (name := non_finite(checkpoint)) is not None:
        raise ValueError(f"{path} holds a number in {name} that is not finite")
    return checkpoint


def non_finite(checkpoint: dict[str, Any]) -> str | None:
    """Return the name of a tensor with non-finite numbers in the weights or the optimiser's state, or None."""
    for key in ("state_dict", "current_model_state", "optimizer_states"):
        for name, tensor in _tensors(checkpoint.get(key), key):
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                return name
    return None


def take_place(run_dir: Path) -> None:
    """Rename the pending checkpoint, if there is one, to ``last.ckpt``; the old one becomes ``previous.ckpt``."""
    pending, last = run_dir / NEXT, run_dir / LAST
    if not pending.exists():  # it had non-finite numbers and was not written
        return
    if last.exists():
        _keep_as_previous(last)
    pending.replace(last)


def _keep_as_previous(last: Path) -> None:
    previous, link = last.with_name(PREVIOUS), last.with_name(f".{PREVIOUS}")
    link.unlink(missing_ok=True)
    try:
        link.hardlink_to(last)
    except OSError:  # not every file system has hard links
        last.replace(previous)
        return
    link.replace(previous)


def _tensors(tree: Any, name: str) -> Iterable[tuple[str, Tensor]]:
    stack, seen = [(name, tree)], set()
    while stack:
        name, node = stack.pop()
        if isinstance(node, Tensor):
            yield name, node
        elif isinstance(node, (dict, list, tuple)) and id(node) not in seen:
            seen.add(id(node))  # nested lists that repeat one list would take exponential time
            items = node.items() if isinstance(node, dict) else enumerate(node)
            stack += [(f"{name}.{key}", value) for key, value in items]


def require_same_model(stored: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """Compare two configurations of models, but not their parts and tasks.

    Raises:
        ValueError: If the number of bits, the image size or another setting differs.
    """
    earlier, settings = ({**config, **config.get("flow", {})} for config in (stored, model))
    for name in earlier.keys() & settings.keys():
        if not isinstance(earlier[name], dict) and earlier[name] != settings[name]:
            raise ValueError(
                f"{name} is {settings[name]}, but {earlier[name]} in the checkpoint; leave the option out, or begin a "
                "new run with --init-from"
            )
