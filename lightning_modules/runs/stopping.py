"""How a run stops: the signals that ask for it, the processes that end with it, the exit code of the command."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from pytorch_lightning.utilities import rank_zero_only

from lightning_modules.runs.recovery import LAST

_AGAIN = 0.1  # seconds


class RunStopped(Exception):
    """The signal ``number`` ended a run, after ``saved`` was written."""

    def __init__(self, number: int, saved: Path) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; saved {saved}")
        self.number = number


class StopSignals:
    """Notes SIGTERM, SIGINT and, in a SLURM job, SIGUSR1, for the loop to look at between two steps.

    A second SIGINT interrupts at once: a person who presses Ctrl-C twice means it. A second SIGTERM does not: launchers
    and service managers often send two.

    Attributes:
        received: Number of the signal that came first, 0 before.
    """

    def __init__(self) -> None:
        self.received = 0
        self._earlier: dict[int, Any] = {}

    def install(self) -> None:
        """Begin to listen; not in other threads than the main one, where Python allows no handler."""
        self.received = 0
        if threading.current_thread() is not threading.main_thread():
            return
        numbers = [signal.SIGTERM, signal.SIGINT, *([signal.SIGUSR1] if _job() else [])]
        self._earlier = {number: signal.signal(number, self._note) for number in numbers}

    def restore(self) -> None:
        """Give the signals back to who had them."""
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        self._earlier = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)


@contextmanager
def ends_as_asked(trainer: pl.Trainer, run_dir: Path | None) -> Iterator[None]:
    """End all processes of a command together, say how to go on, and exit as the signal that stopped it demands.

    Raises:
        KeyboardInterrupt: After Ctrl-C.
        SystemExit: After another signal: 128 and its number, or 0 for a SLURM job that is requeued.
    """
    resume = f"go on with: glow fit --resume {run_dir}"
    try:
        with ends_together(trainer):
            yield
    except RunStopped as stopped:
        if stopped.number == signal.SIGINT:
            raise KeyboardInterrupt(resume) from stopped
        requeued = stopped.number == signal.SIGUSR1
        if trainer.is_global_zero:
            print(f"{_requeue() if requeued else 'terminated'}; {resume}", file=sys.stderr)
        raise SystemExit(0 if requeued else 128 + stopped.number) from stopped
    except SystemExit:
        # Outside the steps of a fit Lightning turns Ctrl-C into exit code 1, and SIGTERM into 0, both in silence.
        if not (trainer.received_sigterm or trainer.interrupted):
            raise
    except Exception:
        _end_others(trainer)
        raise
    saved = run_dir is not None and (run_dir / LAST).exists()
    resume = resume if saved else "before there was anything to save"
    if trainer.received_sigterm:
        print(f"terminated; {resume}", file=sys.stderr)
        raise SystemExit(143)
    if trainer.interrupted:
        raise KeyboardInterrupt(resume)


@contextmanager
def ends_together(trainer: pl.Trainer) -> Iterator[None]:
    """Let SIGTERM end the processes of this run too, until the trainer runs and has a handler of its own."""
    num_others = _num_others(trainer)

    def end(number: int, frame: object) -> None:
        if trainer.received_sigterm:
            return  # the trainer's handler, which calls the one before it, has seen to it
        if len(getattr(trainer.strategy.launcher, "procs", ())) < num_others:
            # One that is just being started is on no list yet, and would be left over: ask again.
            threading.Timer(_AGAIN, os.kill, (os.getpid(), number)).start()
            return
        _end_others(trainer)
        if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            print("terminated; before the training began", file=sys.stderr, flush=True)
        # Not an exception, for which Lightning would wait for the others at a barrier.
        os._exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _num_others(trainer: pl.Trainer) -> int:
    launcher = trainer.strategy.launcher
    if not isinstance(launcher, _SubprocessScriptLauncher) or launcher.cluster_environment.creates_processes_externally:
        return 0
    return launcher.num_processes - 1


def _end_others(trainer: pl.Trainer) -> None:
    """End the processes that this one has started for a trainer."""
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        # They may wait for this process in a collective, where SIGTERM does not reach them.
        launcher.kill(signal.SIGKILL)


def _requeue() -> str:
    """Put this SLURM job back into the queue; return a message about it."""
    job = _job()
    if job is None or shutil.which("scontrol") is None:
        return "there is no scontrol here, so the job was not requeued"
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    return f"job {job} requeued" if done.returncode == 0 else f"job {job} not requeued: {done.stderr.strip()}"


def _job() -> str | None:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
