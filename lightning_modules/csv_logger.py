"""A CSV log that survives a resume."""

import csv
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger

__all__ = ["AppendingCSVLogger"]


class AppendingCSVLogger(CSVLogger):
    """Writes ``metrics.csv`` straight into a run's folder and, on a resume, goes on where the file ends.

    Lightning's own logger deletes the file of an earlier run in the same folder.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder, name="", version="")
        self._path = Path(folder) / "metrics.csv"
        self._earlier = self._path.read_text() if self._path.exists() else ""

    def log_hyperparams(self, params: Any = None) -> None:
        """Do nothing: the run's ``config.yaml`` holds them all."""

    @property
    def experiment(self) -> Any:
        """The writer; created on first use."""
        created = self._experiment is None
        writer = super().experiment
        if created and self._earlier:
            self._path.write_text(self._earlier)
            writer.metrics_keys = next(csv.reader(self._earlier.splitlines()))
            self._earlier = ""
        return writer
