"""Stopping a run: signals, processes, and the exit code of the command."""

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

from lightning_modules.runs.checkpoints import LAST

_HANGUP, _REQUEUE = (getattr(signal, name, None) for name in ("SIGHUP", "SIGUSR1"))  # not on Windows


class RunStopped(Exception):
    """Signal ``number`` stopped a run, whose state is in the checkpoint ``saved``."""

    def __init__(self, number: int, saved: Path) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; saved {saved}")
        self.number = number


class StopSignals:
    """Records SIGTERM, SIGINT, SIGHUP and, in a SLURM job, SIGUSR1, which the training loop checks between steps.

    A second SIGINT interrupts at once, but not a second SIGTERM: launchers and service managers often send two. On
    SIGHUP, output to the closed terminal is discarded, since writing to it would fail.

    Attributes:
        received: Number of the first signal; 0 if there was none.
    """

    def __init__(self) -> None:
        self.received = 0
        self._earlier: dict[int, Any] = {}
        self._terminals: list[int] = []  # file descriptors

    def install(self) -> None:
        """Install the handlers; does nothing outside the main thread, where Python allows none."""
        if threading.current_thread() is not threading.main_thread():
            return
        numbers = [signal.SIGTERM, signal.SIGINT, *([_REQUEUE] if _REQUEUE and _slurm_job() else [])]
        if _HANGUP and signal.getsignal(_HANGUP) is not signal.SIG_IGN:  # as nohup sets it
            numbers.append(_HANGUP)
            self._terminals = [stream for stream in (1, 2) if os.isatty(stream)]  # later, a closed one is none
        self._earlier = {number: signal.signal(number, self._record) for number in numbers}

    def restore(self) -> None:
        """Restore the earlier handlers."""
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        self._earlier = {}

    def _record(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
        if number == _HANGUP:
            for stream in self._terminals:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


@contextmanager
def exit_code_of_signals(trainer: pl.Trainer, run_dir: Path) -> Iterator[None]:
    """End all processes of a failed command, print how to resume, and exit with the code of the signal received.

    Raises:
        KeyboardInterrupt: After Ctrl-C.
        SystemExit: After another signal: 128 plus its number, or 0 after SIGUSR1 in a SLURM job, which is requeued.
    """
    resume = f"resume with: glow fit --resume {run_dir}"
    try:
        yield
    except RunStopped as stopped:
        if stopped.number == signal.SIGINT:
            raise KeyboardInterrupt(resume) from stopped
        requeued = stopped.number == _REQUEUE
        if trainer.is_global_zero:
            print(f"{_requeue() if requeued else 'terminated'}; {resume}", file=sys.stderr)
        raise SystemExit(0 if requeued else 128 + stopped.number) from stopped
    except SystemExit:
        # Outside training steps, Lightning silently turns Ctrl-C into exit code 1 and SIGTERM into 0.
        if not (trainer.received_sigterm or trainer.interrupted):
            raise
    except Exception:
        if (launcher := trainer.strategy.launcher) is not None:
            # They may be waiting in a collective, where they do not handle SIGTERM.
            launcher.kill(getattr(signal, "SIGKILL", signal.SIGTERM))
        raise
    resume = resume if (run_dir / LAST).exists() else "nothing was saved yet"
    if trainer.received_sigterm:
        print(f"terminated; {resume}", file=sys.stderr)
        raise SystemExit(143)
    if trainer.interrupted:
        raise KeyboardInterrupt(resume)


def _requeue() -> str:
    """Requeue this SLURM job; return a message about it."""
    job = _slurm_job()
    if job is None or shutil.which("scontrol") is None:
        return "scontrol was not found, so the job was not requeued"
    result = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    return f"job {job} requeued" if result.returncode == 0 else f"job {job} not requeued: {result.stderr.strip()}"


def _slurm_job() -> str | None:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
