"""Signals that ask a run to stop."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["RunStopped", "StopSignals", "requeue"]


class RunStopped(Exception):
    """A signal ended a run, which was saved before.

    Args:
        number: The signal's.
        saved: The checkpoint that was written.
    """

    def __init__(self, number: int, saved: Path) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; saved {saved}")
        self.number = number
        self.saved = saved


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
        """Begin to listen; main thread only."""
        numbers = [signal.SIGTERM, signal.SIGINT, *([signal.SIGUSR1] if _job() else [])]
        self.received = 0
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


def requeue() -> str:
    """Put this SLURM job back into the queue; return what to tell of it."""
    job = _job()
    if job is None or shutil.which("scontrol") is None:
        return "there is no scontrol here, so the job was not requeued"
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    return f"job {job} requeued" if done.returncode == 0 else f"job {job} not requeued: {done.stderr.strip()}"


def _job() -> str | None:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
