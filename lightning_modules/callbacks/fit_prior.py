"""The low-rank part of a restorer's prior, fitted to its latents."""

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
from glow_app.models.image_model import ImageModel
from glow_app.priors import GaussianPrior
from glow_app.seeding import Share, step_generator
from lightning_modules.callbacks.ema import EMA
from lightning_modules.density import DensityModule

# Of the images that the flow settles on: cheap beside the steps, since no gradients are computed.
_SHARE = 1 / 4
_NUM_VALUES = 2**24  # of all latents together: 64 MiB


class FitPrior(Callback):
    """Fits the :class:`~glow_app.bijections.LowRankWhitening` of a flow that settles, before each validation.

    It is fitted to last latents of training images, encoded by the weights that are validated: of colours of CIFAR-10,
    directions of 700 steps before gave intervals of 80 % instead of 90 %.
    """

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Fit the prior of the average, or of the module where there is none, and copy it to the other."""
        if trainer.state.fn != TrainerFn.FITTING or not isinstance(pl_module, DensityModule) or not pl_module.settles:
            return
        averages: list[Any] = [each.average.module for each in trainer.callbacks if isinstance(each, EMA)]  # type: ignore[attr-defined]
        models = [module.model for module in (*averages, pl_module)]
        low_rank, *copies = map(_low_rank, models)
        if low_rank is None:
            return
        latents = torch.cat(list(_latents(models[0], trainer, pl_module)))
        of_all_ranks: Any = pl_module.all_gather(latents)
        low_rank.fit(low_rank.inverse(of_all_ranks.reshape(-1, *latents.shape[1:]))[0])
        for copy in filter(None, copies):
            copy.load_state_dict(low_rank.state_dict())


def _low_rank(model: ImageModel) -> LowRankWhitening | None:
    prior = model.flow.prior
    return prior.low_rank if isinstance(prior, GaussianPrior) else None


def _latents(model: ImageModel, trainer: pl.Trainer, module: DensityModule) -> Iterator[Tensor]:
    """Yield the last latents of each batch of this rank."""
    generator = step_generator(module.seed, 0, module.device, "fit", Share(trainer.global_rank, trainer.world_size))
    loader = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
    num_values = 0
    for images, labels in islice(loader, math.ceil(_SHARE * module.settling_steps)):
        images = images.to(module.device)
        latents = model.encode(images, labels, model.condition(images, generator))[-1]
        yield latents
        num_values += trainer.world_size * latents.numel()
        if num_values >= _NUM_VALUES:
            return
