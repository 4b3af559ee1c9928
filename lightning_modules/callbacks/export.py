"""The exported model at the end of a run."""

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from glow_app.checkpoint import load_density, training_facts
from glow_app.pretrained import save_pretrained
from lightning_modules.likelihood import LikelihoodModule

__all__ = ["ExportBest"]


class ExportBest(Callback):
    """Writes the best checkpoint, else the last, into the run's ``model/`` when training ends."""

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Export on one rank."""
        checkpoints = [one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)]
        # Others may watch something else, or nothing.
        assert isinstance(pl_module, LikelihoodModule)
        checkpoints.sort(key=lambda one: one.monitor != f"val/{pl_module.metric}")
        path = checkpoints[0].best_model_path or checkpoints[0].last_model_path if checkpoints else ""
        if path and not Path(path).exists():
            # The run's folder was moved, and the path is remembered from before.
            path = str(Path(checkpoints[0].dirpath or "") / Path(path).name)
        if trainer.is_global_zero and path:
            folder = Path(trainer.default_root_dir) / "model"
            save_pretrained(load_density(path), folder, training_facts(path), overwrite=True)
