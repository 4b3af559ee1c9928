"""The processes that a run has started for itself end with it."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from pytorch_lightning.utilities import rank_zero_only

__all__ = ["end_others", "ends_together"]

_AGAIN = 0.1  # seconds


def end_others(trainer: pl.Trainer) -> None:
    """End the processes that this one has started for a trainer."""
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        # They may wait for this process in a collective, where SIGTERM does not reach them.
        launcher.kill(signal.SIGKILL)


@contextmanager
def ends_together(trainer: pl.Trainer) -> Iterator[None]:
    """Let SIGTERM end them too, until the trainer runs and has a handler of its own."""
    num_others = _num_others(trainer)

    def end(number: int, frame: object) -> None:
        if trainer.received_sigterm:
            return  # the trainer's handler, which calls the one before it, has seen to it
        if len(getattr(trainer.strategy.launcher, "procs", ())) < num_others:
            # One that is just being started is on no list yet, and would be left over: ask again.
            threading.Timer(_AGAIN, os.kill, (os.getpid(), number)).start()
            return
        end_others(trainer)
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
