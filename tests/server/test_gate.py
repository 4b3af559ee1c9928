"""What comes to the door: bodies without end, without haste or without a key."""

import json
import logging
import re
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
from app_client import connected, error_of, running, wait_until
from registry import tiny_model
from test_worker import Held

from glow_app.server import Limits, create_app, protocol
from glow_app.server.log import _address, log_config

KEY = "correct-horse"
JSON = {"content-type": "application/json"}
HEAD = b"POST /v1/sample HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    limits = Limits(body_bytes=100_000, body_seconds=0.5)
    with running(create_app(tiny_model(), limits, hosts=["x"]), head_seconds=0.5) as client:
        yield client


def raw(client: httpx.Client, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send bytes as they are and return all that comes back until the server closes."""
    with connected(client) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
        except OSError:
            pass  # closed while there was more to send, as a server should that has heard enough
        found = b""
        try:
            while chunk := connection.recv(65536):
                found += chunk
        except ConnectionResetError:
            pass
        return found


def test_a_body_is_bounded_declared_or_not(client: httpx.Client) -> None:
    response = client.post("/v1/sample", content=b" " * 200_000, headers=JSON)
    assert (response.status_code, error_of(response)["code"]) == (413, "body_too_large")

    def endless() -> Iterator[bytes]:
        for _ in range(200_000 // 1000):
            yield b" " * 1000

    response = client.post("/v1/sample", content=endless(), headers=JSON)
    assert (response.status_code, error_of(response)["code"]) == (413, "body_too_large")
    assert raw(client, HEAD + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n").startswith(b"HTTP/1.1 4")
    assert raw(client, HEAD + b"Content-Length: 99999999999\r\n\r\n").startswith(b"HTTP/1.1 413")
    assert client.post("/v1/sample", json={}).status_code == 200


def test_bodies_of_all_requests_together_are_bounded() -> None:
    app = create_app(tiny_model(), Limits(body_bytes=10_000, body_seconds=2), hosts=["x"])
    with running(app) as client:
        waiting = []
        for _ in range(9):
            waiting.append(connected(client, HEAD + b"Content-Length: 10000\r\n\r\n" + b" " * 9_000))
            time.sleep(0.02)
        response = client.post("/v1/sample", content=b" " * 9_000, headers=JSON)
        assert (response.status_code, error_of(response)["code"]) == (503, "too_many_bodies")
        assert client.get("/v1/info").status_code == 200
        for connection in waiting:
            connection.close()
        wait_until(lambda: client.post("/v1/sample", content=b"{}", headers=JSON).status_code == 200)


def test_slow_bodies_heads_and_silence_are_cut_off(client: httpx.Client) -> None:
    answer = raw(client, HEAD + b"Content-Length: 1000\r\n\r\n", b" ")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"body_too_slow" in answer
    assert raw(client, b"GET /healthz HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 10, pause=0.15) == b""
    assert raw(client) == b""


GET, CHUNKED = b"GET /healthz HTTP/1.1\r\nHost: x\r\n", HEAD + b"Transfer-Encoding: chunked\r\n"
REFUSED = {
    "a control character": GET + b"X-A: b\x00c\r\n\r\n",
    "two lengths": GET + b"Host: y\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a long line": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    "a length and chunks": CHUNKED + b"Content-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "CONNECT to a host": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "CONNECT to a path": b"CONNECT /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "two hosts": GET + b"Host: x\r\n\r\n",
    "many headers": GET + b"A: b\r\n" * 1000 + b"\r\n",
    "many headers without an end": GET + b"a:b\r\n" * 200,
    "a body in pieces of 1 byte": CHUNKED + b"\r\n" + b"1\r\n \r\n" * 2_000,
    "a body in pieces of 10 bytes": CHUNKED + b"\r\n" + (b"a\r\n" + b" " * 10 + b"\r\n") * 2_000,
    "a body in pieces of 32 bytes": CHUNKED + b"\r\n" + (b"20\r\n" + b" " * 32 + b"\r\n") * 3_000,
    "trailers": CHUNKED + b"\r\n2\r\n{}\r\n0\r\n" + b"a:b\r\n" * 1000,
    "a host as a trailer": CHUNKED + b"\r\n2\r\n{}\r\n0\r\n" + b"Host: x\r\n" * 1000,
    "long trailers": CHUNKED + b"\r\n2\r\n{}\r\n0\r\n" + (b"A: " + b"b" * 1000 + b"\r\n") * 1000,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_http_or_has_no_end_is_refused(name: str, client: httpx.Client) -> None:
    answer = raw(client, REFUSED[name])
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"\r\nx-content-type-options: nosniff\r\n" in answer.lower()
    assert client.get("/healthz").status_code == 200


def test_the_type_of_a_body(client: httpx.Client) -> None:
    for headers in ({"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}, {}):
        response = client.post("/v1/sample", content=b"{}", headers=headers)
        assert (response.status_code, error_of(response)["code"]) == (415, "not_json")


def test_a_request_has_the_number_of_the_proxy_where_it_is_one(client: httpx.Client) -> None:
    numbers = [
        client.get("/healthz", headers={"x-request-id": sent}).headers["x-request-id"]
        for sent in ("Root=1-67891233-abcdef", "mine\tevil", "mine\tevil", "a" * 129)
    ]
    assert numbers[0] == "Root=1-67891233-abcdef"
    assert len(set(numbers)) == 4
    assert all(re.fullmatch("[0-9a-f]{32}", number) for number in numbers[1:])
    first = client.get("/healthz")
    assert "script-src 'self'" in first.headers["content-security-policy"]
    assert first.headers["x-content-type-options"] == "nosniff"
    assert "server" not in first.headers


def test_the_key_opens_and_nothing_else_does() -> None:
    with running(create_app(tiny_model(), keys=["other", KEY])) as client:
        for headers in ({}, {"authorization": f"Bearer {KEY}x"}, {"authorization": KEY}, {"authorization": "Bearer"}):
            for response in (client.get("/v1/info", headers=headers), client.post("/v1/sample", headers=headers)):
                assert (response.status_code, error_of(response)["code"]) == (401, "no_key")
                assert response.headers["www-authenticate"] == "Bearer"
        strange = client.get("/v1/info", headers={"authorization": "Bearer ñ".encode("latin-1")})
        assert strange.status_code == 401
        right = {"authorization": f"Bearer {KEY}"}
        assert client.get("/v1/info", headers=right).status_code == 200
        assert client.post("/v1/sample", json={}, headers=right).status_code == 200
        for path in ("/", "/healthz", "/readyz", "/metrics"):
            assert client.get(path).status_code == 200
        assert "securitySchemes" in client.get("/openapi.json").json()["components"]
    with pytest.raises(ValueError, match="the key has other characters"):
        create_app(tiny_model(), keys=["schl\u00fcssel"])


@pytest.mark.parametrize(
    "body",
    [
        '{"images": [' + "0," * 20_000 + "0]}",
        '{"temperature": [' + "[]," * 20_000 + "[]]}",
        "{" + ",".join(f'"{number}":0' for number in range(8_000)) + "}",
        "[" * 90_000,
        '{"a":' * 19_000,
    ],
    ids=["numbers", "lists", "keys", "depth", "nested"],
)
def test_a_body_of_many_values_is_refused_before_it_is_parsed(body: str, client: httpx.Client) -> None:
    response = client.post("/v1/sample", content=body, headers=JSON)
    assert (response.status_code, error_of(response)["code"]) == (422, "too_many_values")


def test_a_body_may_come_in_pieces_of_some_size(client: httpx.Client) -> None:
    pieces = b"40\r\n%s\r\n" % (b" " * 64) * 1_500 + b"2\r\n{}\r\n0\r\n\r\n"
    assert b"200" in raw(client, CHUNKED + b"\r\n" + pieces)[:20]


def test_requests_without_end_on_one_connection_are_refused(client: httpx.Client) -> None:
    answer = raw(client, (GET + b"\r\n") * 5000)
    assert answer.count(b"HTTP/1.1 200") < 100
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(("number", "size"), [(1, 70_000), (8, 10_000)])
def test_bodies_of_requests_that_wait_for_earlier_answers_are_bounded(number: int, size: int) -> None:
    app = create_app(tiny_model(), hosts=["x"])
    with running(app) as client:
        held = Held(app.state.service.worker)
        try:
            waiting = HEAD + f"Content-Length: {size}\r\n\r\n".encode() + b" " * size
            assert raw(client, HEAD + b"Content-Length: 2\r\n\r\n{}" + waiting * number).startswith(b"HTTP/1.1 400")
        finally:
            held.let_go()


def test_a_large_body_that_nobody_reads_is_refused(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_UNREAD_BODIES", 1000, raising=False)  # so that it comes in one piece
    for size, status in ((1000, b"HTTP/1.1 200"), (1001, b"HTTP/1.1 400")):
        assert raw(client, GET + b"Content-Length: %d\r\n\r\n" % size + b" " * size).startswith(status)


def test_a_client_that_never_reads_is_cut_off() -> None:
    app = create_app(tiny_model(), Limits(count=64), hosts=["x"])
    with running(app, head_seconds=0.3) as client, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((client.base_url.host, client.base_url.port or 0))

        def send() -> None:
            for _ in range(300):
                connection.sendall(HEAD + b'Content-Length: 13\r\n\r\n{"count": 64}')
                time.sleep(0.1)

        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            send()


def test_connections_are_bounded_by_the_files_that_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64 + 10, 4096))
    with running(create_app(tiny_model())) as client:
        held = [connected(client) for _ in range(10)]
        with connected(client) as more, suppress(ConnectionResetError):
            assert more.recv(1) == b""
        held.pop().close()
        wait_until(lambda: is_taken(client))
        for connection in held:
            connection.close()


def is_taken(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_name_that_is_not_the_servers_is_refused() -> None:
    with running(create_app(tiny_model(), hosts=["glow.example", "*.inner.example"])) as client:
        port = client.base_url.port
        for host in (
            "127.0.0.1",
            f"127.0.0.1:{port}",
            "localhost:80",
            "[::1]:8000",
            "10.0.0.7",
            "GLOW.example",
            "a.inner.example",
        ):
            assert client.get("/v1/info", headers={"host": host}).status_code == 200, host
        for host in (
            "evil.example",
            "glow.example.evil",
            "inner.example",
            "127.0.0.1.evil.example",
            "[::1",
            "[fe80::1%evil]",
            "",
        ):
            for path in ("/", "/v1/info", "/metrics"):
                response = client.get(path, headers={"host": host})
                assert (response.status_code, error_of(response)["code"]) == (421, "unknown_host"), host
    with running(create_app(tiny_model(), hosts=["*"])) as client:
        assert client.get("/v1/info", headers={"host": "anything"}).status_code == 200


def test_a_line_of_the_log_has_no_query_and_no_forged_address(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"x-forwarded-for": "1.2.3.4, forged", "x-request-id": "abc"}
    logger = logging.getLogger("glow_app.access")
    logger.addHandler(caplog.handler)
    logger.propagate, level = False, logger.level
    logger.setLevel(logging.DEBUG)
    try:
        client.get("/v1/info%0aforged?key=secret", headers=headers)
        client.get("/healthz")
        wait_until(lambda: len(caplog.records) == 2)  # a line is written after the answer
    finally:
        logger.removeHandler(caplog.handler)
        logger.setLevel(level)
    (first, probe) = caplog.records
    fields = first.__dict__["fields"]
    assert fields.pop("duration_ms") > 0
    assert fields == {
        "client": "127.0.0.1",
        "method": "GET",
        "path": "/v1/info%0Aforged",
        "status": 404,
        "request_id": "abc",
    }
    assert "secret" not in first.getMessage()
    assert (first.levelno, probe.levelno) == (logging.INFO, logging.DEBUG)
    formatted = log_config("json", "INFO")["formatters"]["json"]["()"]().format(first)
    assert json.loads(formatted)["request_id"] == "abc"


def test_an_address_in_the_log_is_one() -> None:
    hosts = ["1.2.3.4", "fe80::1%INFO:\x85forged", "forged", ""]
    assert [_address({"client": (host, 1)}) for host in hosts] == ["1.2.3.4", "fe80::1", "unknown", "unknown"]


def test_a_server_that_stops_refuses_what_is_not_there_yet_and_finishes_the_rest() -> None:
    app = create_app(tiny_model(), Limits(body_seconds=20), hosts=["x"])
    gate, worker = app.state.gate, app.state.service.worker
    with running(app) as client:
        held = Held(worker)
        answers: dict[str, bytes] = {}

        def ask(name: str, sent: bytes) -> threading.Thread:
            thread = threading.Thread(target=lambda: answers.update({name: raw(client, sent)}))
            thread.start()
            return thread

        whole = HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}"
        threads = [ask("half", HEAD + b"Content-Length: 99\r\n\r\n{"), ask("whole", whole)]
        while not (gate.depth == 1 and gate.held == 3):
            time.sleep(0.01)
        client.get("/healthz")
        app.state.loop.call_soon_threadsafe(gate.stop)
        threads[0].join(10)
        assert answers["half"].startswith(b"HTTP/1.1 503")
        assert b"retry-after: 5" in answers["half"].lower()
        assert b'"code":"stopping"' in answers["half"]
        response = client.get("/readyz")
        assert (response.status_code, error_of(response)["code"]) == (503, "stopping")
        assert client.post("/v1/sample", json={}).headers["retry-after"] == "5"
        held.let_go()
        threads[1].join(10)
        assert answers["whole"].startswith(b"HTTP/1.1 200")


def test_small_bodies_are_let_in_however_many_large_ones_are_held() -> None:
    app = create_app(tiny_model(), Limits(body_bytes=10_000, body_seconds=20), hosts=["x"])
    with running(app) as client:
        large = HEAD + b"Content-Length: 10000\r\n\r\n" + b" " * 9_999
        waiting = [connected(client, large) for _ in range(8)]
        wait_until(lambda: app.state.gate.held == 79_992)
        for size, status in ((5_000, 503), (100, 200)):
            response = client.post("/v1/sample", content=b" " * size + b"{}", headers=JSON)
            assert response.status_code == status
        for connection in waiting:
            connection.close()


@pytest.mark.parametrize("path", [b"/healthz", b"/healthz?" + b"a" * 600])
def test_a_large_head_is_refused_also_in_one_piece(
    path: bytes, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "_HEAD_BYTES", 1000)
    head = b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nA: "
    answers = [raw(client, head + b"b" * (size - len(path)) + b"\r\n\r\n") for size in (900, 1000)]
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200", b"HTTP/1.1 400"]


UPGRADE = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"


@pytest.mark.parametrize("length", [b"Content-Length: 36\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_body_is_never_taken_for_the_next_request(length: bytes, client: httpx.Client) -> None:
    answer = raw(client, HEAD + UPGRADE + length + b"\r\n", GET + b"\r\n", pause=0.1)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 400")


def test_an_offered_upgrade_is_declined(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    request = GET + UPGRADE + b"\r\n"
    answer = raw(client, request, request, pause=0.1)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert "upgrade" not in caplog.text.lower()


def test_a_client_that_leaves_with_requests_in_a_row_is_noticed() -> None:
    app = create_app(tiny_model(), hosts=["x"])
    gate, worker = app.state.gate, app.state.service.worker
    with running(app) as client:
        held = Held(worker)
        with connected(client, HEAD + b"Content-Length: 2\r\n\r\n{}" + GET + b"\r\n"):
            wait_until(lambda: gate.depth == 1)
        wait_until(lambda: gate.depth == 0)
        held.let_go()
        assert client.get("/healthz").status_code == 200
