"""Decoding of the pictures in requests, in a separate process that can be killed.

A thread cannot be killed, and no header tells how long a file takes: Pillow decodes a progressive JPEG of 5000x5000
pixels with 2,000 scans, of 230 kB in all, for 30 s.
"""

import asyncio
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from multiprocessing import get_context
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

from glow_app.data.decoding import Photo
from glow_app.pictures.picture_file import PictureFile
from glow_app.server.answers import ApiError, unavailable
from glow_app.server.decoder_process import RefusedPictureError, decode, decode_file, restrict
from glow_app.server.limits import LARGEST_METADATA, Limits

T = TypeVar("T")


class Decoder:
    """Decodes one picture at a time, in the order of requests.

    The process is killed and replaced if the request's task is cancelled, because its client left or its deadline
    passed, or if a picture takes too long.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self._lock = limits, asyncio.Lock()
        self._pool = self._new_pool()

    async def read(self, field: str, file: str | bytes, shape: Sequence[int]) -> Photo:
        """Decode a picture to a model's shape.

        Args:
            field: Field of the request, with which error messages begin.
            file: The file, or its base64, or a data URL with it.
            shape: (C, H, W).
        Raises:
            ApiError: 422 for invalid base64 or a damaged picture, 415 for another format, 413 for too many pixels or
                too much work, 503 if the process was killed meanwhile.
        """
        return await self._run(field, decode, file, self._limits.pixels, shape)

    async def read_file(
        self, field: str, file: str | bytes, pixels: int, bound: str = "", count: int = 1, **options: Any
    ) -> PictureFile:
        """Decode a picture at its own size, with what its results keep.

        Args:
            field, file: As for :meth:`read`.
            pixels: Maximum number of pixels, if below the limit of the server.
            bound: End of the message about too many pixels.
            count: Number of results, which have the metadata each.
            options: As for :func:`~glow_app.pictures.picture_file.picture_file_of`.
        Raises:
            ApiError: As for :meth:`read`; 413 for too much metadata, 422 if a frame must be chosen.
        """
        if pixels > self._limits.pixels:
            pixels, bound = self._limits.pixels, ""
        return await self._run(field, decode_file, file, pixels, bound, LARGEST_METADATA // count, options)

    async def _run(self, field: str, function: Callable[..., T], *arguments: Any) -> T:
        limits = self._limits
        async with self._lock:
            if not self._pool.active:  # the process was killed while it was idle
                self._pool = self._new_pool()
            job = self._pool.schedule(function, arguments, timeout=limits.decode_seconds)
            try:
                result: T = await asyncio.wrap_future(job)
                return result
            except RefusedPictureError as error:
                status, code, message = error.args
                raise ApiError(status, code, f"{field}: {message}") from error
            except (ProcessExpired, BrokenExecutor) as error:
                if getattr(error, "exitcode", -signal.SIGKILL) != -signal.SIGKILL:
                    message = f"{field}: the decoder crashed; send a plain PNG"
                    raise ApiError(422, "damaged_image", message) from error
                # Killed by the system, for example, which is short of memory.
                raise unavailable("decoder_ended", f"{field}: decoding was interrupted", 1) from error
            except (TimeoutError, MemoryError) as error:
                message = f"decoding takes more than {limits.decode_seconds} s or too much memory; send a plain PNG"
                raise ApiError(413, "image_too_large", f"{field}: {message}") from error

    def _new_pool(self) -> ProcessPool:
        # Not forked: a fork of a process with torch's threads may hang, and shares the server's memory and sockets.
        return ProcessPool(1, initializer=restrict, initargs=[self._limits.pixels], context=get_context("spawn"))

    def start(self) -> None:
        """Start the process in advance, so that the first picture does not wait for it."""
        self._pool.schedule(len, ([],))

    def close(self) -> None:
        """Kill the process."""
        with suppress(Exception):  # a process that is still starting would log an error about the end of its pool
            self._pool.schedule(len, ([],)).result(5)
        self._pool.stop()
        self._pool.join()
