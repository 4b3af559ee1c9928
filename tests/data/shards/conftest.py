import http.server
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

Make = Callable[..., Path]


@pytest.fixture
def pets(tmp_path: Path, make_images: Make) -> Path:
    """40 images in two classes; the grey value says which image it is, and those from 100 on are cats."""
    make_images(tmp_path / "pets/dog", 20)
    make_images(tmp_path / "pets/cat", 20, first=100)
    return tmp_path / "pets"


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]


@pytest.fixture
def serve() -> Iterator[Callable[[Path], tuple[str, list[str]]]]:
    """Serve a folder on this machine; return its address, and the list of what is asked for."""
    servers = []

    def start(folder: Path) -> tuple[str, list[str]]:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(folder)))
        server.asked = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/", server.asked  # type: ignore[attr-defined]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
