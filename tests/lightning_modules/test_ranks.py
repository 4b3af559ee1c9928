"""Several processes; what they must agree on in detail is tested with distributed training."""

import copy
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch.nn import Parameter
from torch.optim import Adamax, Optimizer

from glow_app.checkpoint import read_checkpoint
from glow_app.flows import Glow
from lightning_modules.density import DensityModule

REPOSITORY = Path(__file__).parents[2]


def test_a_copy_shares_factories_that_cannot_be_copied() -> None:
    class Factory:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __call__(self, parameters: Iterable[Parameter]) -> Optimizer:
            return Adamax(parameters)

    module = DensityModule(Glow((1, 4, 4), 1, 1, 4))
    module.optimizer = Factory()
    twin = copy.deepcopy(module)
    assert twin.optimizer is module.optimizer
    weights, copied = module.state_dict(), twin.state_dict()
    assert all(torch.equal(weights[name], copied[name]) for name in weights)
    assert not {p.data_ptr() for p in module.parameters()} & {p.data_ptr() for p in twin.parameters()}


@pytest.mark.slow
def test_two_processes_train_one_run(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "glow_app.cli", "fit", f"--config={REPOSITORY / 'configs/digits.yaml'}",
        "--trainer.devices=2", "--trainer.accelerator=cpu", "--trainer.strategy=ddp", "--trainer.max_epochs=2",
        "--trainer.check_val_every_n_epoch=1", "--model.flow.num_steps=2", f"--run_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run folder") == 1
    # 1,437 images, halved, in batches of 64: 11 steps an epoch and rank.
    assert read_checkpoint(tmp_path / "run" / "last.ckpt")["global_step"] == 22
