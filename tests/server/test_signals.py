"""Signals to `glow serve` as a process."""

import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from app_client import as_base64, connected, png, wait_until
from registry import random_images, tiny_model
from serving_process import served

from glow_app.flows import Glow
from glow_app.models.image_model import ImageModel
from glow_app.storage.pretrained import save_pretrained

HEAD = b"POST /v1/sample HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def wait_for_decoder(client: httpx.Client) -> None:
    """Wait for the process that decodes pictures, which logs an error if it is ended while it starts."""
    picture = as_base64(random_images(1)[0])
    while client.post("/v1/reconstruct", json={"images": [picture]}).status_code != 200:
        time.sleep(0.1)


def refuses_connections(client: httpx.Client) -> bool:
    try:
        connected(client).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_all_requests_are_answered_on_a_stop(stop: signal.Signals, tmp_path: Path) -> None:
    """The signal comes while requests are received, decoded and computed; a second Ctrl-C ends them at once."""
    statuses: list[int] = []
    errors: list[dict[str, Any]] = []
    large = as_base64(png(4000, 4000))
    bodies = [{"count": 4}, {"count": 4}, {"images": [large] * 2}, {"images": [large] * 2}]

    def ask(body: dict[str, Any]) -> None:
        with httpx.Client(base_url=client.base_url, timeout=300) as own:
            while True:
                try:
                    answer = own.post("/v1/sample" if "count" in body else "/v1/reconstruct", json=body)
                except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError):
                    return  # refused or closed between two requests; to be left waiting would be a ReadTimeout
                statuses.append(answer.status_code)
                if answer.status_code == 503:
                    errors.append(answer.json()["error"])
                    assert answer.headers["retry-after"] == "5"
                    return

    folder = save_pretrained(tiny_model(num_classes=4), tmp_path / "model")
    with served(folder, "--max-body-seconds=300", "--max-decode-seconds=300") as (process, client):
        wait_for_decoder(client)
        half = connected(client, HEAD + b"Content-Length: 99\r\n\r\n{")
        threads = [threading.Thread(target=ask, args=[body]) for body in bodies]
        for thread in threads:
            thread.start()
        while statuses.count(200) < 8:
            time.sleep(0.01)
        process.send_signal(stop)
        if stop == signal.SIGINT:
            wait_until(lambda: refuses_connections(client))
            process.send_signal(stop)
        assert half.recv(12) == b"HTTP/1.1 503"
        half.close()
        process.wait(300)  # 5 s, but on a machine with other work
        for thread in threads:
            thread.join(300)
        assert process.returncode == 128 + stop
        assert process.stdout is not None
        log = process.stdout.read()
    assert set(statuses) <= {200, 503}
    assert {error["code"] for error in errors} <= {"stopping"}
    # A decoder that replaces another and is ended while it starts, on a slow machine, writes one itself.
    assert log.count("Traceback") == log.count("in spawn_main")


@pytest.mark.slow
def test_a_stop_during_computation_exits_cleanly(tmp_path: Path) -> None:
    model = ImageModel(Glow((3, 32, 32), 2, 16, 128))
    model.initialize(random_images(16, (3, 32, 32)))
    with served(save_pretrained(model, tmp_path / "slow")) as (process, client):
        wait_for_decoder(client)
        asked = [connected(client, HEAD + b'Content-Length: 13\r\n\r\n{"count": 64}') for _ in range(30)]
        wait_until(lambda: "glow_queue_depth 0.0" not in client.get("/metrics").text)
        for connection in asked:
            connection.close()  # the clients leave while their images are drawn
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130
        assert process.stdout is not None
        assert process.stdout.read().endswith("interrupted\n")
