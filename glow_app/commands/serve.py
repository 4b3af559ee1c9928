"""Serve a model over HTTP, with a web page at /."""

import argparse
import os
import re
import socket
import warnings
from dataclasses import fields
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from glow_app.commands.loading import directions_folders, load, load_stored
from glow_app.commands.parser import Parser, number_type, positive_int
from glow_app.messages import UsageError, printable
from glow_app.server.limits import Limits, LogFormat, checked_key
from glow_app.storage.model_folders import RUN_MODELS, SUMMARY_KEY, bundled_models, bundled_restorers

if TYPE_CHECKING:
    from glow_app.models.image_model import ImageModel
    from glow_app.server.restorer import Restorer
    from glow_app.storage.stored_model import StoredModel

KEY = "GLOW_API_KEY"


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow serve``."""
    parser.add_model_arguments()
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all")
    port = number_type(int, 0, 65535)
    parser.add_argument("--port", type=port, default=8000, help="port to listen on; 0 for any free port")
    key = f"file of API keys, one per line; clients send one of them (default: the environment variable {KEY})"
    parser.add_argument("--api-key-file", help=key, metavar="FILE")
    hosts = "accepted Host names besides IP addresses, localhost and --host; *.example.com for subdomains, * for any"
    parser.add_argument("--allowed-hosts", nargs="+", default=[], help=hosts, metavar="NAME")
    parser.add_argument("--log-format", choices=get_args(LogFormat), default="text", help="format of the log's lines")
    levels = ["debug", "info", "warning", "error"]
    parser.add_argument("--log-level", choices=levels, default="info", help="minimum level of logged messages")
    parser.add_directions_argument()
    restorers = "restoration models to serve, or none (default: the bundled ones for photographs, and for --checkpoint)"
    parser.add_argument("--restorers", nargs="*", help=restorers, metavar="PATH")
    limits = parser.add_argument_group("limits")
    for field in fields(Limits):
        kind = positive_int if field.type is int else number_type(float, above=0, most=86_400)
        option = f"--max-{field.name.replace('_', '-')}"
        limits.add_argument(option, type=kind, default=field.default, help=field.metadata["help"])


def run(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    try:
        from glow_app.server import app as application
        from glow_app.server import process
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed; pip install 'glow-app[serve]'") from error
    from glow_app.pipeline import load_directions

    limits = Limits(**{field.name: getattr(arguments, f"max_{field.name}") for field in fields(Limits)})
    hosts = [arguments.host, *map(_host_name, arguments.allowed_hosts)]
    keys = _keys(arguments)
    if not keys and arguments.host not in ("127.0.0.1", "::1", "localhost"):
        warnings.warn(f"anyone who can reach {arguments.host} can use this server; set {KEY}", stacklevel=1)
    if arguments.directions is not None and not Path(arguments.directions).is_dir():
        raise ValueError(f"there is no folder {arguments.directions}; --directions takes a folder of glow edit learn")
    _require_free(arguments.host, arguments.port)
    model, stored = load(arguments)
    # Not the folder's name, since the image for serving lacks the package that reads config.yaml.
    summary = {SUMMARY_KEY: "your pictures"} if _source(stored) == "folder" else {}
    app = application.create_app(
        model=model,
        name=_name_of(stored),
        directions=load_directions(model, *directions_folders(arguments, stored)),
        training=summary | stored.facts,
        restorers=_restorers(arguments.restorers, stored, model),
        limits=limits,
        keys=keys,
        hosts=hosts,
    )
    print(f"page and API of {arguments.checkpoint} (sha256 {stored.hash[:12]}) on {model.device}", flush=True)
    log = arguments.log_format, arguments.log_level
    process.run_server(app, process.server_config(app, arguments.host, arguments.port, limits.body_seconds, *log))


def _restorers(places: list[str] | None, main: "StoredModel", model: "ImageModel") -> "list[Restorer]":
    """Load the models of ``--restorers``; by default, the main model is also one if it is a wavelet flow."""
    from glow_app.flows import WaveletFlow
    from glow_app.server.restorer import Restorer
    from glow_app.storage.stored_model import StoredModel

    restorers: dict[str, Restorer] = {}
    if places is None:
        if isinstance(model.flow, WaveletFlow) and len(model.conditioning.unknown(1)) == 1:
            restorers[_name_of(main)] = Restorer(_name_of(main), model, _source(main))
        name = main.path.name
        own = bundled_restorers(name) if bundled_models().get(name) == main.path else []
        places = [*dict.fromkeys(own + bundled_restorers("photos"))]
    for place in places:
        stored = StoredModel(place)
        base = _name_of(stored)
        names = (f"{base}-{number}" if number > 1 else base for number in count(1))
        name = next(free for free in names if free not in restorers)
        restorer = load_stored(stored, model.device, restores=True)
        restorers[name] = Restorer(name, restorer, _source(stored))
    for name, each in restorers.items():
        print(printable(f"restorer {name}: {each.info.task}"))
    return list(restorers.values())


def _source(stored: "StoredModel") -> str | None:
    source = stored.facts.get("data", {}).get("source")
    return None if source is None else str(source)


def _name_of(stored: "StoredModel") -> str:
    """Return the name of a model: that of its run, on the hub, or else of its folder or file."""
    if not stored.is_own:
        return str(stored.place).partition("@")[0].rpartition("/")[2]
    path = Path(stored.place).absolute()
    while path.name in RUN_MODELS or re.fullmatch(r"\d{8}-\d{6}|slurm-\d+", path.name):  # within runs/NAME/TIME
        path = path.parent
    return path.name.removesuffix(".ckpt")


def _keys(arguments: argparse.Namespace) -> list[str]:
    """Return the keys in the file, or in the environment variable; raise UsageError for an invalid one, or for none."""
    if arguments.api_key_file is not None:
        keys = Path(arguments.api_key_file).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    elif KEY in os.environ:
        keys = os.environ[KEY].split()
    else:
        return []
    try:
        return [checked_key(key) for key in keys or [""]]
    except ValueError as error:
        raise UsageError(f"glow serve: {error}; set a valid key with --api-key-file or {KEY}") from error


def _require_free(host: str, port: int) -> None:
    """Raise ValueError if the server could not listen, before the model is loaded."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"cannot listen on port {port} of {host}: {reason}; use --port or --host") from error


def _host_name(text: str) -> str:
    if not re.fullmatch(r"[\w.*-]+", text):
        message = "is not a host name; expected a name such as glow.example.com, without scheme, port and path"
        raise UsageError(f"glow serve: {text} {message}")
    return text
