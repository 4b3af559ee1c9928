"""Where a model is: in a file or folder of one's own, in this package, or on the Hugging Face hub."""

import re
from pathlib import Path

from glow_app.files import HUB
from glow_app.messages import closest
from glow_app.storage.hub_models import fetch_model

__all__ = ["DEFAULT_MODEL", "IN_RUN", "bundled_models", "find_folder", "hint", "origin"]

DEFAULT_MODEL = "faces"  # comes with the package

# What a run's folder holds of its model, the first that is there being meant.
IN_RUN = ("model", "best.ckpt", "last.ckpt")

_MODELS = Path(__file__).parents[1] / "bundled"


def bundled_models() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted(folder.name for folder in _MODELS.iterdir() if folder.is_dir())


def find_folder(place: str | Path) -> Path | None:
    """Return the folder of a model that comes with the package or is on the hub; None where ``place`` is a path.

    Args:
        place: A bundled model's name, which a file or a model's folder of that name goes before; or
            ``hf://USER/NAME`` with or without ``@REVISION``, which alone asks the hub, and whose files are kept in the
            hub's own cache.
    Raises:
        FileNotFoundError: If there is no such model on the hub.
        ValueError: If it cannot be fetched, or is not one of this project.
    """
    name = str(place)
    if name.startswith(HUB):
        return fetch_model(name).folder
    if name not in bundled_models() or _is_model(Path(name)):
        return None
    return _MODELS / name


def _is_model(path: Path) -> bool:
    """Return whether a path may be a model or a run; a folder of pictures is not, although it is called faces."""
    return path.is_file() or any((path / part).exists() for part in ("config.json", *IN_RUN))


def origin(place: str | Path) -> dict[str, str]:
    """Return revision and SHA-256 of a model of the hub; nothing for others."""
    name = str(place)
    return {"hub": name, **fetch_model(name).facts} if name.startswith(HUB) else {}


def hint(place: str | Path) -> str:
    """Return what may have been meant by a path that does not exist, to end a message; or nothing."""
    name = str(place)
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w.-]+)?", name) and not name.endswith(".ckpt"):
        return f"; for a model of the Hugging Face hub write {HUB}{name}"
    return closest(name, bundled_models())
