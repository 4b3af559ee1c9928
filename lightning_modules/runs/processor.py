"""The processor: bfloat16 instructions, contention between threads, and denormal numbers."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

TASKS = Path("/proc/self/task")
CPUINFO = Path("/proc/cpuinfo")
# Flags of the Linux kernel for x86 and Arm.
BFLOAT16 = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}


def has_bfloat16() -> bool | None:
    """Return whether this processor has instructions for bfloat16; None if the system does not tell."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return None
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), None)
    return None if flags is None else not BFLOAT16.isdisjoint(flags.split())


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Flush numbers below 1e-38 to zero in this thread and in worker threads that torch starts from it.

    Arithmetic with such numbers, for example old moments, can be a hundred times slower. The processor's mode is
    restored for this thread afterwards, because other code, such as hypothesis, relies on exact IEEE 754 arithmetic.
    """
    flushed_before = sys.float_info.min / 2 == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed_before)


class Crowding:
    """Measures how long threads wait for a processor, from creation or the last :meth:`restart`; Linux only."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Start a new measurement."""
        self._start, self._delays = time.perf_counter(), run_delays()

    def waits(self) -> list[float]:
        """Return the share of time in which each thread was runnable but not running; empty if unknown."""
        seconds = max(time.perf_counter() - self._start, 1e-9)
        return [(delay - self._delays.get(name, delay)) / seconds for name, delay in run_delays().items()]


def run_delays() -> dict[str, float]:
    """Return the seconds that each thread of this process has waited for a processor, by thread id."""
    delays = {}
    for task in TASKS.glob("*/schedstat"):
        try:
            _, delay, _ = task.read_text().split()
        except (OSError, ValueError):  # the thread has just ended, or the kernel does not measure delays
            continue
        delays[task.parent.name] = int(delay) / 1e9
    return delays
