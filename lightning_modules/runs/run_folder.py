"""The folder of a run: shared by its processes, and used by no other run."""

import fcntl
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pytorch_lightning.utilities.rank_zero import rank_zero_only

from glow_app.files import require_folder
from glow_app.storage.stored_model import RUN_CONFIG
from lightning_modules.runs.checkpoints import LAST
from lightning_modules.runs.loggers import METRICS

SHARED = "GLOW_RUN_DIR"  # variable by which the first process tells its choice to those that it starts
LOCK = ".lock"

_held = ExitStack()  # the folder of the run in this process


def choose_run_dir(name: str, run_dir: str | None) -> str:
    """Return ``run_dir``, or a new folder with ``name`` in its path, for all processes of a launcher the same."""
    if "LOCAL_RANK" in os.environ and SHARED in os.environ:
        return os.environ[SHARED]  # chosen by the process that started this rank
    if run_dir is None:
        job = os.environ.get("SLURM_JOB_ID") if "SLURM_STEP_ID" in os.environ else None  # only srun sets the latter
        job = os.environ.get("TORCHELASTIC_RUN_ID", job)
        run_dir = f"runs/{name}/{job or time.strftime('%Y%m%d-%H%M%S')}"
    os.environ[SHARED] = run_dir
    return run_dir


@rank_zero_only
def prepare_run_dir(run_dir: Path, resumed: Path | None, begin_anew: bool) -> None:
    """Create and lock a run's folder; remove incomplete checkpoints that a killed run left. First rank only.

    The run loads the checkpoint ``resumed``, if any. With ``begin_anew``, a run that left no checkpoint may be
    restarted, which replaces its log.

    Raises:
        FileExistsError: If the folder contains another run, another process is training there, or it is a file.
        UsageError: If its name is that of a file.
    """
    require_folder(run_dir)
    _held.enter_context(_locked(run_dir))
    is_continued = resumed is not None and resumed.parent.resolve() == run_dir.resolve()
    if is_continued or begin_anew:
        for incomplete in run_dir.glob(".*.ckpt*"):
            incomplete.unlink(missing_ok=True)
    else:
        refuse_earlier_run(run_dir)


def refuse_earlier_run(run_dir: Path) -> None:
    """Raise FileExistsError if the folder contains a run."""
    if (run_dir / METRICS).exists() or (run_dir / LAST).exists():
        raise FileExistsError(
            f"{run_dir} contains an earlier run; resume it with --resume {run_dir}, or choose another --run_dir"
        )


def release_run_dir() -> None:
    """Unlock the folder of the run in this process; if the run did not begin, remove what was created and is empty."""
    os.environ.pop(SHARED, None)  # otherwise a later run in this process would use the same folder
    _held.close()


@contextmanager
def _locked(run_dir: Path) -> Iterator[None]:
    removable = [run_dir, *(folder for folder in run_dir.resolve().parents if not folder.exists())]
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / LOCK).open("a") as file:  # the system unlocks it when the process ends, even if it is killed
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileExistsError(f"another process is training in {run_dir}; wait for it, or stop it first") from None
        except OSError as error:
            warnings.warn(f"{run_dir} cannot be locked ({error}); make sure that no other run uses it", stacklevel=2)
        yield
        (run_dir / LOCK).unlink(missing_ok=True)
    if not (run_dir / METRICS).exists() and not any(run_dir.glob("*.ckpt")):
        (run_dir / RUN_CONFIG).unlink(missing_ok=True)
    with suppress(OSError):  # not empty
        for folder in removable:
            folder.rmdir()
