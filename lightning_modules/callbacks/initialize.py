"""Parameters computed from training data: actnorms before the first step, and a low-rank prior at validation."""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from glow_app.bijections import PrincipalDirections
from glow_app.data.loader import first_examples
from glow_app.models.image_model import ImageModel
from glow_app.priors import GaussianPrior
from lightning_modules.callbacks.ema import EMA
from lightning_modules.callbacks.save import BestCheckpoint
from lightning_modules.encoder_first import EncoderFirst
from lightning_modules.image_module import DensityModule
from lightning_modules.likelihood_module import LikelihoodModule

# Limits of the data that FitPrior reads: batches as a share of the settling steps, and values of latents over all ranks
# (64 MiB in float32).
_SHARE = 1 / 4
_NUM_VALUES = 2**24


class InitializeActNorm(Callback):
    """Passes the first training examples to ``model.initialize`` at the start of a new run.

    It runs after devices are set up and a checkpoint is loaded, and before validation or the first step. All ranks end
    with the same values. A resumed run is initialised already and stays unchanged. The flow of a restoration model is
    initialised again when the training of its encoder ends.
    """

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Initialise from :func:`~glow_app.data.loader.first_examples`."""
        assert isinstance(pl_module, LikelihoodModule)
        if not pl_module.model.initialized:
            self._initialize(trainer, pl_module)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """When a restoration model's encoder is trained, initialise its flow again and restart the averages."""
        if isinstance(pl_module, EncoderFirst) and pl_module.begin_flow():
            self._initialize(trainer, pl_module)
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, BestCheckpoint):
                    callback.forget()  # the best checkpoint so far has an untrained flow
                if isinstance(callback, EMA):
                    callback.average.n_averaged.zero_()  # type: ignore[operator] # the next update copies

    def _initialize(self, trainer: pl.Trainer, pl_module: LikelihoodModule) -> None:
        batch = first_examples(_datamodule(trainer).train_dataloader(), trainer.world_size)
        batch = pl_module.transfer_batch_to_device(batch, pl_module.device, 0)
        pl_module.initialize(batch, pl_module.generator(0, "initialize"))


class FitPrior(Callback):
    """Fits the :class:`~glow_app.bijections.PrincipalDirections` of a restoration model before each validation.

    It starts when the flow :attr:`~lightning_modules.encoder_first.EncoderFirst.settles`. The prior is fitted to the
    last latents of training images, encoded by the weights that are validated: directions fitted 700 steps earlier
    gave intervals of 80 % instead of 90 % (colours of CIFAR-10). Training steps run without it, so that the flow does
    not rely on it, because it is the identity for images of other sizes.
    """

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Reset the prior; averages copy this with the other buffers."""
        if (low_rank := _low_rank(pl_module)) is not None:
            low_rank.reset()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Fit the prior of the averaged model or, if there is none, of the module."""
        if trainer.state.fn != TrainerFn.FITTING or not isinstance(pl_module, DensityModule) or not pl_module.settles:
            return
        averages: list[Any] = [ema.average.module for ema in trainer.callbacks if isinstance(ema, EMA)]  # type: ignore[attr-defined]
        evaluated = [*averages, pl_module][0]
        if (low_rank := _low_rank(evaluated)) is None:
            return
        low_rank.reset()
        latents = torch.cat(list(_last_latents(evaluated.model, trainer, pl_module)))
        # In the order in which a single rank would read all examples.
        gathered: Any = pl_module.all_gather(latents)
        low_rank.fit(gathered.reshape(-1, *latents.shape).transpose(0, 1).flatten(0, 1))


def _low_rank(module: Any) -> PrincipalDirections | None:
    if not isinstance(module, DensityModule) or module.model.flow.encoder is None:
        return None
    prior = module.model.flow.prior
    return prior.low_rank if isinstance(prior, GaussianPrior) else None


def _last_latents(model: ImageModel, trainer: pl.Trainer, module: DensityModule) -> Iterator[Tensor]:
    """Yield the last latents of each batch of this rank."""
    generator, num_values = module.generator(0, "fit"), 0
    num_batches = math.ceil(_SHARE * module.settling_steps) * trainer.accumulate_grad_batches
    for batch in islice(_datamodule(trainer).train_dataloader(), num_batches):
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
