"""Training on a GPU."""

from pathlib import Path
from typing import Any

import torch
from gpu_device import DEVICE, IS_CUDA, on_gpu
from tiny_training import same, state_of, tiny_fit, tiny_module
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

pytestmark = on_gpu


def test_training_resumes(tmp_path: Path) -> None:
    options: dict[str, Any] = {"accelerator": "gpu" if IS_CUDA else DEVICE.type}

    def constant(optimizer: Optimizer, total_steps: float) -> LambdaLR:
        return LambdaLR(optimizer, lambda step: 1.0)  # whatever the length of a run

    whole, first, second = (tiny_module(lr_scheduler=constant) for _ in range(3))
    tiny_fit(tmp_path, module=whole, **options)
    trainer = tiny_fit(tmp_path, module=first, max_epochs=1, **options)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    tiny_fit(tmp_path, module=second, ckpt_path=tmp_path / "half.ckpt", **options)
    if not IS_CUDA:
        assert same(state_of(whole), state_of(second))
    for name, tensor in state_of(whole).items():  # convolutions of a GPU need not add in the same order twice
        torch.testing.assert_close(state_of(second)[name], tensor, rtol=1e-2, atol=1e-3)
