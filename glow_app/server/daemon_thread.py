"""Daemon threads, for work that may outlast its request."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar
from weakref import WeakSet

T = TypeVar("T")

_THREADS: WeakSet[threading.Thread] = WeakSet()


def start_daemon_thread(name: str, run: Callable[[], None]) -> threading.Thread:
    """Start a daemon thread.

    Raises:
        RuntimeError: If there are too many threads.
    """
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    _THREADS.add(thread)
    return thread


def on_daemon_thread(name: str, work: Callable[[], T]) -> "Future[T]":
    """Run a function on a daemon thread, which, unlike a ThreadPoolExecutor, does not delay an exit."""
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
    """Wait for all daemon threads: returning from torch to a finalised interpreter aborts the process."""
    end = time.monotonic() + seconds
    for thread in list(_THREADS):
        thread.join(max(0.0, end - time.monotonic()))
