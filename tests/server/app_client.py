"""A server on a port of its own, in a thread of the tests, and pictures to send."""

import asyncio
import base64
import io
import socket
import threading
import time
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

from glow_app.pictures.images import png_bytes, to_pil
from glow_app.server.run import bind, configured


@contextmanager
def running(app: FastAPI, head_seconds: float = 5.0) -> Iterator[httpx.Client]:
    """Yield a client of a server that runs until the end."""
    sockets = bind("127.0.0.1", 0)
    server = uvicorn.Server(configured(app, head_seconds, log_level="warning"))

    async def serve() -> None:
        app.state.loop = asyncio.get_running_loop()
        await server.serve(sockets)
        await app.state.decoder.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        yield client
    server.should_exit = True
    thread.join(timeout=20)
    assert not thread.is_alive()


def connected(client: httpx.Client, sent: bytes = b"", source: str = "") -> socket.socket:
    """Return a connection to the server of a client, from an address of this machine, on which something was sent."""
    connection = socket.create_connection((client.base_url.host, client.base_url.port or 0), 10, (source, 0))
    connection.sendall(sent)
    return connection


def as_base64(image: Tensor | Image.Image | bytes) -> str:
    """Return a picture as the API takes it."""
    if isinstance(image, Tensor):
        image = to_pil(image)
    content = image if isinstance(image, bytes) else png_bytes(image)
    return base64.b64encode(content).decode()


def from_base64(text: str) -> Tensor:
    """Return a grey or RGB picture of an answer as a uint8 tensor, (C, H, W)."""
    with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
        array = np.asarray(picture)
    return torch.from_numpy(array.copy()).reshape(*array.shape[:2], -1).permute(2, 0, 1)


def error_of(response: httpx.Response) -> dict[str, Any]:
    """Return the error of an answer, which has the one shape and no more."""
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "request_id"}
    assert body["error"]["request_id"] == response.headers["x-request-id"]
    return body["error"]


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens soon on another thread."""
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")
