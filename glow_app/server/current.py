"""Which model is served, now."""

import threading

from glow_app.server.service import Service

__all__ = ["Current"]


class Current:
    """Holds the service of the model that new requests get.

    Args:
        service: Of the first.
    """

    def __init__(self, service: Service) -> None:
        self.service = service

    def replace(self, service: Service) -> None:
        """Give another one to new requests; those that have the old one keep it until they are answered."""
        old, self.service = self.service, service
        timer = threading.Timer(old.limits.seconds + 5, old.close)
        timer.daemon = True
        timer.start()
