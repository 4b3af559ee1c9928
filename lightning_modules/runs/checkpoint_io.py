"""Atomic reading and writing of checkpoints."""

import warnings
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from glow_app.files import atomic_file
from glow_app.storage.checkpoint import read_checkpoint
from lightning_modules.runs.recovery import BEST, LAST, PREVIOUS, non_finite


class AtomicCheckpointIO(TorchCheckpointIO):
    """Replaces checkpoints atomically: a full disk or a crash leaves the earlier file intact.

    Lightning writes to the system's temporary folder first, and moving the file from there to another disk copies it,
    which is not atomic. Checkpoints with non-finite numbers are not written.
    """

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read ``path`` without running code from it; Lightning's own method would unpickle anything."""
        return read_checkpoint(Path(path))

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write ``checkpoint`` to ``path``; if it has non-finite numbers, warn and keep the earlier file.

        Raises:
            OSError: If it cannot be written. An earlier file at ``path`` stays intact; the message names an intact
                checkpoint of the run.
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
            cause = error.__context__ if isinstance(error.__context__, OSError) else error
            reason = (getattr(cause, "strerror", None) or str(cause)).splitlines()[0][:200]
            intact = [name for name in (LAST, BEST, PREVIOUS) if (path.parent / name).exists()]
            earlier = f"{intact[0]} from before is intact" if intact else "there is no earlier one"
            raise OSError(f"no checkpoint could be written to {path.parent} ({reason}); {earlier}") from error
