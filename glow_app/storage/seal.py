"""Seals of the places in a user's own checkpoints, by a key that nobody else has."""

import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SEAL_KEY = "glow_app_seals"  # in a checkpoint

_ACCESSING_ARGUMENTS = ("source", "root", "path", "cache_dir", "download")  # of the data module

_LENGTH = 32


def places_of(data: Mapping[str, Any], logger: Any = None) -> dict[str, Any]:
    """Return the settings of a run that access the disk or the network: folders, addresses, downloads, uploads.

    Args:
        data: Arguments of the data module.
        logger: The logger in the configuration; only services that receive data count.
    """
    places = {name: data[name] for name in _ACCESSING_ARGUMENTS if data.get(name) not in (None, False)}
    if "://" not in str(places.get("source", "")):
        places.pop("source", None)
    loggers = logger if isinstance(logger, list) else [logger]
    sent = [one for one in loggers if isinstance(one, Mapping) and str(one.get("class_path")).endswith("WandbLogger")]
    return {**places, **({"logger": sent} if sent else {})}


def seals(places: Mapping[str, Any]) -> dict[str, str]:
    """Return a seal of each place by this user's key, made at the first use; nothing where it cannot be kept."""
    key = _key()
    return {} if key is None else {name: _seal(key, name, value) for name, value in places.items()}


def strange_places(places: Mapping[str, Any], found: object) -> list[str]:
    """Return the names of the places that this user has not sealed.

    Args:
        places: As :func:`places_of` returned.
        found: The seals that a file brings.
    """
    own, brought = seals(places), found if isinstance(found, Mapping) else {}
    return [name for name in places if name not in own or not _equal(own[name], brought.get(name))]


def _seal(key: bytes, name: str, value: Any) -> str:
    return hmac.new(key, json.dumps([name, value], sort_keys=True).encode(), hashlib.sha256).hexdigest()


def _equal(own: str, found: object) -> bool:
    return isinstance(found, str) and found.isascii() and hmac.compare_digest(own, found)


def _key() -> bytes | None:
    try:
        path = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "glow-app" / "key"
        if not path.exists():
            _make(path)
        return _read(path)
    except (OSError, RuntimeError):  # a container without a home, or one that cannot be written
        return None


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".key-{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_LENGTH))
        os.link(beside, path)  # of several processes the first one's key counts
    except FileExistsError:
        return
    finally:
        beside.unlink(missing_ok=True)


def _read(path: Path) -> bytes | None:
    """Return the key, if nobody else can have made or read it."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            return None
        key = file.read(_LENGTH + 1)
    return key if len(key) == _LENGTH else None
