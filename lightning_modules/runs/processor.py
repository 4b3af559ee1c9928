"""The processor: whether it has bfloat16, how long threads wait for it, and numbers that take it too long."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

TASKS = Path("/proc/self/task")
CPUINFO = Path("/proc/cpuinfo")
# As the kernel names them on x86, and on Arm.
BFLOAT16 = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}


def has_bfloat16() -> bool | None:
    """Return whether this processor has instructions for bfloat16; None where the system does not say."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return None
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), None)
    return None if flags is None else not BFLOAT16.isdisjoint(flags.split())


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Let this thread, and the workers that torch starts from it meanwhile, take numbers below 1e-38 for 0.

    Such numbers, old moments for example, can take a processor a hundred times as long as others.

    Undone for this thread afterwards, as it is a mode of the processor: other code that runs in it, such as
    hypothesis, counts on IEEE 754 to the last bit.
    """
    flushed_before = sys.float_info.min / 2 == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed_before)


class Crowding:
    """Measures how long threads wait for a processor, since its creation or the last :meth:`restart`; Linux only."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin anew."""
        self._start, self._delays = time.perf_counter(), run_delays()

    def waits(self) -> list[float]:
        """Return the share of the time in which each thread could have run and did not; none where nobody knows."""
        seconds = max(time.perf_counter() - self._start, 1e-9)
        return [(delay - self._delays.get(name, delay)) / seconds for name, delay in run_delays().items()]


def run_delays() -> dict[str, float]:
    """Return the seconds that each thread of this process has waited for a processor, by its number."""
    delays = {}
    for task in TASKS.glob("*/schedstat"):
        try:
            _, delay, _ = task.read_text().split()
        except (OSError, ValueError):  # it has just ended, or the kernel does not count
            continue
        delays[task.parent.name] = int(delay) / 1e9
    return delays
