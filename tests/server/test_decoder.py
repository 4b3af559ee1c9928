"""The process that decodes pictures: ended when it takes too long."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from app_client import as_base64
from PIL import Image
from registry import random_images
from test_pictures import png, saved, scans

from glow_app.server import Limits
from glow_app.server.decoder import Decoder
from glow_app.server.errors import ApiError

SHAPE = (3, 8, 8)
LIMITS = Limits(pixels=10**8, decode_seconds=0)  # and so at most one second


def with_decoder(work: Callable[[Decoder], Awaitable[Any]], limits: Limits = LIMITS) -> Any:
    """Run something with a decoder, bounded in time."""

    async def run() -> Any:
        decoder = Decoder(limits)
        try:
            async with asyncio.timeout(60):
                return await work(decoder)
        finally:
            await decoder.close()

    with ThreadPoolExecutor(1) as pool:  # tests in a browser leave a loop running on this thread
        return pool.submit(asyncio.run, run()).result()


@pytest.fixture(scope="module")
def slow() -> str:
    """Return a picture that takes seconds to decode: a JPEG of nearly as many scans as are accepted."""
    return as_base64(scans(Image.new("L", (8000, 8000)), 80))


def test_pictures_come_as_they_are_and_what_is_refused_says_why() -> None:
    async def work(decoder: Decoder) -> None:
        (image,) = random_images(1)
        read, note, _ = await decoder.read(as_base64(image), SHAPE)
        assert torch.equal(read, image)
        assert note is None
        for text, status in (("?", 422), (as_base64(b"no picture"), 415), (as_base64(png(9, 99_999)), 413)):
            with pytest.raises(ApiError) as raised:
                await decoder.read(text, SHAPE)
            assert raised.value.status == status
        assert torch.equal((await decoder.read(as_base64(image), SHAPE))[0], image)

    with_decoder(work)


def test_a_picture_in_its_own_size() -> None:
    async def work(decoder: Decoder) -> None:
        (image,) = random_images(1, (3, 5, 7))
        assert torch.equal((await decoder.read(as_base64(image), (3,)))[0], image)
        assert torch.equal((await decoder.read(as_base64(image), (3,), 35))[0], image)
        with pytest.raises(ApiError, match=r"too large; at most 34 pixels and .* are accepted for 2 draws") as raised:
            await decoder.read(as_base64(image), (3,), 34, " for 2 draws")
        assert raised.value.status == 413
        with pytest.raises(ApiError, match="at most 100,000,000 pixels"):
            await decoder.read(as_base64(png(10_001, 9_999)), (3,), 10**9)

    with_decoder(work)


def test_a_picture_that_takes_too_long_is_given_up_and_others_are_read(slow: str) -> None:
    async def work(decoder: Decoder) -> None:
        (image,) = random_images(1)
        with pytest.raises(ApiError, match="takes more than 0 s to decode") as raised:
            await decoder.read(slow, SHAPE)
        assert raised.value.status == 413
        assert torch.equal((await decoder.read(as_base64(image), SHAPE))[0], image)

    with_decoder(work)


def test_a_request_that_is_cancelled_ends_the_process(slow: str) -> None:
    async def work(decoder: Decoder) -> None:
        await decoder.start()
        process = decoder._process
        assert process is not None
        reading = asyncio.create_task(decoder.read(slow, SHAPE))
        waiting = asyncio.create_task(decoder.read(slow, SHAPE))
        await asyncio.sleep(0.2)
        for task in (waiting, reading):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        assert process.returncode is not None
        (image,) = random_images(1)
        assert torch.equal((await decoder.read(as_base64(image), SHAPE))[0], image)

    with_decoder(work, Limits(pixels=10**8, decode_seconds=60))


@pytest.mark.parametrize("closes", [False, True])
def test_a_request_that_is_cancelled_while_its_pixels_arrive_ends_the_process(closes: bool) -> None:
    # Reading of a pipe is paused where nobody takes what has arrived, and then the end of its process is not seen.
    large = as_base64(saved(Image.new("RGB", (1400, 1400)), "PNG"))

    async def work(decoder: Decoder) -> None:
        await decoder.start()
        reading = asyncio.create_task(decoder.read(large, (3,)))
        process = decoder._process
        assert process is not None
        while len(process.stdout._buffer) <= 2**17:  # type: ignore[union-attr]
            assert not reading.done()
            await asyncio.sleep(0)
        reading.cancel()
        if closes:
            await decoder.close()
        with suppress(asyncio.CancelledError):
            await reading
        assert process.returncode is not None
        if not closes:
            (image,) = random_images(1)
            assert torch.equal((await decoder.read(as_base64(image), SHAPE))[0], image)

    with_decoder(work, Limits(decode_seconds=60))


def test_no_module_of_the_current_folder_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "glow_app").mkdir()
    for name in ("glow_app/__init__.py", "struct.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)

    async def work(decoder: Decoder) -> None:
        (image,) = random_images(1)
        assert torch.equal((await decoder.read(as_base64(image), SHAPE))[0], image)

    with_decoder(work)
    assert not (tmp_path / "ran").exists()


def test_a_closed_decoder_starts_no_process(slow: str) -> None:
    async def work(decoder: Decoder) -> None:
        await decoder.start()
        reading = asyncio.create_task(decoder.read(slow, SHAPE))
        await asyncio.sleep(0)
        await decoder.close()
        with pytest.raises(ApiError):
            await reading
        with pytest.raises(ApiError, match="the server is stopping"):
            await decoder.read(slow, SHAPE)
        assert decoder._process is None

    with_decoder(work, Limits(pixels=10**8, decode_seconds=60))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems know no such limit")
def test_the_process_can_neither_grow_nor_write(tmp_path: Path) -> None:
    program = """
import sys
from glow_app.server.decoder_process import _restrict
_restrict(1000)
bytearray(2**28)
for attempt in (lambda: bytearray(2**30), lambda: open(sys.argv[1], "wb", buffering=0).write(b"x")):
    try:
        attempt()
    except (MemoryError, OSError) as error:
        print(type(error).__name__)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["MemoryError", "OSError"], done


def test_a_process_that_keeps_memory_is_replaced() -> None:
    async def work(decoder: Decoder) -> None:
        await decoder.start()
        first = decoder._process
        (image,) = random_images(1)
        await decoder.read(as_base64(image), SHAPE)
        assert decoder._process is first
        large = Image.new("RGB", (8000, 8000))
        await decoder.read(as_base64(saved(large, "WEBP")), SHAPE)
        await decoder.read(as_base64(image), SHAPE)
        is_kept = decoder._process is first
        assert first is not None
        assert is_kept == (first.returncode is None)
        assert decoder._process is not None
        held = Path(f"/proc/{decoder._process.pid}/statm").read_text().split()[1]
        assert int(held) * 4096 < 150e6

    with_decoder(work, Limits(pixels=10**8, decode_seconds=60))
