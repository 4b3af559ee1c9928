"""Decoding of the pictures in requests, in a separate process that can be killed."""

import asyncio
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor

from glow_app.server.errors import ApiError, stopping
from glow_app.server.limits import LARGEST_PROFILE, Limits


class Decoded(NamedTuple):
    """A picture, uint8 (C, H, W), a note on its conversion, and its colour profile unless it was resized."""

    image: Tensor
    note: str | None
    icc_profile: bytes | None


class Decoder:
    """Decodes one picture at a time.

    The process is killed and replaced if the request's task is cancelled, because its client left or its deadline
    passed, or if a picture exceeds the allowed processor time.

    Args:
        limits: Limits of a picture.
        on_picture: Called with the seconds that each picture took.
    """

    def __init__(self, limits: Limits, on_picture: Callable[[float], None] = lambda _: None) -> None:
        self._limits, self._on_picture = limits, on_picture
        self._process: asyncio.subprocess.Process | None = None
        self._is_closed = False
        self._lock = asyncio.Lock()

    async def read(self, text: str, shape: Sequence[int], pixels: int | None = None, bound: str = "") -> Decoded:
        """Decode a picture.

        Args:
            text: The file in base64.
            shape: (C, H, W), or (C,) to keep the size of the picture.
            pixels: Maximum number of pixels, if below the limit of the server.
            bound: Text that ends the message for too many pixels.
        Raises:
            ApiError: 422 for invalid base64 or a damaged picture, 415 for another format, 413 for too many pixels or
                too much work, 503 once the decoder is closed. The caller prefixes the message with the picture's name.
        """
        async with self._lock:
            begun = time.monotonic()
            try:
                return await self._decoded(text.encode(), shape, pixels, bound)
            finally:
                self._on_picture(time.monotonic() - begun)

    async def start(self) -> None:
        """Start the process in advance, so that the first picture does not wait for it."""
        async with self._lock:
            await self._ensure_process()

    async def close(self) -> None:
        """Kill the process for good."""
        self._is_closed = True
        await self._kill()

    async def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None

    async def _decoded(self, text: bytes, shape: Sequence[int], most: int | None, bound: str) -> Decoded:
        limits = self._limits
        if most is None or most > limits.pixels:
            most, bound = limits.pixels, ""
        job = {"size": len(text), "shape": shape, "pixels": most, "side": limits.side, "bound": bound}
        process = await self._ensure_process()
        assert process.stdin is not None
        assert process.stdout is not None
        is_whole = False
        try:
            process.stdin.write(json.dumps({**job, "seconds": limits.decode_seconds}).encode() + b"\n" + text)
            await process.stdin.drain()
            answer = json.loads(await process.stdout.readline())
            pixels = profile = b""
            if answer["status"] == 200:
                num_values = math.prod(answer["shape"])
                largest = math.prod(shape) if len(shape) == 3 else shape[0] * most
                if num_values > largest or answer["profile"] > LARGEST_PROFILE:
                    raise ValueError("the picture is larger than its file declared")
                pixels = await process.stdout.readexactly(num_values)
                profile = await process.stdout.readexactly(answer["profile"])
            is_whole = not answer["is_last"]
        except (OSError, ValueError, RuntimeError, asyncio.IncompleteReadError) as error:
            message = f"takes more than {limits.decode_seconds} s to decode, or too much memory; send it as a plain PNG"
            raise ApiError(413, "image_too_large", message) from error
        finally:
            if not is_whole:
                await self._kill()
                if not self._is_closed:
                    await self._ensure_process()  # in advance of the next picture
        if answer["status"] != 200:
            raise ApiError(answer["status"], answer["code"], answer["message"])
        image = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).reshape(*answer["shape"])
        return Decoded(image, answer["note"], profile or None)

    async def _ensure_process(self) -> asyncio.subprocess.Process:
        if self._is_closed:
            raise stopping()
        if self._process is None or self._process.returncode is not None:
            # In a new session, so that Ctrl-C in a terminal reaches only the server, which then kills the process.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # do not import modules from the current folder, which may be someone else's
                "-m",
                "glow_app.server.decoder_process",
                str(self._limits.pixels),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
                # asyncio pauses a pipe beyond twice this many bytes, and never notices the exit of a process whose
                # pipe is paused: a request cancelled then would keep its turn forever.
                limit=4 * self._limits.pixels + LARGEST_PROFILE,
            )
        return self._process
