"""The time of a training step on this device, by which ``glow fit FOLDER`` chooses the number of steps."""

import time
from collections.abc import Mapping
from tempfile import TemporaryDirectory
from typing import Any

import torch

from glow_app.data.listing import FolderListing
from glow_app.data.splits import Split, SplitFractions
from lightning_modules.glow_cli import built


def measure_step(arguments: list[str], parts: Mapping[Split, FolderListing]) -> tuple[float, int, int]:
    """Return the mean seconds of an optimiser step, and the numbers of batches and steps in an epoch."""
    with TemporaryDirectory() as scratch, built("fit", [*arguments, f"--run_dir={scratch}/run"]) as cli:
        options, trainer = cli.datamodule.hparams, cli.trainer
        size = max(1, options["batch_size"])
        cut = SplitFractions(**{name: options[name] for name in ("seed", "validation_fraction", "test_fraction")})
        num_images = len(cut.rows(parts["train"].names, "train", parts)[: options["limit"]])
        batches = max(1, num_images // (size * trainer.world_size))
        steps = -(-batches // trainer.accumulate_grad_batches)
        return _step_seconds(cli.model, trainer, size) * batches / steps, batches, steps


def _step_seconds(module: Any, trainer: Any, size: int) -> float:
    """Return the seconds of a training step on random images, the second of two."""
    device = trainer.strategy.root_device
    model = trainer.precision_plugin.convert_module(module.to(device)).model
    images = torch.randint(0, 256, (size, *model.flow.image_shape), dtype=torch.uint8, device=device)
    given = model.conditioning.observe(images, torch.zeros(size, dtype=torch.long, device=device))
    model.initialize(images, given)
    optimizer = module.optimizer(model.parameters())
    seconds = 0.0
    for _ in range(2):
        start = time.perf_counter()
        with trainer.precision_plugin.train_step_context():
            loss = model(images, given).mean()
        loss.backward()
        optimizer.step()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        seconds = time.perf_counter() - start
    return seconds
