"""Serve a model over HTTP, with a page at /."""

import argparse
import ipaddress
import os
import warnings
from dataclasses import fields
from pathlib import Path

from glow_app.commands.common import add_model_arguments, device_of, directions_folders, load, positive_int
from glow_app.server.limits import Limits
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
        from glow_app.server import create_app, run_server
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed; pip install 'glow-app[serve]'") from error
    from glow_app.checkpoint import training_facts
    from glow_app.generation import load_directions

    limits = Limits(**{field.name: getattr(arguments, f"max_{field.name}") for field in fields(Limits)})
    key = _key(arguments)
    if key is None and not _is_local(arguments.host):
        warnings.warn(f"anyone who reaches {arguments.host} may use this server; set {KEY}", stacklevel=1)
    model = load(arguments)
    directions = load_directions(model, *directions_folders(arguments))
    training = training_facts(arguments.checkpoint)
    app = create_app(model, limits, key=key, directions=directions, training=training, batch_size=arguments.batch_size)
    print(f"page and API of {arguments.checkpoint} on {device_of(arguments)}", flush=True)
    run_server(app, arguments.host, arguments.port, limits.body_seconds)


def _key(arguments: argparse.Namespace) -> str | None:
    """Return the key, if there is one.

    Raises:
        UsageError: If it is empty: a mistake that would leave the door open.
    """
    key = os.environ.get(KEY)
    if arguments.api_key_file is not None:
        key = Path(arguments.api_key_file).read_text(encoding="utf-8").partition("\n")[0]
    if key is not None and not key.strip():
        raise UsageError(f"glow serve: the key is empty; give one by --api-key-file or {KEY}, or neither")
    return None if key is None else key.strip()


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def port(text: str) -> int:
    """Return a port, for argparse."""
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port; expected 0 to 65535")
    return value


def seconds(text: str) -> float:
    """Return a number of seconds, for argparse."""
    value = float(text)
    if not 0 < value < 86_400:
        raise argparse.ArgumentTypeError(f"{text} is no time to wait; expected above 0 and below 86400 seconds")
    return value


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
