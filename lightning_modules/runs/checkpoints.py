"""Checkpoints of a run: written atomically, and resumed from only if complete and finite."""

import warnings
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor
from torch.utils._pytree import tree_leaves

from glow_app.files import atomic_file
from glow_app.storage.checkpoint import read_checkpoint

LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"
NEXT = ".next.ckpt"
BEST = "best.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Replaces checkpoints atomically: a full disk or a crash leaves the earlier file intact.

    Lightning writes to the system's temporary folder first, and moving the file from there to another disk copies it,
    which is not atomic. Checkpoints with non-finite numbers are not written.

    Args:
        contents: A checkpoint that was read already; the first :meth:`load_checkpoint` returns and forgets it.
    """

    def __init__(self, contents: dict[str, Any] | None = None) -> None:
        super().__init__()
        self._contents = {} if contents is None else contents

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read ``path`` without running code from it; Lightning's own method would unpickle anything."""
        contents = dict(self._contents) or read_checkpoint(Path(path))
        self._contents.clear()
        return contents

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write ``checkpoint``, or warn if it has non-finite numbers. Then, or on an OSError, an earlier file stays."""
        path = Path(path)
        if (part := non_finite(checkpoint)) is not None:
            warnings.warn(f"{path} is not written: a number in {part} is not finite", stacklevel=2)
            return
        try:
            with atomic_file(path) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            # torch turns the OSError of a full disk into a less specific RuntimeError.
            cause = error.__context__ if isinstance(error.__context__, OSError) else error
            reason = getattr(cause, "strerror", None) or str(cause).splitlines()[0]
            raise OSError(
                f"no checkpoint could be written to {path.parent} ({reason}); earlier ones are intact"
            ) from error


def good_checkpoint(run_dir: Path, without: Container[Path] = ()) -> tuple[Path, dict[str, Any]] | None:
    """Return a run's last checkpoint or, if it is not good, the newest other one, with contents; None if there is none.

    A good checkpoint is complete, and its numbers are finite. A warning names each one that is skipped; those in
    ``without`` are left out. Raises ValueError if there are checkpoints, but no good one.
    """
    good: list[tuple[Path, dict[str, Any]]] = []
    reasons = []
    for path in (run_dir / name for name in (LAST, PREVIOUS, BEST)):
        if not path.exists() or path in without:
            continue
        try:
            good.append((path, read_whole(path)))
        except ValueError as error:
            reasons.append(str(error))
            continue
        if path.name == LAST:
            break  # the best one may be newer, but training from the last one repeats its steps exactly
    if not good and reasons:
        raise ValueError(f"no checkpoint of {run_dir} is usable: {'; '.join(reasons)}; delete them to start again")
    for reason in reasons:
        warnings.warn(f"skipping a checkpoint: {reason}", stacklevel=2)
    return max(good, key=lambda checkpoint: checkpoint[1]["global_step"], default=None)


def read_whole(path: Path) -> dict[str, Any]:
    """Read a checkpoint; raise ValueError if it is damaged or not of ``glow fit``, or has a non-finite number."""
    checkpoint = read_checkpoint(path)
    if (part := non_finite(checkpoint)) is not None:
        raise ValueError(f"{path}: a number in {part} is not finite")
    return checkpoint


def non_finite(checkpoint: Mapping[str, Any]) -> str | None:
    """Return which of the weights and the optimiser's state have a non-finite number, or None."""
    for key in ("state_dict", "current_model_state", "optimizer_states"):
        tensors = (leaf for leaf in tree_leaves(checkpoint.get(key)) if isinstance(leaf, Tensor))
        if not all(bool(tensor.isfinite().all()) for tensor in tensors):
            return key
    return None


def replace_last(run_dir: Path) -> None:
    """Rename the new checkpoint, if it was written, to ``last.ckpt``; the old one becomes ``previous.ckpt``."""
    new, last = run_dir / NEXT, run_dir / LAST
    if not new.exists():  # it had non-finite numbers
        return
    if last.exists():
        last.replace(run_dir / PREVIOUS)
    new.replace(last)


def require_same_model(stored: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """Raise ValueError if two configurations of models differ, except in arguments of their parts."""
    earlier, settings = ({**config, **config.get("flow", {})} for config in (stored, model))
    for name in earlier.keys() & settings.keys() - {"flow"}:
        before, now = (part.get("type") if isinstance(part, dict) else part for part in (earlier[name], settings[name]))
        if before != now:
            raise ValueError(
                f"{name} is {now}, but {before} in the checkpoint; omit the option, or start a new run with --init-from"
            )
