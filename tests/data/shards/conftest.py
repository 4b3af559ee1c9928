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


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder on this machine, without ranges, and fails when asked to.

    Attributes:
        address: Of the folder.
        asked: The paths that were asked for.
        failures: For what comes next, one after the other: a status to answer, or "torn" for half of the file.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.address = f"http://127.0.0.1:{self.server_port}/"
        self.asked: list[str] = []
        self.failures: list[int | str] = []


class Handler(http.server.SimpleHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        failure = self.server.failures.pop(0) if self.server.failures else None
        if isinstance(failure, int):
            self.send_error(failure)
        elif failure == "torn":
            content = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Server]]:
    servers: list[Server] = []

    def start(folder: Path) -> Server:
        servers.append(Server(folder))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
