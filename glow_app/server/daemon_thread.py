"""Work on a thread of its own, which may outlast the request that began it, and ends with the process."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar
from weakref import WeakSet

T = TypeVar("T")

_THREADS: WeakSet[threading.Thread] = WeakSet()


def start_daemon_thread(name: str, run: Callable[[], None]) -> threading.Thread:
    """Return a new thread, which runs.

    Raises:
        RuntimeError: If there are too many.
    """
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    _THREADS.add(thread)
    return thread


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
        start_daemon_thread(name, run)
    except RuntimeError as error:
        future.set_exception(error)
    return future


def wait_for_daemon_threads(seconds: float) -> None:
    """Wait until all have ended: one that returns from torch to an interpreter that has ended aborts the process."""
    end = time.monotonic() + seconds
    for thread in list(_THREADS):
        thread.join(max(0.0, end - time.monotonic()))
