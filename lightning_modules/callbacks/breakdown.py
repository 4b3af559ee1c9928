"""Parts of the likelihood, logged at every validation."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from glow_app.bijections import SolverError
from glow_app.evaluation.bits import breakdown
from glow_app.seeding import step_generator
from lightning_modules.image_module import ImageModule


class Breakdown(Callback):
    """Logs bits/dim of each level and log-determinants of each kind of layer, from the first validation batch.

    Names and meaning are as in :func:`glow_app.evaluation.bits.breakdown`. With several ranks, the batch is the
    first rank's.
    """

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Log the parts of the first batch."""
        if batch_idx or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, ImageModule)
        model, (images, labels) = pl_module.model, batch
        generator = step_generator(pl_module.seed, 0, pl_module.device, "breakdown")
        try:
            with trainer.precision_plugin.val_step_context():
                given = model.conditioning.observe(images, labels, generator)
                parts = breakdown(model, images, given, generator)
        except SolverError:
            return  # the validation step has warned
        pl_module.log_dict(parts, batch_size=len(images), rank_zero_only=True)
