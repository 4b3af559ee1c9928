"""A model worker that is kept busy."""

import threading
from typing import Any

from glow_app.server.worker import Call, ModelWorker, Ticket


class BusyWorker:
    """A call that keeps the worker busy until it is released."""

    def __init__(self, worker: ModelWorker) -> None:
        self.released, begun = threading.Event(), threading.Event()

        def wait(rows: list[Any]) -> list[Any]:
            begun.set()
            assert self.released.wait(60)
            return [None]

        self.call = Call(wait, [None], Ticket())
        worker.submit(self.call)
        assert begun.wait(60)

    def release(self) -> Any:
        self.released.set()
        return self.call.future.result(60)
