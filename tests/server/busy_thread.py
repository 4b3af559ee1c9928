"""A model's thread that is kept busy."""

import threading
from typing import Any

from glow_app.server.model_thread import ModelThread, Ticket


class BusyThread:
    """A call that keeps the thread busy until it is released."""

    def __init__(self, thread: ModelThread) -> None:
        self.released, begun = threading.Event(), threading.Event()

        def wait() -> None:
            begun.set()
            assert self.released.wait(60)

        self.future = thread.submit(wait, Ticket())
        assert begun.wait(60)

    def release(self) -> Any:
        self.released.set()
        return self.future.result(60)
