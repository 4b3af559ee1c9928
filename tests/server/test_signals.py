"""Signals to `glow serve` as a process: a stop that leaves nobody without an answer."""

import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from app_client import as_base64, connected, error_of, wait_until
from PIL import Image
from registry import random_images, tiny_model
from serving_process import served
from test_gate import HEAD
from test_pictures import scans

from glow_app.flows import Glow
from glow_app.models.image_model import ImageModel
from glow_app.storage.pretrained import save_pretrained


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pretrained(tiny_model(num_classes=4), tmp_path_factory.mktemp("served") / "model")


@pytest.mark.slow
def test_sigterm_answers_everyone_in_one_shape(exported: Path) -> None:
    """Requests that are drawn, that are sent and that are decoded when the signal comes, and those that come after."""
    statuses: list[int] = []
    errors: list[dict[str, Any]] = []
    slow = as_base64(scans(Image.new("L", (4000, 4000)), 80))
    bodies = [{"count": 4}, {"count": 4}, {"images": [slow] * 2}, {"images": [slow] * 2}]

    def ask(body: dict[str, Any]) -> None:
        with httpx.Client(base_url=client.base_url, timeout=30) as own:
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

    with served(exported, "--max-body-seconds=30", "--max-body-bytes=30000000") as (process, client):
        half = connected(client, HEAD.replace(b"Host: x", b"Host: localhost") + b"Content-Length: 99\r\n\r\n{")
        threads = [threading.Thread(target=ask, args=[body]) for body in bodies]
        for thread in threads:
            thread.start()
        while statuses.count(200) < 8:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert half.recv(12) == b"HTTP/1.1 503"
        ready = []
        with suppress(httpx.TransportError):
            while True:
                ready.append(client.get("/readyz").status_code)
                time.sleep(0.05)
        half.close()
        process.wait(20)
        for thread in threads:
            thread.join(30)
        assert process.returncode in (0, -signal.SIGTERM, 143)
        assert process.stdout is not None
        log = process.stdout.read()
    assert set(statuses) <= {200, 503}
    assert {error["code"] for error in errors} <= {"stopping"}
    assert 503 in ready
    assert "Traceback" not in log


@pytest.mark.slow
def test_a_client_that_does_not_read_is_not_waited_for(exported: Path) -> None:
    with served(exported) as (process, client), socket.socket() as unread:
        unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        unread.connect((client.base_url.host, client.base_url.port or 0))
        for _ in range(150):  # 25 kB are answered to each, until nothing more fits between the two
            unread.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
            time.sleep(0.01)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        assert time.monotonic() - begun < 8  # 5 s, on a machine with other work


@pytest.mark.slow
def test_a_second_signal_ends_what_is_decoded(exported: Path) -> None:
    with served(exported) as (process, client):
        (decoder,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(decoder), signal.SIGSTOP)  # so that no picture is ever done
        with ThreadPoolExecutor(1) as pool:
            body = {"images": [as_base64(random_images(1)[0])]}
            answer = pool.submit(httpx.post, f"{client.base_url}/v1/reconstruct", json=body, timeout=60)
            wait_until(lambda: "glow_queue_depth 1.0" in client.get("/metrics").text)
            process.send_signal(signal.SIGINT)
            wait_until(lambda: client.get("/readyz").status_code == 503)
            process.send_signal(signal.SIGINT)
            process.wait(20)
            assert answer.result().status_code == 503
            assert error_of(answer.result())["code"] == "stopping"


@pytest.mark.slow
def test_a_stop_while_the_model_works_is_no_crash(tmp_path: Path) -> None:
    model = ImageModel(Glow((3, 32, 32), 2, 16, 128))
    model.initialize(random_images(16, (3, 32, 32)))
    folder = save_pretrained(model, tmp_path / "slow")
    for _ in range(2):
        with served(folder) as (process, client):
            with suppress(httpx.ReadTimeout):
                client.post("/v1/sample", json={"count": 64}, timeout=0.3)  # its client leaves while it is drawn
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
            assert process.stdout is not None
            assert process.stdout.read().endswith("interrupted\n")
