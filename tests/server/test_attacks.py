"""A server under attack serves other clients and returns the memory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from app_client import as_base64, png, saved, text_bomb, wait_until
from PIL import Image
from registry import tiny_model
from serving_process import served

from glow_app.server.limits import Limits
from glow_app.storage.pretrained import save_pretrained

HEAD = "POST /v1/sample HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
# MB from the first attack on, in any order: of all bodies in memory, decoded to 4 bytes a character and parsed.
GROWTH = 1200
JPEG = saved(Image.effect_noise((64, 64), 50).convert("RGB"), "JPEG")
Attack = Callable[[str, int], Awaitable[list[asyncio.StreamWriter] | None]]


def resident(process: int) -> float:
    """Return the peak memory of a process and its children, megabytes."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    texts = [Path(f"/proc/{one}/status").read_text() for one in (process, *children)]
    return sum(int(text.partition("VmHWM:")[2].split()[0]) for text in texts) / 1e3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, float, httpx.Client]]:
    folder = save_pretrained(tiny_model(num_classes=4), tmp_path_factory.mktemp("attacked") / "model")
    # Nobody reads the log: a line for each request would fill the pipe, and the server would wait for its reader.
    # The clients share a busy loop, which may use a connection again after some seconds.
    with served(folder, "--max-body-seconds=300", "--max-seconds=600", "--log-level=warning") as (process, client):
        picture = as_base64(JPEG)
        for _ in range(3):
            client.post("/v1/score", json={"images": [picture] * 64})
        yield process.pid, resident(process.pid), client


async def connections(host: str, port: int) -> list[asyncio.StreamWriter]:
    """Open a thousand connections: silent, with half a head, or with half a body."""
    openings = [b"", b"GET / HTTP/1.1\r\nX-A", (HEAD + "Content-Length: 99\r\n\r\n{").encode()]
    held = []
    for number in range(1000):
        _, writer = await asyncio.open_connection(host, port)
        writer.write(openings[number % 3])
        held.append(writer)
    return held


async def pictures(host: str, port: int) -> None:
    """Send pictures that are small as files and huge when decoded, all at once."""
    bombs = [png(10_000, 10_000, bytes(10**7)), png(4_400, 4_400), text_bomb(), JPEG[:100]]
    bodies = [{"images": [as_base64(bomb)] * 8} for bomb in bombs]
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=None) as client:
        answers = await asyncio.gather(*(client.post("/v1/score", json=body) for body in bodies * 4))
    for number, statuses in enumerate(({413}, {200, 413}, {415}, {415})):  # 413 if decoding is slow
        assert {answer.status_code for answer in answers[number::4]} <= statuses | {503}


async def large_bodies(host: str, port: int) -> None:
    """Send 64 bodies at once, which are four times what may be in memory."""

    async def body() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b" " * 1_000_000

    headers = {"content-type": "application/json"}
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=60) as client:
        answers = await asyncio.gather(
            *(client.post("/v1/sample", content=body(), headers=headers) for _ in range(64)), return_exceptions=True
        )
    statuses = {answer.status_code for answer in answers if isinstance(answer, httpx.Response)}
    assert statuses <= {408, 422, 503}
    assert statuses & {422, 503}


async def values(host: str, port: int) -> None:
    """Send bodies of the largest size with millions of values or an enormous one, and values out of range."""
    room = Limits.body_bytes - 100
    bodies = {
        '{"images": [' + "0," * (room // 2) + "0]}": 422,
        '{"temperature": [' + "[]," * (room // 3) + "[]]}": 422,
        "{" + ",".join(f'"{number}":0' for number in range(room // 12)) + "}": 422,
        '{"' + "a" * room + '":0}': 422,
        '{"images":["\U0001f600' + "A" * room + '"]}': 422,
        '{"images":["' + "\\u0041" * (room // 24 * 4) + '"]}': 415,
        '{"temperature":0.' + "1" * room + "}": 200,
        '{"seed":1' + "0" * room + "}": 422,
        '{"given":"' + "a" * room + '"}': 422,
        '{"given":"' + "\\n" * (room // 2) + '"}': 422,
        '{"given":' + "[" * 500 + "]" * 500 + "}": 422,
        '{"given":1' + "0" * 4000 + "}": 422,
        '{"seed":1e400}': 422,
        '{"count":-1}': 422,
    }
    headers = {"content-type": "application/json"}
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=60) as client:
        for body, status in bodies.items():
            path = "/v1/score" if "images" in body[:20] else "/v1/sample"
            sent = [client.post(path, content=body.encode(), headers=headers) for _ in range(4)]
            for answer in await asyncio.gather(*sent):
                assert answer.status_code == status, body[:40]
                assert status == 200 or len(answer.text) < 800


async def forms(host: str, port: int) -> None:
    """Send forms of the largest size with a thousand pictures, or almost boundaries, headers and parts without end."""
    size, head = Limits.body_bytes - 1000, b'--b\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
    bodies = {
        head + b"\r\n--a" * (size // 5): 422,
        b"\r\n" * (size // 2): 422,
        head[:5] + b"A: b\r\n" * (size // 6): 422,
        head + b"\r\n" * (size // 2) + b"--b--": 415,
        (head + b"\r\n") * (size // len(head) // 2): 422,
        (head + JPEG + b"\r\n") * 65 + b"--b--": 422,
        (head + JPEG + b"\r\n") * 64 + b"--b--": 200,
    }
    headers = {"content-type": "multipart/form-data; boundary=b"}
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=60) as client:
        for body, status in bodies.items():
            sent = [client.post("/v1/score", content=body, headers=headers) for _ in range(2)]
            for answer in await asyncio.gather(*sent):
                assert answer.status_code == status, (body[:40], answer.text)


ATTACKS = [connections, pictures, large_bodies, values, forms]


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
def test_other_clients_are_served_during_an_attack(attack: Attack, server: tuple[int, float, httpx.Client]) -> None:
    process, before, client = server

    async def both() -> list[int]:
        host, port = client.base_url.host, client.base_url.port or 0
        attacking = asyncio.ensure_future(attack(host, port))
        statuses: list[int] = []
        async with httpx.AsyncClient(base_url=client.base_url, timeout=60) as other:
            more = 5  # while the connections of the attack are open
            while more:
                more -= attacking.done()
                statuses.append((await other.post("/v1/sample", json={})).status_code)
                assert (await other.get("/healthz")).status_code == 200
        for writer in await attacking or []:
            writer.close()
        return statuses

    # On a thread of its own: tests in a browser leave a loop running on this one.
    with ThreadPoolExecutor(1) as pool:
        statuses = pool.submit(asyncio.run, both()).result()
    assert set(statuses) <= ({200, 503} if attack is large_bodies else {200})
    wait_until(lambda: client.post("/v1/sample", json={}).status_code == 200)
    assert resident(process) - before < GROWTH, "megabytes"
