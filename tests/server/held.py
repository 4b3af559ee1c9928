"""A call that keeps the model's thread busy."""

import threading
from typing import Any

from glow_app.models.image_model import ImageModel
from glow_app.server.worker import Call, ModelWorker, Ticket


class Held:
    """A call that keeps the worker busy until it is let go."""

    def __init__(self, worker: ModelWorker, model: ImageModel) -> None:
        self._go, begun = threading.Event(), threading.Event()

        def wait(_: ImageModel, rows: list[Any]) -> list[Any]:
            begun.set()
            assert self._go.wait(30)
            return ["held"]

        self.call = Call(wait, model, [None], Ticket())
        worker.submit(self.call)
        assert begun.wait(10)

    def let_go(self) -> Any:
        self._go.set()
        return self.call.future.result(10)
