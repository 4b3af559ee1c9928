"""What a launcher outside this project, torchrun or SLURM, says of the processes that it started."""

import os
from typing import NamedTuple

from glow_app.messages import UsageError


class World(NamedTuple):
    """Processes on each machine, and machines."""

    devices: int
    num_nodes: int


def launched_world() -> World | None:
    """Return how many processes were started, or None where this one was started alone."""
    if "SLURM_STEP_ID" in os.environ:  # by srun, and not only inside an allocation
        nodes = _number("SLURM_NNODES")
        return World(_number("SLURM_NTASKS") // nodes, nodes)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        local, world = _number("LOCAL_WORLD_SIZE"), _number("WORLD_SIZE")
        return World(local, world // local)
    return None


def common_name() -> str | None:
    """Return what names the job to all its processes, or None where this one was started alone.

    Raises:
        UsageError: If there are several, and nothing does.
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
