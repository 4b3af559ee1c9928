"""Spans of requests to an OpenTelemetry collector."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from app_client import wait_until
from registry import tiny_model
from serving_process import served

from glow_app.storage.pretrained import save_pretrained


@pytest.mark.slow
def test_spans_reach_a_collector(tmp_path: Path) -> None:
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

    collector = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    environment = {
        "FASTAPI_OTEL_AUTO_CONFIGURE": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    trace = "0af7651916cd43dd8448eb211c80319c"
    with served(save_pretrained(tiny_model(), tmp_path / "model"), **environment) as (_, client):
        client.post("/v1/sample", json={}, headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
        # A request has several spans, which may come in several batches.
        wait_until(lambda: any(bytes.fromhex(trace) in body and b"/v1/sample" in body for _, body in received))
    collector.shutdown()
    assert {path for path, body in received if b"/v1/sample" in body} == {"/v1/traces"}
