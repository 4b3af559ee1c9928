"""Initialisation of data-dependent parameters before the first step of a flow."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from glow_app.data import first_examples
from glow_app.seeding import Share, step_generator
from lightning_modules.callbacks.ema import EMA
from lightning_modules.callbacks.save import BestCheckpoint
from lightning_modules.encoder_first import EncoderFirst
from lightning_modules.likelihood_module import LikelihoodModule


class InitializeActNorm(Callback):
    """Runs the first training examples through ``model.initialize`` at the start of a run that has no weights yet.

    After the devices are set up and a checkpoint is loaded, before validation or the first step. All ranks take part
    and end with the same values; a resumed run is already initialised and unchanged. The flow of a restorer is
    initialised once more when its encoder is trained.
    """

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Initialise from :func:`~glow_app.data.first_examples`."""
        assert isinstance(pl_module, LikelihoodModule)
        if not pl_module.model.initialized:
            self._initialize(trainer, pl_module)
        elif isinstance(pl_module, EncoderFirst) and not pl_module.model.trains_flow:
            _datamodule(trainer)  # which is needed then, after hours perhaps

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Initialise the flow of a restorer once more when its encoder is trained, and begin new averages."""
        if isinstance(pl_module, EncoderFirst) and pl_module.begin_flow():
            self._initialize(trainer, pl_module)
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, BestCheckpoint):
                    callback.forget()  # an encoder alone, which restores nothing
                if isinstance(callback, EMA):
                    callback.average.n_averaged.zero_()  # type: ignore[operator] # the next update copies

    def _initialize(self, trainer: pl.Trainer, pl_module: LikelihoodModule) -> None:
        batch = first_examples(_datamodule(trainer).train_dataloader(), trainer.world_size)
        batch = pl_module.transfer_batch_to_device(batch, pl_module.device, 0)
        share = Share(trainer.global_rank, trainer.world_size)
        generator = step_generator(pl_module.seed, 0, pl_module.device, "initialize", share)
        pl_module.initialize(batch, generator)


def _datamodule(trainer: pl.Trainer) -> pl.LightningDataModule:
    datamodule: pl.LightningDataModule | None = trainer.datamodule  # type: ignore[attr-defined]
    if datamodule is None:
        raise ValueError("the actnorms need a first batch: train on a data module, or call model.initialize")
    return datamodule
