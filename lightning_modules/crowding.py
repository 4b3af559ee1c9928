"""How long the threads of this process wait for processors that something else has."""

import time
from pathlib import Path

__all__ = ["Crowding"]

TASKS = Path("/proc/self/task")


class Crowding:
    """Measures it from its making, or from the last call of :meth:`restart`, on; on Linux alone."""

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
