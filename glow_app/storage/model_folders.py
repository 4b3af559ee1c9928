"""Folders of exported models: in this package, in the cache of the Hugging Face hub, and their ``config.json``."""

import json
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from glow_app.files import HUB, sha256_of
from glow_app.messages import closest

DEFAULT_MODEL = "faces"  # bundled with the package
CLEANER, ENLARGER = "photos-clean", "photos-upscale2"  # bundled, to clean photographs and to double their sides
CONFIG_NAME, WEIGHTS_NAME = "config.json", "model.safetensors"  # files of an exported model
DIRECTIONS_NAME = "directions"  # its subfolder of directions for edits
FORMAT = "glow-app/1"
SUMMARY_KEY = "summary"  # in the facts of a bundled model: what it does, and a hint for those who try it

# Models in a run's folder; the first that exists is used, except an export outdated by a resumed run.
RUN_MODELS = ("model", "best.ckpt", "last.ckpt")

_BUNDLED = Path(__file__).parents[1] / "bundled"


def bundled_models() -> dict[str, Path]:
    """Return the folders of the bundled models by name."""
    return {folder.name: folder for folder in sorted(_BUNDLED.iterdir()) if folder.is_dir()}


def bundled_restorers(kind: str) -> list[str]:
    """Return the names of the bundled restoration models for ``kind``: ``"photos"`` or the name of a bundled model.

    Upscaling models come first, because their effect is the most visible.
    """
    return [name for name in reversed(bundled_models()) if name.startswith(f"{kind}-")]


def find_folder(place: str | Path) -> Path | None:
    """Return the folder of a bundled model or of a model on the hub; None if ``place`` is a path.

    Args:
        place: Name of a bundled model, unless a file or a model's folder of that name exists; or
            ``hf://USER/NAME[@REVISION]``, which is fetched into the hub's cache.
    Raises:
        ValueError: If the model cannot be fetched, or belongs to another project.
    """
    name = str(place)
    if name.startswith(HUB):
        return fetch_model(name)
    # A folder without a model, such as one of images, may have the name of a bundled model.
    is_path = Path(name).is_file() or any(Path(name, part).exists() for part in (CONFIG_NAME, *RUN_MODELS))
    return None if is_path else bundled_models().get(name)


def refuse_missing(place: str | Path) -> None:
    """Raise FileNotFoundError unless ``place`` exists, or is a bundled model or an address on the hub."""
    name = str(place)
    if name.startswith(HUB) or Path(name).exists() or name in (bundled := bundled_models()):
        return
    hint = f"; for a model on the Hugging Face hub write {HUB}{name}" if is_hub_name(name) else closest(name, bundled)
    raise FileNotFoundError(
        f"there is no model {name}; expected a .ckpt file, a run's or exported folder, or a name that glow models lists"
        f"{hint}"
    )


def is_hub_name(name: str) -> bool:
    """Return whether a name may be ``USER/NAME[@REVISION]`` on the hub."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w.-]+)?", name) is not None and not name.endswith(".ckpt")


def read_config(folder: str | Path) -> dict[str, Any]:
    """Return the ``config.json`` of an exported model.

    Raises:
        FileNotFoundError: If the folder has none.
        ValueError: If it is damaged or of another project.
    """
    path = Path(folder) / CONFIG_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {CONFIG_NAME}: not an exported model")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); export the model again") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT or "model" not in config:
        raise ValueError(f"{path} does not describe a model of format {FORMAT}; export the model again")
    return config


@cache
def origin(place: str | Path) -> dict[str, str]:
    """Return address, revision and SHA-256 of a model on the hub; nothing for other models."""
    name = str(place)
    if not name.startswith(HUB):
        return {}
    folder = fetch_model(name)
    return {"hub": name, "revision": folder.name, f"sha256 of {WEIGHTS_NAME}": sha256_of(folder / WEIGHTS_NAME)}


@cache  # so that a process always uses the same revision
def fetch_model(address: str) -> Path:
    """Return the folder of the model at ``hf://USER/NAME[@REVISION]``, named by its commit, in the hub's cache.

    Only ``config.json`` and ``model.safetensors`` of a single commit are fetched, neither of which can contain code;
    the second only if the first describes a model of this project.

    Raises:
        ValueError: If the model cannot be fetched, or belongs to another project.
    """
    name, _, revision = address.removeprefix(HUB).partition("@")
    folder = _fetch(address, name, CONFIG_NAME, revision or None).parent
    try:
        read_config(folder)
    except ValueError as error:
        raise ValueError(f"{address} is not a model that glow export wrote: {error}") from error
    return _fetch(address, name, WEIGHTS_NAME, folder.name).parent


def _fetch(address: str, name: str, file: str, revision: str | None) -> Path:
    hub = import_hub(address)
    hub.logging.set_verbosity_error()  # otherwise it logs every attempt
    try:
        return Path(hub.hf_hub_download(name, file, revision=revision))
    except (OSError, ValueError, hub.errors.EntryNotFoundError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{address} cannot be fetched, and is not in the hub's cache ({reason}); expected "
            f"{HUB}USER/NAME[@REVISION]; for a private model, run: hf auth login"
        ) from error


def import_hub(address: str) -> ModuleType:
    """Return the package huggingface_hub; raise ValueError if it is not installed."""
    try:
        import huggingface_hub
        import huggingface_hub.errors  # which the package does not import itself
    except ImportError as error:
        raise ValueError(f"{address} needs the package huggingface_hub: pip install 'glow-app[hub]'") from error
    return huggingface_hub
