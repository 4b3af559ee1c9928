"""Bad pictures, and the process that decodes pictures."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from app_client import as_base64, png, saved, text_bomb
from PIL import Image
from registry import random_images
from stalled import stall

from glow_app.data.decoding import Photo
from glow_app.server.answers import ApiError
from glow_app.server.decoder import Decoder
from glow_app.server.decoder_process import RefusedPictureError, decode
from glow_app.server.limits import Limits

SHAPE = (3, 8, 8)
PATIENT = Limits(pixels=10**8, decode_seconds=200)  # a busy machine may need seconds for any picture
JPEG = saved(Image.effect_noise((64, 64), 50).convert("RGB"), "JPEG")
RUN_LENGTH_BMP = bytearray(saved(Image.new("P", (8, 8)), "BMP"))
RUN_LENGTH_BMP[30] = 1

BAD = {
    "100 megapixels in 20 kB": (png(10_000, 10_000, bytes(10**7)), 413, "image_too_large"),
    "beyond Pillow's own bound": (png(60_000, 60_000, b""), 413, "image_too_large"),
    "one long line": (png(100_000, 1), 413, "image_too_large"),
    "a JPEG cut off": (JPEG[: len(JPEG) // 2], 422, "damaged_image"),
    "a PNG cut off": (png(64, 64)[:-30], 422, "damaged_image"),
    "a PNG with too little data": (png(64, 64, b"\0" * 100), 422, "damaged_image"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"></svg>', 415, "unknown_format"),
    "a TIFF whose header lies": (b"II*\x00\x08\x00\x00\x00" + b"\xff" * 102, 415, "unknown_format"),
    "a TIFF": (saved(Image.new("L", (8, 8)), "TIFF"), 415, "unknown_format"),
    "PostScript": (saved(Image.new("L", (8, 8)), "EPS"), 415, "unknown_format"),
    "a BMP that Pillow decodes in Python": (bytes(RUN_LENGTH_BMP), 415, "unknown_format"),
    "a zip": (b"PK\x03\x04" + bytes(100), 415, "unknown_format"),
    "nothing": (b"", 415, "unknown_format"),
    "a comment of 100 MB": (text_bomb(), 415, "unknown_format"),
}


@pytest.fixture(autouse=True)
def no_bound_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as the process does


def decoded(content: bytes, *shape: int) -> Photo:
    return decode(as_base64(content), shape, 1_000_000, "")


@pytest.mark.parametrize("shape", [(1, 8, 8), (1,)], ids=["the model's size", "its own size"])
@pytest.mark.parametrize("name", BAD)
def test_bad_pictures_are_refused(name: str, shape: tuple[int, ...]) -> None:
    content, status, code = BAD[name]
    with pytest.raises(RefusedPictureError) as refused:
        decoded(content, *shape)
    assert refused.value.args[:2] == (status, code)


@pytest.mark.parametrize("text", ["no base64!", "AAA", "AAA\u00e4", "AAAA\n", "data:image/png;base64,?"])
def test_invalid_base64_is_refused(text: str) -> None:
    with pytest.raises(RefusedPictureError) as refused:
        decode(text, (1, 8, 8), 100, "")
    assert refused.value.args[:2] == (422, "not_base64")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_supported_formats(kind: str) -> None:
    file = saved(Image.new("RGB", (8, 8), (200, 200, 200)), kind)
    photo, *others = (
        decode(sent, SHAPE, 100, "") for sent in (file, as_base64(file), f"data:;base64,{as_base64(file)}")
    )
    assert all((photo.pixels == other.pixels).all() for other in others)
    assert (photo.pixels.shape, photo.note, photo.icc_profile) == (SHAPE, None, None)
    assert abs(photo.pixels.astype(int) - 200).max() < 4


def test_pictures_of_more_than_8_bits_are_reduced() -> None:
    photo = decoded(saved(Image.new("I;16", (8, 8), 32896), "PNG"), 1)
    assert (photo.note, int(photo.pixels.min())) == ("reduced to 8 bits per value", 128)


def with_decoder(work: Callable[[Decoder], Awaitable[Any]], limits: Limits | None = None) -> Any:
    """Run a function with a decoder, within five minutes."""

    async def run() -> Any:
        decoder = Decoder(limits or PATIENT)
        try:
            async with asyncio.timeout(300):
                return await work(decoder)
        finally:
            decoder.close()

    with ThreadPoolExecutor(1) as pool:  # tests in a browser leave a loop running on this thread
        return pool.submit(asyncio.run, run()).result()


def process_of(decoder: Decoder) -> int:
    (process,) = decoder._pool._pool_manager.worker_manager.workers
    return process


async def is_read(decoder: Decoder) -> bool:
    """Return whether an ordinary picture is decoded."""
    (image,) = random_images(1)
    return bool(((await decoder.read("image", as_base64(image), SHAPE)).pixels == image.numpy()).all())


def test_pictures_are_exact_and_errors_name_the_limit() -> None:
    async def work(decoder: Decoder) -> None:
        assert await is_read(decoder)
        (image,) = random_images(1, (3, 5, 7))
        assert ((await decoder.read("image", as_base64(image), (3,), 35)).pixels == image.numpy()).all()
        with pytest.raises(ApiError, match=r"34 pixels .* for 2 draws") as raised:
            await decoder.read("image", as_base64(image), (3,), 34, " for 2 draws")
        assert raised.value.status_code == 413
        with pytest.raises(ApiError, match="100,000,000 pixels"):
            await decoder.read("image", as_base64(png(10_001, 9_999)), (3,), 10**9)
        assert await is_read(decoder)

    with_decoder(work)


def test_the_process_is_replaced_after_a_timeout_a_cancellation_or_its_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(decoder: Decoder) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("glow_app.server.decoder.decode", stall)
            with pytest.raises(ApiError, match="more than 1 s") as raised:
                await decoder.read("image", str(tmp_path / "first"), SHAPE)
            assert raised.value.status_code == 413
            decoder._limits = PATIENT
            begun = tmp_path / "second"
            reading, waiting = (asyncio.create_task(decoder.read("image", str(begun), SHAPE)) for _ in range(2))
            while not begun.exists():
                await asyncio.sleep(0.01)
            process = process_of(decoder)
            for task in (waiting, reading):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        assert await is_read(decoder)
        assert not Path(f"/proc/{process}").exists()
        os.kill(process_of(decoder), signal.SIGKILL)
        while decoder._pool.active:
            await asyncio.sleep(0.01)
        assert await is_read(decoder)

    with_decoder(work, Limits(pixels=10**8, decode_seconds=1))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems know no such limit")
def test_the_process_is_restricted(tmp_path: Path) -> None:
    program = """
import sys
from glow_app.server.decoder_process import restrict
restrict(1000)
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


def test_the_process_returns_memory() -> None:
    large = as_base64(saved(Image.new("RGB", (4000, 4000)), "WEBP"))

    async def work(decoder: Decoder) -> None:
        await decoder.read("image", large, SHAPE)
        assert await is_read(decoder)
        held = Path(f"/proc/{process_of(decoder)}/statm").read_text().split()[1]
        assert int(held) * 4096 < 150e6

    with_decoder(work)
