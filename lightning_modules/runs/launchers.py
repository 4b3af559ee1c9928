"""Number and job of the processes that an external launcher, torchrun or SLURM, has started."""

import os
from typing import NamedTuple

from glow_app.messages import UsageError


class World(NamedTuple):
    """Processes per machine, and number of machines."""

    devices: int
    num_nodes: int


def launched_world() -> World | None:
    """Return the number of processes that a launcher has started; None without a launcher."""
    if "SLURM_STEP_ID" in os.environ:  # set by srun; the other variables are also set in an allocation without it
        nodes = _number("SLURM_NNODES")
        return World(_number("SLURM_NTASKS") // nodes, nodes)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        local, world = _number("LOCAL_WORLD_SIZE"), _number("WORLD_SIZE")
        return World(local, world // local)
    return None


def common_name() -> str | None:
    """Return a name of the job that all its processes know; None for a single process.

    Raises:
        UsageError: If torchrun has started several processes without an id.
    """
    world = launched_world()
    if world is None or world.devices * world.num_nodes == 1:
        return None
    if "SLURM_JOB_ID" in os.environ:
        return f"slurm-{os.environ['SLURM_JOB_ID']}"
    if (job := os.environ["TORCHELASTIC_RUN_ID"]) == "none":
        raise UsageError("several processes need a folder in common: give --run_dir, or torchrun a --rdzv-id")
    return job


def _number(name: str) -> int:
    return int(os.environ.get(name, 1))
