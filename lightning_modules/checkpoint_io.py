"""Checkpoints that are whole or not there."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from glow_app.files import atomic_file

__all__ = ["AtomicCheckpointIO"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the old file and then takes its place: a full disk or a crash leaves the one before it intact.

    Lightning's own goes through the system's temporary folder, and the move from there to another disk is a copy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write ``checkpoint`` to ``path``.

        Raises:
            OSError: If it cannot be written; an earlier file at ``path`` is intact.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch tells a full disk as a RuntimeError
            reason = str(error).splitlines()[0][:200]
            raise OSError(f"{path} could not be written ({reason}); an earlier one is intact") from error
