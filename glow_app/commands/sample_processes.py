"""Drawing on several devices, with a process for each."""

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

BATCHES = 4  # drawn by a process before it is asked again

_model: "ImageModel | None" = None  # of a process that draws


def devices_for(number: int | None, device: torch.device) -> list[str]:
    """Return the devices of ``--devices``: so many GPUs, or as many times the CPU; all there are if None.

    Raises:
        ValueError: If there are not so many.
    """
    is_gpu = device.type == "cuda"
    there = torch.cuda.device_count() if is_gpu else os.cpu_count() or 1
    number = number or (there if is_gpu else 1)
    if number > there:
        raise ValueError(f"--devices {number}: there are {there} {'GPUs' if is_gpu else 'processor cores'}")
    if number == 1:
        return [str(device)]
    return [f"cuda:{one}" for one in range(number)] if is_gpu else ["cpu"] * number


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
    """Yield what :func:`~glow_app.generation.sample_batches` does, in the same order and drawn in the same batches.

    Each process loads the model; a few parts per device are on their way at a time, whatever the number of images.

    Args:
        place: Of the model, as ``--checkpoint`` takes it.
        devices: One per process; a CPU may stand there several times, and its cores are then shared out.
        num: As for :func:`~glow_app.generation.sample_batches`, like all that follow.
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
                    with _signals_held_back():  # it may start a process
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
        except BaseException:  # the parts on their way are not waited for
            for process in set(active_children()) - earlier:
                process.terminate()
            raise
        finally:
            processes.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the end of the block: a process half started would end with a traceback.

    Processes that start in the block never get Ctrl-C, not even while they import: a terminal sends it to all, and the
    one that hands out the work ends the others.
    """
    if threading.current_thread() is not threading.main_thread():  # where no signal is handled
        yield
        return
    held: list[int] = []
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which processes inherit
    # The mask is of this thread: Python runs handlers here also for signals that reach another.
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, lambda number, _: held.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for received in held:
            signal.raise_signal(received)


def _begin(place: str, free: "Queue[str]", threads: int) -> None:
    global _model  # what a process of a pool begins with can be kept nowhere else
    from glow_app.storage.stored_model import load_model

    torch.set_num_threads(threads)
    _model = load_model(place, torch.device(free.get())).freeze()


def _draw(*arguments: Any) -> np.ndarray:
    assert _model is not None, "the process has begun"
    drawn = sample_batches(_model, *arguments)
    # Bytes are sent; a tensor would be shared, and outlive the process.
    return torch.stack([image.cpu() for _, image in drawn]).numpy()
