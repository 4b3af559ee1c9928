"""Prometheus metrics of a server."""

import platform
from collections.abc import Callable
from functools import partial

import torch
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest

from glow_app import __version__

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of a server with ``slots`` places in its queue, of which ``depth`` returns the taken ones.

    ``held`` returns the bytes of request bodies in memory.
    """

    def __init__(self, slots: int, depth: Callable[[], float], held: Callable[[], float]) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Gauge("glow_queue_depth", "Requests that wait or are computed.", registry=registry).set_function(depth)
        Gauge("glow_queue_slots", "Requests that may wait or be computed.", registry=registry).set(slots)
        Gauge("glow_body_bytes", "Bytes of request bodies in memory.", registry=registry).set_function(held)
        seconds = partial(Histogram, buckets=_SECONDS, registry=registry)
        self.seconds = seconds("glow_request_seconds", "From request to answer.", ["endpoint"])
        self.decode = seconds("glow_decode_seconds", "Decoding of one picture.")
        self.requests = Counter("glow_requests", "Answers.", ["endpoint", "status"], registry=registry)
        self.images = Counter("glow_images", "Images in answers.", ["endpoint"], registry=registry)
        self.batches = Histogram("glow_batch_images", "Images drawn per batch.", buckets=_IMAGES, registry=registry)
        self.model = Info("glow_model", "The model that is served.", registry=registry)
        versions = {"version": __version__, "torch": torch.__version__, "python": platform.python_version()}
        Info("glow_build", "Versions of the server.", registry=registry).info(versions)

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self.seconds.labels(endpoint).observe(seconds)
        self.requests.labels(endpoint, str(status)).inc()

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
