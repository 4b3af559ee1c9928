"""The exported model at the end of a run."""

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from glow_app.checkpoint import load_density, training_facts
from glow_app.pretrained import save_pretrained
from lightning_modules.likelihood import LikelihoodModule
from lightning_modules.recovery import LAST
from lightning_modules.run_loggers import RunLogger

__all__ = ["ExportBest"]


class ExportBest(Callback):
    """Writes the best checkpoint, else the last, into the run's ``model/`` when training ends."""

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Export on one rank."""
        checkpoints = [one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)]
        # Others may watch something else, or nothing.
        assert isinstance(pl_module, LikelihoodModule)
        checkpoints.sort(key=lambda one: one.monitor != f"val/{pl_module.metric}")
        run_dir = Path(trainer.default_root_dir)
        known = checkpoints[0].best_model_path if checkpoints else ""
        best = Path(known or run_dir / LAST)
        # The run's folder may have been moved, where a path is remembered from before.
        path = best if best.exists() else run_dir / best.name
        if trainer.is_global_zero and path.exists():
            save_pretrained(load_density(path), run_dir / "model", training_facts(path), overwrite=True)
            for logger in trainer.loggers:
                if isinstance(logger, RunLogger):
                    logger.log_model(run_dir / "model")
