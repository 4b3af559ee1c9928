"""How fast a loader hands out batches, with nobody training beside it."""

import time
from typing import Any, NamedTuple

from glow_app.data import TrainLoader

__all__ = ["Loading", "loading_speed"]

# Seconds of a measurement.
ENOUGH = 3.0


class Loading(NamedTuple):
    """Seconds until the first batch, and images per second from then on: infinite without a second batch."""

    first_batch: float
    images_per_second: float


def loading_speed(loader: TrainLoader[Any]) -> Loading:
    """Measure a loader of one process for some seconds, or to the end of an epoch."""
    begin = time.perf_counter()
    batches = iter(loader)
    next(batches)
    start = now = time.perf_counter()
    count = 0
    for _ in batches:
        now, count = time.perf_counter(), count + 1
        if now - start > ENOUGH:
            break
    rate = count * (loader.batch_size or 1) / max(now - start, 1e-9) if count else float("inf")
    return Loading(start - begin, rate)
