"""Trains the same models on the same global batches by one process and by two, and writes what each ended with.

`ranks.py FOLDER` forks the three processes.
"""

import os
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from scripts import fork

from glow_app.bijections import principal_directions
from glow_app.conditioning import AttributeConditioning, ClassConditioning
from glow_app.data.sources import attribute_kinds
from glow_app.flows import Glow, WaveletFlow
from glow_app.priors import GaussianPrior
from glow_app.restoration import PictureConditioning, Upscale
from glow_app.running import Memory
from lightning_modules.callbacks import EMA, NonFiniteGuard
from lightning_modules.image_data import ImageDataModule
from lightning_modules.image_module import ImageModule
from lightning_modules.restoration import RestorationModule

GLOBAL_BATCH = 16
NUM_STEPS = 10
# Memory mode, precision, and number of accumulated batches.
CASES: list[tuple[Memory, str, int]] = [("store", "64-true", 2), ("checkpoint", "bf16-mixed", 1)]
NUM_VALIDATION = 139


class KeepInitial(Callback):
    """Keeps the weights as the initialisation left them."""

    def __init__(self) -> None:
        self.initial: dict[str, torch.Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.initial = {name: tensor.clone() for name, tensor in pl_module.state_dict().items()}


def train(
    memory: Memory,
    precision: Any,
    accumulate: int,
    world_size: int,
    folder: Path,
    cls: type[ImageModule | RestorationModule] = ImageModule,
    has_wavelets: bool = False,
) -> dict[str, Any]:
    torch.manual_seed(0)
    restores = cls is RestorationModule
    options: dict[str, Any] = {"conditioning": ClassConditioning(10)}
    if restores:
        options = {"conditioning": PictureConditioning(Upscale(), 4, 2), "prior": partial(GaussianPrior, rank=2)}
        principal_directions.EXAMPLES_PER_DIRECTION = 4
    if has_wavelets:
        options = {"conditioning": AttributeConditioning(dict(attribute_kinds("faces", None, True)))}
    sizes: dict[str, Any] = {"detail_steps": [2], "detail_channels": 6, "detail_features": 6, "detail_blocks": 1}
    sizes |= {"window": 3, "images_per_window": 2}  # of 4x4 details of every second image
    flow: Any = (
        WaveletFlow((1, 8, 8), 1, 2, 8, **sizes, **options) if has_wavelets else Glow((1, 8, 8), 2, 2, 8, **options)
    )
    # The encoder of a restorer has three tenths of the rate.
    optimizer = partial(torch.optim.Adam, lr=3e-3 if restores else 1e-3)
    contrast: dict[str, Any] = {"contrast": 10.0} if has_wavelets else {}
    module = cls(flow, num_bits=4, optimizer=optimizer, seed=5, memory=memory, **contrast)
    # An odd number of validation images: the second of two ranks has one less, and the last batches are partial.
    of_data: dict[str, Any] = {"source": "faces", "count": 300, "attributes": True} if has_wavelets else {}
    data = ImageDataModule(
        batch_size=GLOBAL_BATCH // world_size // accumulate,
        eval_batch_size=GLOBAL_BATCH // world_size,
        limit=NUM_VALIDATION,
        seed=5,
        **of_data,
    )
    keep = KeepInitial()
    trainer = pl.Trainer(
        max_steps=16 if restores else NUM_STEPS,  # a restorer to the end of an epoch, for its validation
        max_epochs=10,
        accelerator="cpu",
        devices=world_size,
        strategy="ddp" if world_size > 1 else "auto",
        precision=precision,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=100.0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[NonFiniteGuard(), keep, EMA()],
    )
    trainer.fit(module, data)
    (metrics,) = trainer.validate(module, data, verbose=False)
    return {
        "initial": keep.initial,
        "weights": module.state_dict(),
        "bpd": metrics["val/bpd"],
        "num_validation": len(data.examples("validation")),
    }


class PoisonsOneRank(ImageModule):
    """On the second rank alone, a loss is not finite."""

    def loss(self, batch: Any, generator: torch.Generator) -> torch.Tensor:
        losses = super().loss(batch, generator)
        return losses * float("nan") if self.global_step == 3 and self.global_rank == 1 else losses


def train_all(folder: Path, world_size: int, rank: int) -> None:
    """Train as one rank, on the addresses of torchrun's environment if it is not the only one."""
    if world_size > 1:
        ranks = {"WORLD_SIZE": world_size, "RANK": rank, "LOCAL_RANK": rank}
        os.environ |= {"TORCHELASTIC_RUN_ID": "ranks", **{name: str(value) for name, value in ranks.items()}}
    found: dict[Any, dict[str, Any]] = {}
    for memory, precision, accumulate in CASES:
        found[memory, precision, accumulate] = train(memory, precision, accumulate, world_size, folder)
    found["wavelets"] = train("store", "64-true", 1, world_size, folder, has_wavelets=True)
    found["restorer"] = train("checkpoint", "32-true", 1, world_size, folder, RestorationModule)
    if world_size > 1:
        found["poisoned"] = train("store", "64-true", 2, world_size, folder, PoisonsOneRank)
    torch.save(found, folder / f"rank{rank}of{world_size}.pt")


def main() -> None:
    torch.set_num_threads(1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    for world_size, rank in ((1, 0), (2, 0), (2, 1)):
        fork(train_all, Path(sys.argv[1]), world_size, rank)
    statuses = [os.wait()[1] for _ in range(3)]
    sys.exit(any(statuses))


if __name__ == "__main__":
    main()
