"""The folder of a run: chosen by the first process for all, and used by no other run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from pytorch_lightning.plugins.environments import SLURMEnvironment
from torch.distributed import Store, rendezvous

from glow_app.evaluation.report import CURVES, METRICS, REPORT
from glow_app.files import require_folder
from glow_app.storage.run_config import RUN_CONFIG
from lightning_modules.runs.checkpoints import LAST

SHARED = "GLOW_RUN_DIR"  # variable by which the first process gives the folder to those that it starts
LOCK = ".lock"
_INCOMPLETE = (".*.ckpt*", f".{REPORT}-*", f".{CURVES}-*")


class Launch:
    """The processes of a run, of which the first chooses the folder.

    Processes that it starts itself find the folder in the environment; those of torchrun or srun get it through the
    store by which they also meet for training.

    Attributes:
        run_dir: None in the first process; in all others the folder, once the first has called :meth:`share`.
        begins_anew: Whether a run that left no checkpoint in the folder may be restarted.
    """

    def __init__(self, begins_anew: bool = False) -> None:
        self.begins_anew = begins_anew
        self.run_dir = os.environ.get(SHARED) if os.environ.get("LOCAL_RANK", "0") != "0" else None
        self._store: Store | None = None
        if self.run_dir is None and (address := _meeting_place()) is not None:
            self._store, rank, _ = next(rendezvous(address))
            if rank > 0:
                self.run_dir = self._store.get(SHARED).decode()

    def share(self, run_dir: str) -> None:
        """Give the folder, which contains the configuration by now, to the other processes."""
        os.environ[SHARED] = run_dir
        if self._store is not None:
            self._store.set(SHARED, run_dir)


def launched_processes() -> tuple[int, int]:
    """Return the numbers of machines, and of processes on each, that torchrun or SLURM started; (1, 1) without them."""
    if "RANK" in os.environ and "LOCAL_WORLD_SIZE" in os.environ:
        total, on_each = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
        return total // on_each, on_each
    if SLURMEnvironment.detect():
        machines = int(os.environ.get("SLURM_NNODES", 1))
        return machines, SLURMEnvironment(auto_requeue=False).world_size() // machines
    return 1, 1


def _meeting_place() -> str | None:
    """Return the address at which processes of a launcher meet; None if there is only one process."""
    if "RANK" in os.environ and "MASTER_ADDR" in os.environ:  # torchrun
        return "env://" if int(os.environ.get("WORLD_SIZE", 1)) > 1 else None
    if SLURMEnvironment.detect() and (slurm := SLURMEnvironment(auto_requeue=False)).world_size() > 1:
        query = f"rank={slurm.global_rank()}&world_size={slurm.world_size()}"
        return f"tcp://{slurm.main_address}:{slurm.main_port}?{query}"
    return None


@contextmanager
def locked_run_dir(run_dir: Path, resumed: Path | None, begin_anew: bool) -> Iterator[None]:
    """Create and lock a run's folder; remove incomplete files that a killed run left. First process only.

    The run loads the checkpoint ``resumed``, if any. With ``begin_anew``, a run that left no checkpoint may be
    restarted, which replaces its log. What was created is removed at the end if the run did not begin.

    Raises:
        FileExistsError: If the folder contains another run, another process is training there, or it is a file.
        UsageError: If its name is that of a file.
    """
    require_folder(run_dir)
    removable = [run_dir, *(folder for folder in run_dir.resolve().parents if not folder.exists())]
    run_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run_dir / LOCK)  # the system unlocks it when the process ends, even if it is killed
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise FileExistsError(f"another process is training in {run_dir}; wait for it, or stop it first") from None
    try:
        if begin_anew or (resumed is not None and resumed.parent.resolve() == run_dir.resolve()):
            for incomplete in (path for name in _INCOMPLETE for path in run_dir.glob(name)):
                incomplete.unlink(missing_ok=True)
        else:
            refuse_earlier_run(run_dir)
        yield
    finally:
        os.environ.pop(SHARED, None)  # otherwise a later run in this process would use the same folder
        if not (run_dir / METRICS).exists() and not any(run_dir.glob("*.ckpt")):
            (run_dir / RUN_CONFIG).unlink(missing_ok=True)
        with suppress(OSError):  # Windows removes no open file
            (run_dir / LOCK).unlink()
        lock.release()
        with suppress(OSError):  # not empty
            for folder in removable:
                folder.rmdir()


def refuse_earlier_run(run_dir: Path) -> None:
    """Raise FileExistsError if the folder contains a run."""
    if (run_dir / METRICS).exists() or (run_dir / LAST).exists():
        raise FileExistsError(
            f"{run_dir} contains an earlier run; resume it with --resume {run_dir}, or choose another --run_dir"
        )
