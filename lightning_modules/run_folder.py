"""The folder of a run: the same for all its processes, and never another run's."""

import os
import time
from pathlib import Path

from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lightning_modules.launchers import common_name
from lightning_modules.recovery import LAST

__all__ = ["choose_run_dir", "prepare_run_dir"]

SHARED = "GLOW_RUN_DIR"
METRICS = "metrics.csv"


def choose_run_dir(name: str, run_dir: str | None) -> str:
    """Return the run's folder.

    Args:
        name: Of the run, the first part of a folder that is not given.
        run_dir: The folder, if it is given.

    Raises:
        UsageError: If several processes were started from outside, and nothing gives them a folder in common.
    """
    if "LOCAL_RANK" in os.environ and SHARED in os.environ:
        return os.environ[SHARED]  # the process that started this one for a further rank chose it
    if run_dir is None:
        run_dir = f"runs/{name}/{common_name() or time.strftime('%Y%m%d-%H%M%S')}"
    os.environ[SHARED] = run_dir
    return run_dir


def prepare_run_dir(run_dir: Path, resumes: bool, begin_anew: bool) -> None:
    """Refuse a folder that another run has used, and clear what a killed one left half written; on the first rank only.

    Args:
        run_dir: The folder.
        resumes: Whether a checkpoint is loaded.
        begin_anew: Whether a run that left no checkpoint may begin again; its log is kept beside the new one.

    Raises:
        FileExistsError: If it holds an earlier run that is not resumed.
    """
    if getattr(rank_zero_only, "rank", 0):
        return
    if resumes or begin_anew:
        for torn in run_dir.glob(".*.ckpt*"):
            torn.unlink(missing_ok=True)
    if resumes:
        return
    log = run_dir / METRICS
    if begin_anew and log.exists():
        log.replace(log.with_name(f"metrics-{time.strftime('%Y%m%d-%H%M%S')}.csv"))
    if log.exists() or (run_dir / LAST).exists():
        raise FileExistsError(
            f"{run_dir} holds an earlier run; go on with --resume {run_dir}, or choose another --run_dir"
        )
