"""The exported model at the end of a run."""

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from glow_app.checkpoint import load_model, training_facts
from glow_app.pretrained import save_pretrained

__all__ = ["ExportBest"]


class ExportBest(Callback):
    """Writes the best checkpoint, else the last, into the run's ``model/`` when training ends."""

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Export on one rank."""
        checkpoint = trainer.checkpoint_callback
        if not trainer.is_global_zero or not isinstance(checkpoint, ModelCheckpoint):
            return
        path = checkpoint.best_model_path or checkpoint.last_model_path
        if path:
            folder = Path(trainer.default_root_dir) / "model"
            save_pretrained(load_model(path), folder, training_facts(path), overwrite=True)
