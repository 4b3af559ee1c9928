"""Prometheus metrics of a server."""

import os
import platform
from collections.abc import Callable, Sequence

import torch
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest

from glow_app import __version__

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)
REVISION = "GLOW_REVISION"  # environment variable with the commit of a container image, set when it is built


class Metrics:
    """The metrics of a server with ``slots`` places in its queue."""

    def __init__(self, slots: int) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._depth = Gauge("glow_queue_depth", "Requests that wait or are worked on.", registry=registry)
        self._held = Gauge("glow_body_bytes", "Bytes of request bodies in memory.", registry=registry)
        Gauge("glow_queue_slots", "Requests that may wait or be worked on.", registry=registry).set(slots)
        self.seconds = _histogram("glow_request_seconds", "From request to answer.", registry, ["endpoint"])
        self.wait = _histogram("glow_queue_wait_seconds", "From a call of the model to its first batch.", registry)
        self.decode = _histogram("glow_decode_seconds", "Decoding of one picture.", registry)
        self.requests = Counter("glow_requests", "Answers.", ["endpoint", "status"], registry=registry)
        self.errors = Counter(
            "glow_errors", "Answers of status 400 and above.", ["endpoint", "status"], registry=registry
        )
        self.images = Counter("glow_images", "Images in answers.", ["endpoint"], registry=registry)
        self.batches = Histogram("glow_batch_images", "Images drawn per batch.", buckets=_IMAGES, registry=registry)
        build = {"version": __version__, "revision": os.environ.get(REVISION, ""), "torch": torch.__version__}
        Info("glow_build", "Versions of the server.", registry=registry).info(
            {**build, "python": platform.python_version()}
        )
        self.model = Info("glow_model", "The model that is served.", registry=registry)

    def watch(self, depth: Callable[[], int], held: Callable[[], int]) -> None:
        """Set the functions that return the queue depth and the bytes of bodies in memory."""
        self._depth.set_function(depth)
        self._held.set_function(held)

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self.seconds.labels(endpoint).observe(seconds)
        self.requests.labels(endpoint, str(status)).inc()
        if status >= 400:
            self.errors.labels(endpoint, str(status)).inc()

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


def _histogram(name: str, text: str, registry: CollectorRegistry, labels: Sequence[str] = ()) -> Histogram:
    return Histogram(name, text, labels, buckets=_SECONDS, registry=registry)
