"""Train on two machines, the second of which is lost after step 14 and comes back: `python two_machines.py fit ...`.

A machine is an agent of torchrun with one process; all are forked, since importing takes longer than training.
"""

import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from multiprocessing import Event
from typing import Any

import matplotlib.figure  # noqa: F401, before the forks
import sklearn.datasets  # noqa: F401, before the forks
import torch
from scripts import fork
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import glow_app.commands.fit_spec  # noqa: F401, before the forks
from glow_app.cli import main as glow
from lightning_modules.callbacks import Throughput

REACHED = Event()


def work(arguments: list[str], is_lost: bool) -> None:
    """Train as one process."""

    def on_train_batch_end(self: Throughput, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 14:
            REACHED.set()
            threading.Event().wait()

    if is_lost:
        Throughput.on_train_batch_end = on_train_batch_end  # type: ignore[method-assign,assignment]
    if code := glow(arguments):
        raise SystemExit(code)


def machine(index: int, port: int, is_lost: bool = False) -> None:
    """Run the agent of a machine, in a process group of its own."""
    os.setpgid(0, 0)
    config = LaunchConfig(
        *(2, 2, 1),
        run_id="night",
        rdzv_backend="c10d",
        rdzv_endpoint=f"127.0.0.1:{port}",
        rdzv_configs={"is_host": index == 0},
        local_addr="127.0.0.1",
        start_method="fork",
    )
    elastic_launch(config, work)(sys.argv[1:], is_lost)


def main() -> None:
    torch.set_num_threads(1)
    # Without this variable torchrun waits in vain for the address of a store when a machine comes back.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    machines = [fork(machine, 0, port), fork(machine, 1, port, True)]
    try:
        while not REACHED.wait(0.1):
            assert os.waitpid(-1, os.WNOHANG) == (0, 0), "a machine ended too early"
        os.killpg(machines[1], signal.SIGKILL)
        os.waitpid(machines[1], 0)
        machines[1] = fork(machine, 1, port)
        for _ in machines:
            assert os.wait()[1] == 0
    finally:
        for process in machines:
            with suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)


if __name__ == "__main__":
    main()
