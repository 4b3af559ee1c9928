"""Parameters that are computed from training data: before the first step of a flow, and for its validation."""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from glow_app.bijections import LowRankWhitening
from glow_app.data import first_examples
from glow_app.models.image_model import ImageModel
from glow_app.priors import GaussianPrior
from lightning_modules.callbacks.ema import EMA
from lightning_modules.callbacks.save import BestCheckpoint
from lightning_modules.density import DensityModule
from lightning_modules.encoder_first import EncoderFirst
from lightning_modules.likelihood_module import LikelihoodModule

# What FitPrior reads: of the images that the flow settles on, and of all their latents (64 MiB in float32).
_SHARE = 1 / 4
_NUM_VALUES = 2**24


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

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
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
        pl_module.initialize(batch, pl_module.generator(0, "initialize"))


class FitPrior(Callback):
    """Fits the :class:`~glow_app.bijections.LowRankWhitening` of a restorer that settles, for each validation.

    It is fitted to last latents of training images, encoded by the weights that are validated: directions fitted 700
    steps earlier gave intervals of 80 % instead of 90 % (colours of CIFAR-10). Steps are trained without it, so that
    the flow does not count on it in pictures of other sizes.
    """

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse data that cannot be read a second time."""
        if _low_rank(pl_module) is not None:
            _datamodule(trainer)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Train without it; an average takes this over."""
        if (low_rank := _low_rank(pl_module)) is not None:
            low_rank.reset()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Fit the prior of the average, or of the module where there is none."""
        if trainer.state.fn != TrainerFn.FITTING or not isinstance(pl_module, DensityModule) or not pl_module.settles:
            return
        averages: list[Any] = [each.average.module for each in trainer.callbacks if isinstance(each, EMA)]  # type: ignore[attr-defined]
        evaluated = [*averages, pl_module][0]
        if (low_rank := _low_rank(evaluated)) is None:
            return
        low_rank.reset()
        latents = torch.cat(list(_last_latents(evaluated.model, trainer, pl_module)))
        # In the order of one rank that takes all.
        of_ranks: Any = pl_module.all_gather(latents)
        low_rank.fit(of_ranks.reshape(-1, *latents.shape).transpose(0, 1).flatten(0, 1))


def _low_rank(module: Any) -> LowRankWhitening | None:
    if not isinstance(module, DensityModule) or module.model.flow.encoder is None:
        return None
    prior = module.model.flow.prior
    return prior.low_rank if isinstance(prior, GaussianPrior) else None


def _last_latents(model: ImageModel, trainer: pl.Trainer, module: DensityModule) -> Iterator[Tensor]:
    """Yield the last latents of each batch of this rank."""
    generator, num_values = module.generator(0, "fit"), 0
    for batch in islice(_datamodule(trainer).train_dataloader(), math.ceil(_SHARE * module.settling_steps)):
        images, labels = module.transfer_batch_to_device(batch, module.device, 0)
        yield (latents := model.last_latent(images, labels, generator, model.condition(images, generator)))
        num_values += trainer.world_size * latents.numel()
        if num_values >= _NUM_VALUES:
            return


def _datamodule(trainer: pl.Trainer) -> pl.LightningDataModule:
    datamodule: pl.LightningDataModule | None = trainer.datamodule  # type: ignore[attr-defined]
    if datamodule is None:
        raise ValueError(
            "the actnorms need a first batch, and a prior with a rank needs training images: train on a data module, "
            "or call model.initialize, and leave the rank out"
        )
    return datamodule
