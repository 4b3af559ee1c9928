"""Work on a thread of its own, which may outlast the request that began it, and ends with the process."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["on_daemon_thread"]

T = TypeVar("T")


def on_daemon_thread(name: str, work: Callable[[], T]) -> "Future[T]":
    """Return the future result of a function; unlike one of a ThreadPoolExecutor, it does not delay an exit."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError as error:  # there are too many
        future.set_exception(error)
    return future
