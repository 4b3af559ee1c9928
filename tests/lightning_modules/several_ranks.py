"""Runs a script in several processes, and compares what they end with."""

import os
import subprocess
import sys
from pathlib import Path

from torch import Tensor

REPOSITORY = Path(__file__).parents[2]

State = dict[str, Tensor]


def torchrun(script: str, num_ranks: int, folder: Path) -> None:
    """Run a script of this folder, which is given ``folder``, with gloo on the CPU."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={num_ranks}"]
    command = [*launcher, str(Path(__file__).parent / script), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]


def distance(a: State, b: State) -> float:
    """Return the largest difference of two sets of tensors."""
    assert a.keys() == b.keys()
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)
