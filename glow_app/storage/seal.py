"""Seals for the places in a user's own checkpoints: authentication codes with a secret key of the user."""

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
    """Return the settings of a run that make it access the disk or the network, called places.

    Args:
        data: Arguments of the data module.
        logger: Logger or loggers of the configuration; only those that upload data count.
    """
    places = {name: data[name] for name in _ACCESSING_ARGUMENTS if data.get(name) not in (None, False)}
    if "://" not in str(places.get("source", "")):
        places.pop("source", None)
    loggers = logger if isinstance(logger, list) else [logger]
    sent = [log for log in loggers if isinstance(log, Mapping) and str(log.get("class_path")).endswith("WandbLogger")]
    return {**places, **({"logger": sent} if sent else {})}


def seals(places: Mapping[str, Any]) -> dict[str, str]:
    """Return a seal of each place by this user's key, created on first use; empty if no key can be stored."""
    key = _key()
    return {} if key is None else {name: _seal(key, name, value) for name, value in places.items()}


def strange_places(places: Mapping[str, Any], file_seals: object) -> list[str]:
    """Return the names of the places that this user has not sealed.

    Args:
        places: From :func:`places_of`.
        file_seals: Seals in the file.
    """
    expected, actual = seals(places), file_seals if isinstance(file_seals, Mapping) else {}
    return [name for name in places if name not in expected or not _equal(expected[name], actual.get(name))]


def _seal(key: bytes, name: str, value: Any) -> str:
    return hmac.new(key, json.dumps([name, value], sort_keys=True).encode(), hashlib.sha256).hexdigest()


def _equal(expected: str, actual: object) -> bool:
    return isinstance(actual, str) and actual.isascii() and hmac.compare_digest(expected, actual)


def _key() -> bytes | None:
    try:
        path = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "glow-app" / "key"
        if not path.exists():
            _create_key(path)
        return _read_key(path)
    except (OSError, RuntimeError):  # for example a container without a writable home
        return None


def _create_key(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".key-{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_LENGTH))
        os.link(temporary, path)  # if several processes create a key, the first one wins
    except FileExistsError:
        return
    finally:
        temporary.unlink(missing_ok=True)


def _read_key(path: Path) -> bytes | None:
    """Return the key; None if another user could have written or read it."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            return None
        key = file.read(_LENGTH + 1)
    return key if len(key) == _LENGTH else None
