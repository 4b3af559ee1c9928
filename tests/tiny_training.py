"""Training runs of a few seconds, through Lightning's Python API."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from glow_app.bijections import Bijection
from glow_app.conditioning import ClassConditioning
from glow_app.flows import Glow
from glow_app.priors import GaussianPrior
from glow_app.restoration import PictureConditioning, Upscale
from lightning_modules.image_data import ImageDataModule
from lightning_modules.image_module import ImageModule
from lightning_modules.restoration import RestorationModule

State = dict[str, Tensor]

# Options of ``glow fit`` for a run of a few seconds.
TINY_FIT = [
    f"--config={Path(__file__).parents[1] / 'configs/digits.yaml'}",
    "--flow.num_steps=1",
    "--flow.hidden_channels=4",
    "--data.limit=128",
    "--trainer.check_val_every_n_epoch=1",
]


def tiny_module(
    cls: Callable[..., ImageModule] = ImageModule, num_classes: int | None = None, **options: Any
) -> ImageModule:
    """Return the same untrained module every time."""
    torch.manual_seed(0)
    conditioning = None if num_classes is None else ClassConditioning(num_classes)
    return cls(Glow((1, 8, 8), 2, 1, 8, conditioning=conditioning), **{"num_bits": 4, "seed": 5, **options})


def tiny_restoration_module(prior: Callable[..., Bijection] = GaussianPrior, **options: Any) -> RestorationModule:
    """Return the same untrained module of a restoration model every time."""
    torch.manual_seed(0)
    flow = Glow((1, 8, 8), 2, 1, 8, prior=prior, conditioning=PictureConditioning(Upscale(), 4, 2))
    return RestorationModule(flow, seed=5, **options)


def tiny_data(**options: Any) -> ImageDataModule:
    """Return data with four training batches of 16 digits; the last validation batch is smaller."""
    return ImageDataModule(**{"batch_size": 16, "limit": 70, "seed": 5, **options})


def tiny_trainer(folder: Path, callbacks: Sequence[Callback] = (), **options: Any) -> pl.Trainer:
    settings: dict[str, Any] = {"max_epochs": 2, "accelerator": "cpu", "devices": 1, "num_sanity_val_steps": 0}
    settings |= {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    settings |= {"enable_model_summary": False, "default_root_dir": folder, "log_every_n_steps": 1}
    return pl.Trainer(**{**settings, **options}, callbacks=list(callbacks))


def tiny_fit(
    folder: Path,
    callbacks: Sequence[Callback] = (),
    module: Any = None,
    data: Any = None,
    ckpt_path: Path | None = None,
    **options: Any,
) -> pl.Trainer:
    """Train a module on data, by default :func:`tiny_module` on :func:`tiny_data`; return the trainer."""
    trainer = tiny_trainer(folder, callbacks, **options)
    module = tiny_module() if module is None else module
    trainer.fit(module, datamodule=tiny_data() if data is None else data, ckpt_path=ckpt_path)
    return trainer


def state_of(module: torch.nn.Module) -> State:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def same(a: State, b: State) -> bool:
    assert a.keys() == b.keys()
    return all(torch.equal(a[name], b[name]) for name in a)


class Recorder(Callback):
    """Records the weights before and after every step, and during and after every validation."""

    def __init__(self) -> None:
        self.before: list[State] = []
        self.after: list[State] = []
        self.in_validation: list[State] = []
        self.after_validation: list[State] = []

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
        self.before.append(state_of(pl_module))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.after.append(state_of(pl_module))

    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if batch_idx == 0:
            self.in_validation.append(state_of(pl_module))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.after_validation.append(state_of(pl_module))


class BatchRecorder(pl.LightningModule):
    """Records its batches; its only weight depends on their order."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[Any] = []
        self.validated: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        # Points, or images and labels.
        values = batch if isinstance(batch, Tensor) else batch[0]
        assert values.dtype == (torch.float32 if values is batch else torch.uint8)
        self.seen.append(values.flatten().tolist())
        return (self.weight - values.float().mean()) ** 2

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.validated.append((batch if isinstance(batch, Tensor) else batch[0]).flatten().tolist())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def record_batches(
    folder: Path, data: pl.LightningDataModule, ckpt_path: Path | None = None, **options: Any
) -> BatchRecorder:
    """Train for three epochs, and return the module with its recorded batches."""
    settings: dict[str, Any] = {"max_epochs": 3, "logger": False, "accelerator": "cpu", "enable_progress_bar": False}
    settings |= {"enable_model_summary": False, "default_root_dir": folder, "enable_checkpointing": False}
    model = BatchRecorder()
    pl.Trainer(**settings | options).fit(model, datamodule=data, ckpt_path=ckpt_path)
    return model


def repeatable_rows(run: Path) -> list[dict[str, str]]:
    """Return the log of a run without the columns that depend on the machine."""
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{name: row[name] for name in row if name not in ("images_per_second", "loading")} for row in rows]
