"""Limits of requests and connections, keys, host names, logs and the queue."""

import asyncio
import http.client
import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from app_client import as_base64, connected, error_of, running, saved, wait_until
from busy_thread import BusyThread
from fastapi import Request, Response
from PIL import Image
from registry import named, tiny_model, tiny_restorer
from starlette.types import Message, Receive, Scope, Send

from glow_app.restoration import Clean
from glow_app.server.app import create_app
from glow_app.server.gate import Gate
from glow_app.server.limits import Limits
from glow_app.server.monitoring import log_config
from glow_app.server.restorer import Restorer

KEY = "correct-horse"
JSON, OCTETS = {"content-type": "application/json"}, "application/octet-stream"
FORM = {"content-type": "multipart/form-data; boundary=b"}
HEAD = b"POST /v1/sample HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
GET, CHUNKED = b"GET /healthz HTTP/1.1\r\nHost: x\r\n", HEAD + b"Transfer-Encoding: chunked\r\n"
CLOSE, UPGRADE = b"Connection: close\r\n", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with running(create_app(tiny_model(), Limits(body_bytes=100_000), hosts=["x"])) as client:
        yield client


def raw(client: httpx.Client, sent: bytes) -> bytes:
    """Send raw bytes; return all that the server sends until it closes the connection."""
    received = b""
    with connected(client) as connection:
        with suppress(OSError):  # closed while there was more to send
            connection.sendall(sent)
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionResetError:
            pass
    return received


def send_until_closed(connection: socket.socket, drop: bytes) -> None:
    """Send a little again and again, until the server closes the connection."""
    with suppress(ConnectionResetError, BrokenPipeError):
        while True:
            connection.sendall(drop)
            time.sleep(0.01)


def test_bodies_are_bounded(client: httpx.Client) -> None:
    for headers in (JSON, FORM):
        for content in (b" " * 200_000, (b" " * 1000 for _ in range(200))):
            response = client.post("/v1/sample", content=content, headers=headers)
            assert (response.status_code, error_of(response)["code"]) == (413, "body_too_large")
    assert raw(client, HEAD + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert raw(client, HEAD + CLOSE + b"Content-Length: 99999999999\r\n\r\n").startswith(b"HTTP/1.1 413")
    assert client.post("/v1/sample", json={}).status_code == 200


@pytest.mark.parametrize(("kind", "status"), [("application/json", 413), ("text/plain", 415)])
def test_a_client_that_writes_everything_first_is_answered(client: httpx.Client, kind: str, status: int) -> None:
    connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=60)
    connection.request("POST", "/v1/score", b" " * (10 * 2**20), {"Content-Type": kind})
    answer = connection.getresponse()
    assert answer.status == status
    assert json.loads(answer.read())["error"]["message"]
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200


def test_all_bodies_together_are_bounded() -> None:
    app = create_app(tiny_model(), Limits(body_bytes=10_000, body_seconds=600), hosts=["x"])
    with running(app) as client:
        large = HEAD + b"Content-Length: 10000\r\n\r\n" + b" " * 9_999
        waiting = [connected(client, large) for _ in range(5)]
        wait_until(lambda: app.state.gate.body_bytes == 49_995)
        response = client.post("/v1/sample", content=b" " * 9_000, headers=JSON)
        assert (response.status_code, error_of(response)["code"]) == (503, "too_many_bodies")
        assert client.post("/v1/sample", content=b" " * 100 + b"{}", headers=JSON).status_code == 200
        for connection in waiting:
            connection.close()
        wait_until(lambda: app.state.gate.body_bytes == 0)
        assert client.post("/v1/sample", content=b" " * 9_000 + b"{}", headers=JSON).status_code == 200


