"""Sampling on several devices, with a process per device."""

import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from multiprocessing.queues import Queue
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from glow_app.generation import sample_batches
from glow_app.generation.sample import Temperature

if TYPE_CHECKING:
    from glow_app.models.image_model import ImageModel

BATCHES = 4  # per task of a process

_model: "ImageModel | None" = None  # the model of a worker process


def devices_for(number: int | None, device: torch.device) -> list[str]:
    """Return ``number`` GPUs, or the CPU ``number`` times; if None, all GPUs, or the CPU once.

    Raises:
        ValueError: If there are fewer GPUs or processor cores.
    """
    is_gpu = device.type == "cuda"
    available = torch.cuda.device_count() if is_gpu else os.cpu_count() or 1
    number = number or (available if is_gpu else 1)
    if number > available:
        raise ValueError(f"--devices {number}: there are {available} {'GPUs' if is_gpu else 'processor cores'}")
    if number == 1:
        return [str(device)]
    return [f"cuda:{index}" for index in range(number)] if is_gpu else ["cpu"] * number


def sample_on_devices(
    place: str,
    devices: Sequence[str],
    num: int,
    temperature: Temperature,
    seed: int,
    label: int | Sequence[int] | None = None,
    batch_size: int = 16,
    guidance: float = 1.0,
    size: tuple[int, int] | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Yield the results of :func:`~glow_app.generation.sample_batches`, in the same order and from the same batches.

    Each process loads the model. Two tasks per device are pending at a time, whatever the number of images.

    Args:
        place: Place of the model, as for ``--checkpoint``.
        devices: Device of each process; those on the CPU share its cores.
        num: As for :func:`~glow_app.generation.sample_batches`, like all following arguments.
    """
    context = get_context("spawn")  # a forked process cannot use CUDA
    free = context.Queue()
    for device in devices:
        free.put(device)
    threads = max(1, torch.get_num_threads() // len(devices))
    num_part = BATCHES * batch_size
    starts = iter(range(seed, seed + num, num_part))
    waiting: deque[tuple[int, Future[np.ndarray]]] = deque()
    earlier = set(active_children())
    with ProcessPoolExecutor(len(devices), context, _begin, (place, free, threads)) as processes:
        try:
            while True:
                while len(waiting) < 2 * len(devices) and (start := next(starts, None)) is not None:
                    part = min(num_part, seed + num - start)
                    with _deferred_signals():  # submitting may start a process
                        drawn = processes.submit(_draw, part, temperature, start, label, batch_size, guidance, size)
                    waiting.append((start, drawn))
                if not waiting:
                    return
                start, future = waiting.popleft()
                yield from enumerate(torch.from_numpy(future.result()), start)
        except BrokenProcessPool as error:
            raise ValueError(
                f"one of the {len(devices)} drawing processes ended unexpectedly, as when memory runs out; "
                "use fewer --devices or a smaller --batch-size"
            ) from error
        except BaseException:  # do not wait for pending tasks
            for process in set(active_children()) - earlier:
                process.terminate()
            raise
        finally:
            processes.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _deferred_signals() -> Iterator[None]:
    """Defer Ctrl-C and SIGTERM to the end of the block, because a half-started process would print a traceback.

    Processes started in the block never receive Ctrl-C, not even while importing: a terminal sends it to all processes,
    but only the main one handles it, by terminating the others.
    """
    if threading.current_thread() is not threading.main_thread():  # Python handles signals only in the main thread
        yield
        return
    deferred: list[int] = []
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited by child processes
    # The mask covers only this thread, but Python runs handlers here for signals to any thread.
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, lambda number, _: deferred.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for received in deferred:
            signal.raise_signal(received)


def _begin(place: str, free: "Queue[str]", threads: int) -> None:
    global _model  # an initialiser can pass state to tasks only through globals
    from glow_app.storage.stored_model import load_model

    torch.set_num_threads(threads)
    _model = load_model(place, torch.device(free.get())).freeze()


def _draw(*arguments: Any) -> np.ndarray:
    assert _model is not None, "the process is initialised"
    drawn = sample_batches(_model, *arguments)
    # Arrays are sent as bytes; a tensor would be in shared memory and outlive the process.
    return torch.stack([image.cpu() for _, image in drawn]).numpy()
