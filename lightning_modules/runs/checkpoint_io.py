"""Checkpoints that are whole or not there."""

import warnings
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from glow_app.files import atomic_file
from glow_app.storage.checkpoint import read_checkpoint
from lightning_modules.runs.recovery import BEST, LAST, PREVIOUS, non_finite


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the old file and then takes its place: a full disk or a crash leaves the one before it intact.

    Lightning's own goes through the system's temporary folder, and the move from there to another disk is a copy.
    Numbers that are not finite are never written.
    """

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read ``path`` as every command does, which runs nothing: Lightning's own would unpickle anything."""
        return read_checkpoint(Path(path))

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write ``checkpoint`` to ``path``; leave the one that is there, with a warning, where it is not finite.

        Raises:
            OSError: If it cannot be written; an earlier file at ``path`` is intact, and the message names it.
        """
        path = Path(path)
        if (name := non_finite(checkpoint)) is not None:
            warnings.warn(f"{path} is not written: a number in {name} is not finite", stacklevel=2)
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            # torch turns the OSError of a full disk into a less specific RuntimeError.
            inner = error.__context__ if isinstance(error.__context__, OSError) else error
            reason = (getattr(inner, "strerror", None) or str(inner)).splitlines()[0][:200]
            whole = [name for name in (LAST, BEST, PREVIOUS) if (path.parent / name).exists()]
            earlier = f"{whole[0]} from before is intact" if whole else "there is no earlier one"
            raise OSError(f"no checkpoint could be written to {path.parent} ({reason}); {earlier}") from error
