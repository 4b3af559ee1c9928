"""Bits/dim of each level, logged at every validation."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from glow_app.bijections import SolverError
from glow_app.seeding import step_generator
from lightning_modules.image_module import ImageModule


class Breakdown(Callback):
    """Logs the mean bits/dim of each level, which add up to those of the first validation batch of the first rank."""

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Log the levels of the first batch."""
        if batch_idx or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, ImageModule)
        model, (images, labels) = pl_module.model, batch
        generator = step_generator(pl_module.seed, 0, pl_module.device, "breakdown")
        try:
            with trainer.precision_plugin.val_step_context():
                given = model.conditioning.observe(images, labels, generator)
                bits = model.dequantised_level_bits(model.dequantised(images, generator), given).mean(0)
        except SolverError:
            return  # the validation step has warned
        levels = {f"bpd_level/{level}": float(value) for level, value in enumerate(bits)}
        pl_module.log_dict(levels, batch_size=len(images), rank_zero_only=True)
