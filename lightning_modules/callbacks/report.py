"""The report of a run, after each validation."""

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from glow_app.storage.report import write_report


class Report(Callback):
    """Writes ``report.html`` after each validation; place it after the grids of samples."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the report."""
        if trainer.is_global_zero and not trainer.sanity_checking:
            for logger in trainer.loggers:
                logger.save()
            write_report(Path(trainer.default_root_dir))
