"""What comes to the door: bodies without end, without haste or without a key."""

import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from registry import tiny_model
from running import error_of, running

from glow_app.server import Limits, create_app

KEY = "correct-horse"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    limits = Limits(body_bytes=100_000, body_seconds=0.5)
    with running(create_app(tiny_model(), limits), head_seconds=0.5) as client:
        yield client


def raw(client: httpx.Client, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send bytes as they are and return all that comes back until the server closes."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=10) as connection:
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
    head = b"POST /v1/sample HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
    assert raw(client, head + b"9" * 40 + b"\r\n\r\n").startswith(b"HTTP/1.1 4")
    assert raw(client, head + b"99999999999\r\n\r\n").startswith(b"HTTP/1.1 413")
    assert client.post("/v1/sample", json={}).status_code == 200


def test_bodies_of_all_requests_together_are_bounded() -> None:
    app = create_app(tiny_model(), Limits(body_bytes=10, body_seconds=2))
    with running(app) as client:
        head = b"POST /v1/sample HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n"
        address = (client.base_url.host, client.base_url.port or 0)
        waiting = [socket.create_connection(address) for _ in range(17)]
        for connection in waiting:
            connection.sendall(head + b" " * 9)
            time.sleep(0.02)
        response = client.post("/v1/sample", json={"seed": 1})
        assert (response.status_code, error_of(response)["code"]) == (503, "too_many_bodies")
        assert client.get("/v1/info").status_code == 200
        for connection in waiting:
            connection.close()
        for _ in range(100):
            if client.post("/v1/sample", content=b"{}", headers=JSON).status_code == 200:
                break
            time.sleep(0.05)
        assert client.post("/v1/sample", content=b"{}", headers=JSON).status_code == 200


def test_slow_bodies_heads_and_silence_are_cut_off(client: httpx.Client) -> None:
    head = b"POST /v1/sample HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    answer = raw(client, head, b" ")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"body_too_slow" in answer
    assert raw(client, b"GET /healthz HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 10, pause=0.15) == b""
    assert raw(client) == b""


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: b\x00c\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=["control", "lengths", "tls", "long"],
)
def test_what_is_no_http_is_refused(request_bytes: bytes, client: httpx.Client) -> None:
    assert raw(client, request_bytes).startswith(b"HTTP/1.1 400")
    assert client.get("/healthz").status_code == 200


def test_the_type_of_a_body(client: httpx.Client) -> None:
    for headers in ({"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}, {}):
        response = client.post("/v1/sample", content=b"{}", headers=headers)
        assert (response.status_code, error_of(response)["code"]) == (415, "not_json")


def test_a_request_is_numbered_by_the_server_alone(client: httpx.Client) -> None:
    sent = {"x-request-id": "mine\tevil"}
    first, second = client.get("/healthz", headers=sent), client.get("/healthz", headers=sent)
    assert len({first.headers["x-request-id"], second.headers["x-request-id"], "mine\tevil"}) == 3
    assert "script-src 'self'" in first.headers["content-security-policy"]
    assert first.headers["x-content-type-options"] == "nosniff"
    assert "server" not in first.headers


def test_the_key_opens_and_nothing_else_does() -> None:
    with running(create_app(tiny_model(), key=KEY)) as client:
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
        create_app(tiny_model(), key="schl\u00fcssel")
