"""A server in a thread of the tests, a client for it, and pictures to send."""

import asyncio
import base64
import io
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import torch
import uvicorn
from fastapi import FastAPI
from PIL import Image
from torch import Tensor

from glow_app.pictures.encoding import png_bytes
from glow_app.pictures.images import to_pil
from glow_app.server.process import server_config


@contextmanager
def running(app: FastAPI, head_seconds: float = 600.0) -> Iterator[httpx.Client]:
    """Run a server; yield a client for it, whose connections the server does not end early."""
    server = uvicorn.Server(server_config(app, "127.0.0.1", 0, head_seconds, log_level="warning"))

    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        yield client
    server.should_exit = True
    thread.join(timeout=60)
    app.state.service.close()
    assert not thread.is_alive()


def connected(client: httpx.Client, sent: bytes = b"", source: str = "") -> socket.socket:
    """Return a new connection to the server of a client, on which ``sent`` was sent."""
    connection = socket.create_connection((client.base_url.host, client.base_url.port or 0), 60, (source, 0))
    connection.sendall(sent)
    return connection


def as_base64(image: Tensor | Image.Image | bytes) -> str:
    """Return a picture in base64."""
    if isinstance(image, Tensor):
        image = to_pil(image)
    content = image if isinstance(image, bytes) else png_bytes(image)
    return base64.b64encode(content).decode()


def as_file(image: Tensor) -> tuple[str, bytes]:
    """Return a picture as a file of a form."""
    return "picture.png", png_bytes(to_pil(image))


def from_base64(text: str) -> Tensor:
    """Return a grey or RGB picture, in base64 or a data URL, as a uint8 tensor, (C, H, W)."""
    with Image.open(io.BytesIO(base64.b64decode(text.rpartition(",")[2]))) as picture:
        array = np.asarray(picture)
    return torch.from_numpy(array.copy()).reshape(*array.shape[:2], -1).permute(2, 0, 1)


def png(width: int, height: int, data: bytes | None = None, more: bytes = b"") -> bytes:
    """Return a grey PNG that declares a size, with arbitrary data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    if data is None:
        data = bytes((width + 1) * height)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + more + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return a picture as a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def text_bomb() -> bytes:
    """Return a PNG whose comment inflates to 100 MB."""
    content = b"zTXtComment\x00\x00" + zlib.compress(bytes(100 * 2**20), 9)
    return png(8, 8, more=struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content)))


def rotated(image: Image.Image) -> bytes:
    """Return a PNG with an EXIF tag that turns it clockwise by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(image, "PNG", exif=exif)


def error_of(response: httpx.Response) -> dict[str, Any]:
    """Return the error of an answer; check its format."""
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "request_id"}
    assert body["error"]["request_id"] == response.headers["x-request-id"]
    return body["error"]


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until another thread makes a condition true."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("condition not met within a minute")
