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
from PIL.ExifTags import Base
from PIL.PngImagePlugin import PngInfo
from registry import random_images
from stalled import stall

from glow_app.data.decoding import Photo
from glow_app.pictures.picture_file import PictureFile
from glow_app.server.answers import ApiError
from glow_app.server.decoder import Decoder
from glow_app.server.decoder_process import RefusedPictureError, decode, decode_file
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


def decoded(content: bytes) -> Photo:
    return decode(as_base64(content), 1_000_000, (1, 8, 8))


def decoded_file(content: bytes, kind: str = "png", most_metadata: int = 10**6, **options: Any) -> PictureFile:
    return decode_file(content, 1_000_000, "", most_metadata, {"num_channels": 3, "kind": kind, **options})


@pytest.mark.parametrize("read", [decoded, decoded_file], ids=["the model's size", "its own size"])
@pytest.mark.parametrize("name", BAD)
def test_bad_pictures_are_refused(name: str, read: Callable[[bytes], Any]) -> None:
    content, status, code = BAD[name]
    with pytest.raises(RefusedPictureError) as refused:
        read(content)
    assert refused.value.args[:2] == (status, code)


def test_metadata_is_bounded_and_values_that_cannot_be_written_are_left_out() -> None:
    text = PngInfo()
    for key in ("dpi", "comment", "icc_profile", "Author"):
        text.add_text(key, "1" * 70_000)  # which Pillow mixes with what it reads from other chunks
    file = saved(Image.new("RGB", (8, 8)), "PNG", pnginfo=text)
    with pytest.raises(RefusedPictureError, match=r"metadata has 280,027 bytes; expected at most 280,026: .* strip"):
        decoded_file(file, most_metadata=280_026)
    assert decoded_file(file, most_metadata=0, strips=True).num_metadata_bytes == 0
    exif = Image.Exif()
    exif.update(
        {Base.XResolution: 4e9, Base.YResolution: 4e9, Base.ResolutionUnit: 2, Base.ImageDescription: "a" * 60_000}
    )
    dense = saved(Image.new("RGB", (8, 8)), "JPEG", exif=exif)
    exif[Base.ImageDescription] = "a" * 70_000
    long = saved(Image.new("RGB", (8, 8)), "WEBP", exif=exif, xmp=b"a" * 70_000)
    for source in (file, dense, long):
        for kind in ("png", "jpeg", "webp"):
            result = decoded_file(source, kind)
            result.content(Image.new("RGB", (8, 8), "white"), {})
    assert (
        decoded_file(long, "jpeg").photo.note == "XMP left out (too long for JPEG), EXIF left out (too long for JPEG)"
    )
    damaged = dense.replace(
        b"\x01\x28\x00\x03", b"\x01\x28\x00\x04"
    )  # a tag of another type, which Pillow cannot write
    assert decoded_file(damaged).photo.note == "EXIF left out (damaged)"


def test_a_frame_is_chosen() -> None:
    frames = [Image.new("RGB", (8, 8), (level, 0, 0)) for level in (0, 100, 200)]
    file = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(RefusedPictureError, match="it has 3 frames; choose one, such as frame 0"):
        decoded_file(file)
    with pytest.raises(RefusedPictureError, match="it has no frame 3; the last is 2"):
        decoded_file(file, frame=3)
    assert decoded_file(file, frame=1).photo.pixels[0].max() == 100
    assert decoded(file).note == "only the first of several pictures in the file"
    large = saved(Image.new("L", (2000, 2000)), "GIF")
    with pytest.raises(RefusedPictureError, match="too large"):  # which the file does not declare
        decoded_file(file[:-1] + large[large.index(b"\x2c\0\0\0\0") :], frame=3)


@pytest.mark.parametrize("text", ["no base64!", "AAA", "AAA\u00e4", "AAAA\n", "data:image/png;base64,?"])
def test_invalid_base64_is_refused(text: str) -> None:
    with pytest.raises(RefusedPictureError) as refused:
        decode(text, 100, (1, 8, 8))
    assert refused.value.args[:2] == (422, "not_base64")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_supported_formats(kind: str) -> None:
    file = saved(Image.new("RGB", (8, 8), (200, 200, 200)), kind)
    photo, *others = (decode(sent, 100, SHAPE) for sent in (file, as_base64(file), f"data:;base64,{as_base64(file)}"))
    assert all((photo.pixels == other.pixels).all() for other in others)
    assert (photo.pixels.shape, photo.note, photo.icc_profile) == (SHAPE, None, None)
    assert abs(photo.pixels.astype(int) - 200).max() < 4


def test_pictures_of_more_than_8_bits_are_reduced() -> None:
    photo = decoded_file(saved(Image.new("I;16", (8, 8), 32896), "PNG")).photo
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
        options: dict[str, Any] = {"num_channels": 3, "kind": "png"}
        file = await decoder.read_file("image", as_base64(image), 35, **options)
        assert (file.photo.pixels == image.numpy()).all()
        with pytest.raises(ApiError, match=r"34 pixels .* for 2 draws") as raised:
            await decoder.read_file("image", as_base64(image), 34, " for 2 draws", **options)
        assert raised.value.status_code == 413
        with pytest.raises(ApiError, match="100,000,000 pixels"):
            await decoder.read_file("image", as_base64(png(10_001, 9_999)), 10**9, **options)
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
        with monkeypatch.context() as patch:
            patch.setattr("glow_app.server.decoder.decode", stall)
            killed = tmp_path / "killed"
            reading = asyncio.create_task(decoder.read("image", str(killed), SHAPE))
            while not killed.exists():
                await asyncio.sleep(0.01)
            os.kill(process_of(decoder), signal.SIGKILL)
            with pytest.raises(ApiError, match="interrupted; try again in 1 s") as raised:
                await reading
            assert raised.value.status_code == 503
        assert await is_read(decoder)
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
