"""Training in a process that does other things too, and on a system that is not Unix."""

import logging
import subprocess
import sys
import warnings
from pathlib import Path

import torch
from registry import random_images
from tiny_training import TINY_FIT

import glow_app
from glow_app.pictures.image_batch import Images

SMALL = {
    "trainer.max_steps": 1,
    "flow.num_levels": 2,
    "flow.num_steps": 1,
    "flow.hidden_channels": 4,
    "flow.detail_channels": 4,
    "flow.detail_features": 4,
    "flow.detail_blocks": 1,
    "samples.num_images": 1,
}


def test_a_call_of_train_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    def state() -> tuple[object, ...]:
        levels = [logging.getLogger(name).level for name in ("pytorch_lightning", "lightning_fabric")]
        return warnings.formatwarning, list(warnings.filters), levels, float(torch.tensor(1e-39).mul(1))

    folder = Images(random_images(30, (3, 16, 16))).save(tmp_path / "few")
    before = state()
    model = glow_app.train(folder, size=16, device="cpu", from_scratch=True, **SMALL)
    assert model.flow.image_shape == (3, 16, 16)
    assert state() == before


# In an interpreter of its own, since modules would be imported twice in that of the tests.
WITHOUT_UNIX = """
import signal
import sys

sys.modules.update(fcntl=None, resource=None)
del signal.SIGHUP
from glow_app.cli import main

sys.exit(main(sys.argv[1:]))
"""


def test_a_model_is_trained_without_what_only_unix_has(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_UNIX, "fit", *TINY_FIT, "--trainer.max_steps=1"]
    subprocess.run([*command, f"--run_dir={tmp_path / 'run'}"], check=True, capture_output=True)
    assert (tmp_path / "run" / "last.ckpt").exists()
