"""Decoding of the pictures in requests, in a separate process that can be killed."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from multiprocessing import get_context

from pebble import ProcessExpired, ProcessPool

from glow_app.data.decoding import Photo
from glow_app.server.answers import ApiError
from glow_app.server.decoder_process import RefusedPictureError, decode, restrict
from glow_app.server.limits import Limits


class Decoder:
    """Decodes one picture at a time, in the order of requests.

    The process is killed and replaced if the request's task is cancelled, because its client left or its deadline
    passed, or if a picture takes too long.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self._lock = limits, asyncio.Lock()
        self._pool = self._new_pool()

    async def read(
        self, field: str, file: str | bytes, shape: Sequence[int], pixels: int | None = None, bound: str = ""
    ) -> Photo:
        """Decode a picture; it has no colour profile if it was resized.

        Args:
            field: Field of the request, with which error messages begin.
            file: The file, or its base64, or a data URL with it.
            shape: (C, H, W), or (C,) to keep the size of the picture.
            pixels: Maximum number of pixels, if below the limit of the server.
            bound: End of the message about too many pixels.
        Raises:
            ApiError: 422 for invalid base64 or a damaged picture, 415 for another format, 413 for too many pixels or
                too much work.
        """
        limits = self._limits
        if pixels is None or pixels > limits.pixels:
            pixels, bound = limits.pixels, ""
        async with self._lock:
            if not self._pool.active:  # the process was killed while it was idle
                self._pool = self._new_pool()
            job = self._pool.schedule(decode, (file, shape, pixels, bound), timeout=limits.decode_seconds)
            try:
                return await asyncio.wrap_future(job)
            except RefusedPictureError as error:
                status, code, message = error.args
                raise ApiError(status, code, f"{field}: {message}") from error
            except (TimeoutError, ProcessExpired, BrokenExecutor, MemoryError) as error:
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
