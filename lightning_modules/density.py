"""The training module: an image model, an optimiser, a schedule."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from glow_app import __version__
from glow_app.checkpoint import CHECKPOINT_KEY
from glow_app.flows import Glow
from glow_app.model import ImageModel
from glow_app.seeding import step_generator
from lightning_modules.data import ImageDataModule
from lightning_modules.schedules import LinearWarmupCosine

__all__ = ["DensityModule"]

Batch = tuple[Tensor, Tensor]


class DensityModule(pl.LightningModule):
    r"""Maximum likelihood: minimises the bits/dim of one dequantisation draw.

    Every random number is a function of the seed, the epoch, the batch and the rank, so a resumed run equals an
    uninterrupted one.

    Args:
        flow: The flow to train.
        num_bits: High bits of the images that are modelled, 1 to 8.
        optimizer: Called with the parameters.
        lr_scheduler: Called with the optimiser and the number of steps of the whole run; stepped every step.
        seed: Of the dequantisation noise.
        num_draws: Dequantisation draws of ``validate`` and ``test``; 1 gives the number of the literature.
    Shape:
        A batch is images, uint8 (B, C, H, W), and labels, int64 (B,), which an unconditional flow ignores.
    """

    def __init__(
        self,
        flow: Glow,
        num_bits: int = 8,
        optimizer: Callable[[Iterable[Parameter]], Optimizer] = torch.optim.Adamax,
        lr_scheduler: Callable[[Optimizer, float], LRScheduler] = LinearWarmupCosine,
        seed: int = 0,
        num_draws: int = 1,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = ImageModel(flow, num_bits)
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.seed = seed
        self.num_draws = num_draws

    def setup(self, stage: str) -> None:
        """Refuse data whose classes are not the model's.

        Raises:
            ValueError: If the numbers of classes differ.
        """
        data, expected = getattr(self.trainer, "datamodule", None), self.model.flow.num_classes
        if stage != "fit" or expected is None or not isinstance(data, ImageDataModule):
            return
        if data.num_classes != expected:
            found = ", ".join(data.class_names[:10]) or "none in a flat folder"
            raise ValueError(
                f"model.flow.num_classes is {expected}, but the images have {data.num_classes} classes ({found})"
            )

    def forward(self, images: Tensor, labels: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Return bits/dim of each image, (B,)."""
        return self.model(images, labels, generator)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the mean bits/dim of the batch."""
        generator = self._generator(batch_idx, f"train-{self.current_epoch}")
        loss = self(*batch, generator).mean()
        self.log("train/bpd", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the bits/dim of the batch, with the same noise in every epoch."""
        self._evaluate(batch, batch_idx, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the bits/dim of the batch."""
        self._evaluate(batch, batch_idx, "test")

    def configure_optimizers(self) -> Any:
        """Return the optimiser and its schedule, counted in steps."""
        optimizer = self.optimizer(self.parameters())
        scheduler = self.lr_scheduler(optimizer, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "lr"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave what ``--checkpoint`` needs to rebuild the model, and nothing that needs unpickling of code."""
        metrics = {name: float(value) for name, value in self.trainer.callback_metrics.items() if "/" in name}
        checkpoint[CHECKPOINT_KEY] = {"model": self.model.config, "training": {"version": __version__, **metrics}}
        hyper_parameters = checkpoint.get(self.CHECKPOINT_HYPER_PARAMS_KEY, {})
        if isinstance(hyper_parameters.get("flow"), torch.nn.Module):
            # Built in Python and not from a config: only the command line's plain form can be stored safely.
            del checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY]

    def __deepcopy__(self, memo: dict[int, Any]) -> "DensityModule":
        # The command line's factories refer to the parser, and so to the trainer and its processes, which cannot be
        # copied; the copy that is averaged needs none of its own.
        memo |= {id(factory): factory for factory in (self.optimizer, self.lr_scheduler)}
        copy = type(self).__new__(type(self))
        copy.__dict__ = deepcopy(self.__getstate__(), memo)
        return copy

    def _evaluate(self, batch: Batch, batch_idx: int, stage: str) -> None:
        images, labels = batch
        bits_per_dim = self.model.bits_per_dim(images, labels, self.num_draws, self._generator(batch_idx, stage))
        self.log(f"{stage}/bpd", bits_per_dim.mean(), prog_bar=True, batch_size=len(images), sync_dist=True)

    def _generator(self, step: int, stream: str) -> torch.Generator:
        return step_generator(self.seed, step, self.global_rank, self.device, stream)
