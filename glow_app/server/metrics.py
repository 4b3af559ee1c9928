"""What a server counts, for Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters, each under its name, of one server.

    Args:
        max_jobs: Slots of the queue.
    """

    def __init__(self, max_jobs: int) -> None:
        self.registry = CollectorRegistry()
        self._depth = Gauge("glow_queue_depth", "Requests that wait or are worked on.", registry=self.registry)
        slots = Gauge("glow_queue_slots", "Requests that may wait or be worked on.", registry=self.registry)
        slots.set(max_jobs)
        self.seconds = Histogram(
            "glow_request_seconds", "Until the answer is sent.", ["endpoint"], buckets=_SECONDS, registry=self.registry
        )
        self.requests = Counter("glow_requests", "Answers.", ["endpoint", "status"], registry=self.registry)
        self.errors = Counter(
            "glow_errors", "Answers of status 400 and above.", ["endpoint", "status"], registry=self.registry
        )
        self.images = Counter("glow_images", "Images in answers.", ["endpoint"], registry=self.registry)
        self.batches = Histogram(
            "glow_batch_images", "Images that were asked for of each batch.", buckets=_IMAGES, registry=self.registry
        )

    def watch_depth(self, depth: Callable[[], int]) -> None:
        """Take the queue's depth from here."""
        self._depth.set_function(depth)

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self.seconds.labels(endpoint).observe(seconds)
        self.requests.labels(endpoint, str(status)).inc()
        if status >= 400:
            self.errors.labels(endpoint, str(status)).inc()

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self.registry)