@pytest.mark.parametrize("path", ["score", "restore"])
@pytest.mark.parametrize("is_form", [True, False])
def test_a_body_counts_until_its_picture_is_decoded(path: str, is_form: bool) -> None:
    content = saved(Image.new("RGB", (8, 8)), "PNG") + bytes(50_000)  # padded after its end
    app = create_app(tiny_model(), restorers=[Restorer("photos-clean", tiny_restorer(Clean()))])
    field = "image" if path == "restore" else "images"
    value = as_base64(content) if path == "restore" else [as_base64(content)]
    sent: Any = {"files": {field: content}} if is_form else {"json": {field: value}}
    with running(app) as client, ThreadPoolExecutor(1) as pool:
        busy = BusyThread(app.state.service.thread)
        answer = pool.submit(client.post, f"/v1/{path}", **sent)
        wait_until(lambda: app.state.gate.depth == 1 and app.state.gate.body_bytes < 1000)
        busy.release()
        assert answer.result().status_code == 200
        wait_until(lambda: app.state.gate.body_bytes == 0)


def test_an_answer_counts_until_it_is_sent_in_pieces() -> None:
    service = create_app(tiny_model())
    gate: Gate = service.state.gate
    content = bytes(range(256)) * 1000

    async def answer(_: Request) -> Response:
        return Response(content)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await (await gate.admit(Request(scope, receive), answer, [OCTETS]))(scope, receive, send)

    async def requested() -> list[bytes]:
        sent: list[bytes] = []
        depths: list[int] = []

        async def receive() -> Message:
            if depths:
                await asyncio.Event().wait()
            depths.append(0)
            return {"type": "http.request", "body": b"a body"}

        async def send(message: Message) -> None:
            sent.append(bytes(message.get("body", b"")))
            depths.append(gate.depth)

        headers = [(b"host", b"localhost"), (b"content-type", OCTETS.encode())]
        scope = {"type": "http", "method": "POST", "path": "/v1/decode", "headers": headers}
        await gate.wrap(application)(scope, receive, send)
        assert depths == [0] + [1] * len(sent)
        return sent

    with start_blocking_portal() as portal:  # tests of the page leave a running event loop in this thread
        sent = portal.call(requested)
    assert gate.depth == 0
    assert b"".join(sent) == content
    assert max(map(len, sent)) == 2**16
    service.state.service.close()


def test_text_of_a_form_is_short_and_utf_8_whatever_its_header_says() -> None:
    model = named(tiny_model(num_classes=2), "chat", "\u0443\u043b")
    with running(create_app(model)) as client:
        for charset in ("punycode", "latin-1", "nonsense"):
            headers = {"content-type": f"multipart/form-data; boundary=b; charset={charset}"}
            part = 'Content-Disposition: form-data; name="given"'
            for given, status in (("\u0443\u043b", 200), ("a" * 2**14, 422)):
                content = f"--b\r\n{part}\r\n\r\n{given}\r\n--b--".encode()
                assert client.post("/v1/sample", content=content, headers=headers).status_code == status
            response = client.post("/v1/sample", content=content.replace(b"aaaa", b"aaaaa"), headers=headers)
            assert "16KB" in error_of(response)["message"]


