"""Locate models in files, folders, this package and on the Hugging Face hub."""

import re
from pathlib import Path

from glow_app.files import HUB
from glow_app.messages import closest
from glow_app.storage.hub_models import fetch_model

DEFAULT_MODEL = "faces"  # bundled with the package

# Models in a run's folder; the first that exists is used, except an export outdated by a resumed run.
IN_RUN = ("model", "best.ckpt", "last.ckpt")

_MODELS = Path(__file__).parents[1] / "bundled"


def bundled_models() -> dict[str, Path]:
    """Return the folders of the bundled models by name."""
    return {folder.name: folder for folder in sorted(_MODELS.iterdir()) if folder.is_dir()}


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
        FileNotFoundError: If there is no such model on the hub.
        ValueError: If the model cannot be fetched, or belongs to another project.
    """
    name = str(place)
    if name.startswith(HUB):
        return fetch_model(name).folder
    return None if _is_model(Path(name)) else bundled_models().get(name)


def _is_model(path: Path) -> bool:
    """Return whether a path may be a model or a run, unlike, say, a folder of images with the name of a model."""
    return path.is_file() or any((path / part).exists() for part in ("config.json", *IN_RUN))


def origin(place: str | Path) -> dict[str, str]:
    """Return address, revision and SHA-256 of a model on the hub; nothing for other models."""
    name = str(place)
    return {"hub": name, **fetch_model(name).facts} if name.startswith(HUB) else {}


def hint(place: str | Path) -> str:
    """Return a hint to append to a message about a path that does not exist, or an empty string."""
    name = str(place)
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w.-]+)?", name) and not name.endswith(".ckpt"):
        return f"; for a model of the Hugging Face hub write {HUB}{name}"
    return closest(name, bundled_models())
