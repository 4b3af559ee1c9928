"""Serve a model over HTTP, with a page at /."""

import argparse
import ipaddress
import os
import warnings
from dataclasses import fields
from pathlib import Path

from glow_app.commands.common import add_model_arguments, device_of, directions_folders, load
from glow_app.commands.numbers import fitting, positive_int
from glow_app.server.limits import Limits, checked_key
from glow_app.usage import UsageError

KEY = "GLOW_API_KEY"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``glow serve``."""
    add_model_arguments(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all")
    parser.add_argument("--port", type=port, default=8000, help="port to listen on; 0 for any that is free")
    key = f"file whose first line is the key that clients need; or else the environment variable {KEY}"
    parser.add_argument("--api-key-file", default=None, help=key, metavar="FILE")
    directions = "of glow edit learn; beside the model if left out"
    parser.add_argument("--directions", default=None, help=directions, metavar="FOLDER")
    parser.add_argument("--batch-size", type=positive_int, default=16, help="images drawn at a time, for all together")
    limits = parser.add_argument_group("limits")
    for name, kind, text in _LIMITS:
        default = getattr(Limits, name.replace("-", "_"))
        limits.add_argument(f"--max-{name}", type=kind, default=default, help=text)


def run(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    try:
        from glow_app.server import bind, create_app, run_server
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed; pip install -e '.[serve]'") from error
    from glow_app.checkpoint import training_facts
    from glow_app.generation import load_directions

    limits = Limits(**{field.name: getattr(arguments, f"max_{field.name}") for field in fields(Limits)})
    key = _key(arguments)
    if key is None and not _is_local(arguments.host):
        warnings.warn(f"anyone who reaches {arguments.host} may use this server; set {KEY}", stacklevel=1)
    if arguments.directions is not None and not Path(arguments.directions).is_dir():
        raise ValueError(
            f"there is no folder {arguments.directions}; --directions is one that glow edit learn wrote to"
        )
    sockets = bind(arguments.host, arguments.port)
    model = load(arguments, tell_own=True)
    directions = load_directions(model, *directions_folders(arguments))
    training = training_facts(arguments.checkpoint)
    app = create_app(model, limits, key=key, directions=directions, training=training, batch_size=arguments.batch_size)
    print(f"page and API of {arguments.checkpoint} on {device_of(arguments)}", flush=True)
    run_server(app, sockets, limits.body_seconds)


def _key(arguments: argparse.Namespace) -> str | None:
    """Return the key, if there is one; that of a file goes before the environment's.

    Raises:
        UsageError: If it is empty, a mistake that would leave the door open, or no client could send it.
    """
    key = os.environ.get(KEY)
    if arguments.api_key_file is not None:
        text = Path(arguments.api_key_file).read_text(encoding="utf-8", errors="replace")
        key = text.partition("\n")[0]
    try:
        return None if key is None else checked_key(key)
    except ValueError as error:
        raise UsageError(f"glow serve: {error}; give another by --api-key-file or {KEY}, or neither") from error


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def port(text: str) -> int:
    """Return a port, for argparse."""
    return fitting(text, int, lambda value: 0 <= value <= 65535, "is not a port; expected 0 to 65535")


def seconds(text: str) -> float:
    """Return a number of seconds, for argparse."""
    message = "is no time to wait; expected above 0 and below 86400 seconds"
    return fitting(text, float, lambda value: 0 < value < 86_400, message)


_LIMITS = (
    ("body-bytes", positive_int, "of a request"),
    ("pixels", positive_int, "of a picture that is sent"),
    ("side", positive_int, "of a picture that is sent, in pixels"),
    ("count", positive_int, "images of a request, sent or made"),
    ("draws", positive_int, "dequantisation draws of a score"),
    ("queue", positive_int, "requests that wait or are worked on"),
    ("seconds", seconds, "until a request is answered 504"),
    ("body-seconds", seconds, "until a request is there as a whole"),
)
