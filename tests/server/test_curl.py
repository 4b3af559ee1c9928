"""The lines of curl in the documentation, and the examples of the reference, run."""

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from app_client import running, saved
from docs_pages import DOCS
from PIL import Image
from registry import tiny_model, tiny_restorer

from glow_app.conditioning import AttributeConditioning
from glow_app.restoration import Clean
from glow_app.server.app import create_app
from glow_app.server.restorer import Restorer

LINES = re.findall(r"^    (curl .*)", (DOCS / "serving.md").read_text(encoding="utf-8"), re.MULTILINE)
KINDS = {".jpg": "image/jpeg", ".safetensors": "application/octet-stream", ".zip": "application/zip"}
CURL = argparse.ArgumentParser()
CURL.add_argument("url")
CURL.add_argument("-s", action="store_true")
CURL.add_argument("-F", action="append", default=[])
CURL.add_argument("-H", action="append", default=[])
CURL.add_argument("--data-binary")
CURL.add_argument("-o")


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    model = tiny_model(conditioning=AttributeConditioning({"smiling": "yes_no", "age": "real"}))
    names = sorted(set(re.findall(r"restorer=(\S+)", " ".join(LINES))))
    with running(create_app(model, restorers=[Restorer(name, tiny_restorer(Clean())) for name in names])) as client:
        yield client


def run(line: str, client: httpx.Client) -> httpx.Response:
    """Run a line of curl."""
    options = CURL.parse_args(shlex.split(line)[1:])
    fields = [field.partition("=") for field in options.F]
    files = [(n, (v[1:], Path(v[1:]).read_bytes()) if v[0] == "@" else (None, v)) for n, _, v in fields]
    content = Path(options.data_binary[1:]).read_bytes() if options.data_binary else None
    url, headers = urlsplit(f"//{options.url}"), dict(header.split(": ") for header in options.H)
    address = f"{url.path}?{url.query}"
    sent = {"files": files} if files else {"content": content}
    response = client.request("POST" if files or content else "GET", address, headers=headers, **sent)
    if options.o:
        suffix = Path(options.o).suffix
        assert response.headers["content-type"] == KINDS.get(suffix, f"image/{suffix[1:]}")
        Path(options.o).write_bytes(response.content)
    return response


def test_a_line_of_curl_for_each_route_runs(
    client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("face.png", "other.png", "photo.jpg", "small.jpg")):
        content = saved(Image.linear_gradient("L").rotate(90 * number).convert("RGB"), "JPEG")
        Path(name).write_bytes(content)
    paths = set()
    for line in LINES:
        response = run(line, client)
        assert response.status_code == 200, (line, response.text)
        paths.add(response.url.path)
    assert paths == set(client.get("/openapi.json").json()["paths"])


def test_the_examples_of_the_reference_run(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    num_run = 0
    for path, operations in document["paths"].items():
        for content in operations.get("post", {}).get("requestBody", {}).get("content", {}).values():
            name = content["schema"].get("$ref", "").rpartition("/")[2]
            if "example" in (schema := document["components"]["schemas"].get(name, {})):
                num_run += 1
                response = client.post(path, json=schema["example"])
                assert response.status_code == 200, (path, response.text)
    assert num_run == 7, "all but latents; the reference has a line of curl that the test above runs"
    assert any(line in document["paths"]["/v1/decode"]["post"]["description"] for line in LINES)