def test_forms_of_other_sites_are_refused() -> None:
    app, files = create_app(tiny_model(), hosts=["friend.example"]), {"images": saved(Image.new("RGB", (8, 8)), "PNG")}
    with running(app) as client:
        own = str(client.base_url)
        for headers, status in (
            ({"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, 403),
            ({"sec-fetch-site": "same-site", "origin": "http://localhost:1"}, 403),
            ({"sec-fetch-site": "cross-site", "origin": "null"}, 403),
            ({"origin": "https://evil.example"}, 403),
            ({"origin": "http://[::1"}, 403),
            ({"sec-fetch-site": "cross-site", "origin": "https://friend.example:8443"}, 200),
            ({"sec-fetch-site": "same-origin", "origin": "https://behind.a.proxy"}, 200),
            ({"sec-fetch-site": "none"}, 200),
            ({"origin": own}, 200),
            ({}, 200),
        ):
            response = client.post("/v1/score", files=files, headers=headers)
            assert response.status_code == status, headers
            assert status == 200 or error_of(response)["code"] == "other_origin"


def test_slow_clients_are_disconnected() -> None:
    app = create_app(tiny_model(), Limits(body_seconds=0), hosts=["x"])
    with running(app) as client, connected(client, HEAD + b"Content-Length: 1000\r\n\r\n ") as connection:
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 408")
    with running(create_app(tiny_model()), head_seconds=0.1) as client:
        assert raw(client, b"") == b""
        assert raw(client, GET) == b""
        with connected(client, GET) as connection:
            send_until_closed(connection, b"X-A: b\r\n")
            with suppress(ConnectionResetError):
                assert connection.recv(65536) == b""


REFUSED = {
    "a control character": GET + b"X-A: b\x00c\r\n\r\n",
    "two lengths": GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a long line": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    "a long head without an end": GET + b"A: " + b"b" * 100_000,
    "a length and chunks": CHUNKED + b"Content-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "CONNECT": b"CONNECT /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "trailers": CHUNKED + b"\r\n2\r\n{}\r\n0\r\n" + b"a:b\r\n" * 1000,
    "a body beside an upgrade": HEAD + UPGRADE + b"Content-Length: 36\r\n\r\n" + GET + b"\r\n",
    "chunks beside an upgrade": CHUNKED + UPGRADE + b"\r\n" + GET + b"\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_http_is_refused(name: str, client: httpx.Client) -> None:
    answer = raw(client, REFUSED[name])
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert client.get("/healthz").status_code == 200


def test_chunks_and_upgrades_are_accepted(client: httpx.Client) -> None:
    pieces = b"40\r\n%s\r\n" % (b" " * 64) * 1_500 + b"2\r\n{}\r\n0\r\n\r\n"
    assert raw(client, CHUNKED + CLOSE + b"\r\n" + pieces).startswith(b"HTTP/1.1 200")
    with connected(client) as connection:
        for _ in range(2):
            connection.sendall(GET + UPGRADE + b"\r\n")
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert (answer.status, bool(answer.read())) == (200, True)


def test_the_limit_of_a_head_holds_for_each_request_of_a_connection(client: httpx.Client) -> None:
    for _ in range(40):
        assert client.get("/healthz", headers={"x-a": "a" * 1000}).status_code == 200


def test_pipelined_requests_are_answered_in_turn(client: httpx.Client) -> None:
    assert raw(client, (GET + b"\r\n") * 50 + GET + CLOSE + b"\r\n").count(b"HTTP/1.1 200") == 51
    assert client.get("/healthz").status_code == 200


def test_content_type(client: httpx.Client) -> None:
    for headers in ({"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}, {}):
        response = client.post("/v1/sample", content=b"{}", headers=headers)
        assert (response.status_code, error_of(response)["code"]) == (415, "unknown_content_type")


def test_request_ids_of_a_proxy_are_kept_if_safe(client: httpx.Client) -> None:
    ids = [
        client.get("/healthz", headers={"x-request-id": sent}).headers["x-request-id"]
        for sent in ("Root=1-67891233-abcdef", "mine\tevil", "mine\tevil", "a" * 129)
    ]
    assert ids[0] == "Root=1-67891233-abcdef"
    assert len(set(ids)) == 4
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids[1:])
    headers = client.get("/healthz").headers
    assert "script-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers


def test_a_key_is_required() -> None:
    with running(create_app(tiny_model(), keys=["other", KEY])) as client:
        for headers in ({}, {"authorization": f"Bearer {KEY}x"}, {"authorization": KEY}, {"authorization": "Bearer"}):
            for response in (client.get("/v1/info", headers=headers), client.post("/v1/sample", headers=headers)):
                assert (response.status_code, error_of(response)["code"]) == (401, "no_key")
                assert response.headers["www-authenticate"] == "Bearer"
        strange = client.get("/v1/info", headers={b"authorization": "Bearer ñ".encode("latin-1")})
        assert strange.status_code == 401
        right = {"authorization": f"Bearer {KEY}"}
        assert client.get("/v1/info", headers=right).status_code == 200
        assert client.post("/v1/sample", json={}, headers=right).status_code == 200
        for path in ("/", "/healthz", "/metrics"):
            assert client.get(path).status_code == 200
    with pytest.raises(ValueError, match="non-ASCII"):
        create_app(tiny_model(), keys=["schl\u00fcssel"])


@pytest.mark.parametrize(
    "body",
    [
        '{"images": [' + "0," * 20_000 + "0]}",
        "{" + ",".join(f'"{number}":0' for number in range(8_000)) + "}",
        "[" * 90_000,
        '{"a":' * 19_000,
    ],
    ids=["numbers", "keys", "depth", "nested"],
)
def test_bodies_with_too_many_values_are_not_parsed(body: str, client: httpx.Client) -> None:
    response = client.post("/v1/sample", content=body, headers=JSON)
    assert (response.status_code, error_of(response)["code"]) == (422, "too_many_values")


def test_a_client_that_never_reads_is_disconnected() -> None:
    app = create_app(tiny_model(), Limits(body_seconds=0), hosts=["x"])
    with running(app) as client, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((client.base_url.host, client.base_url.port or 0))
        connection.sendall(b"GET /swagger/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n")
        send_until_closed(connection, b"G")


def test_unknown_host_names_are_refused() -> None:
    with running(create_app(tiny_model(), hosts=["glow.example", "*.inner.example"])) as client:
        port = client.base_url.port
        for host in (f"127.0.0.1:{port}", "localhost:80", "[::1]:8000", "10.0.0.7", "GLOW.example", "a.inner.example"):
            assert client.get("/v1/info", headers={"host": host}).status_code == 200, host
        for host in (
            "evil.example",
            "glow.example.evil",
            "inner.example",
            "127.0.0.1.evil.example",
            "[fe80::1%evil]",
            "",
        ):
            for path in ("/", "/v1/info", "/metrics"):
                response = client.get(path, headers={"host": host})
                assert (response.status_code, error_of(response)["code"]) == (421, "unknown_host"), host
        twice = raw(client, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nConnection: close\r\n\r\n")
        assert twice.startswith(b"HTTP/1.1 421")
    with running(create_app(tiny_model(), hosts=["*"])) as client:
        assert client.get("/v1/info", headers={"host": "anything"}).status_code == 200


def test_the_log_omits_queries(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("glow_app.access")
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.DEBUG)
    try:
        client.get(
            "/v1/info%0aforged?key=secret", headers={"x-forwarded-for": "forged, 1.2.3.4", "x-request-id": "abc"}
        )
        client.get("/healthz")
        wait_until(lambda: len(caplog.records) == 2)  # a line is written after the answer
    finally:
        logger.removeHandler(caplog.handler)
        logger.setLevel(logging.WARNING)
    first, probe = caplog.records
    fields = first.__dict__["fields"]
    assert fields.pop("duration_ms") >= 0
    expected = {"client": "1.2.3.4", "method": "GET", "path": "/v1/info%0Aforged", "status": 404, "request_id": "abc"}
    assert fields == expected
    assert "secret" not in first.getMessage()
    assert (first.levelno, probe.levelno) == (logging.INFO, logging.DEBUG)
    formatted = log_config("json", "INFO")["formatters"]["json"]["()"]().format(first)
    assert json.loads(formatted)["request_id"] == "abc"


def test_requests_beyond_the_queue_are_refused() -> None:
    app = create_app(tiny_model(), Limits(queue=1), hosts=["x"])
    with running(app) as client:
        busy = BusyThread(app.state.service.thread)
        with connected(client, HEAD + b"Content-Length: 2\r\n\r\n{}") as waiting:
            wait_until(lambda: app.state.gate.depth == 1)
            response = client.post("/v1/sample", json={})
            assert (response.status_code, error_of(response)["code"]) == (503, "queue_full")
            assert int(response.headers["retry-after"]) > 0
            busy.release()
            assert waiting.recv(12) == b"HTTP/1.1 200"
        wait_until(lambda: client.post("/v1/sample", json={}).status_code == 200)


def test_requests_that_take_too_long_are_ended() -> None:
    app = create_app(tiny_model(), Limits(seconds=0.5))
    with running(app) as client:
        busy = BusyThread(app.state.service.thread)
        response = client.post("/v1/sample", json={})
        assert (response.status_code, error_of(response)["code"]) == (504, "too_slow")
        wait_until(lambda: app.state.gate.depth == 0)
        busy.release()
