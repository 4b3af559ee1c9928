"""Places of models: files and folders, this package, or the Hugging Face hub."""

import re
from pathlib import Path

from glow_app.files import HUB
from glow_app.messages import closest
from glow_app.storage.hub_models import fetch_model

DEFAULT_MODEL = "faces"  # comes with the package

# Models in a run's folder; the first that exists is used, but no export that a resumed run has outdated.
IN_RUN = ("model", "best.ckpt", "last.ckpt")

_MODELS = Path(__file__).parents[1] / "bundled"


def bundled_models() -> dict[str, Path]:
    """Return the models that come with the package: names and folders."""
    return {folder.name: folder for folder in sorted(_MODELS.iterdir()) if folder.is_dir()}


def bundled_restorers(kind: str) -> list[str]:
    """Return the names of the bundled models that restore ``"photos"``, or pictures like those of a bundled model.

    Those that enlarge come first, since they show most.
    """
    return [name for name in reversed(bundled_models()) if name.startswith(f"{kind}-")]


def find_folder(place: str | Path) -> Path | None:
    """Return the folder of a bundled model or one of the hub; None if ``place`` is a path.

    Args:
        place: Name of a bundled model, unless there is a file or a model's folder of that name; or
            ``hf://USER/NAME[@REVISION]``, which is fetched into the hub's cache.
    Raises:
        FileNotFoundError: If there is no such model on the hub.
        ValueError: If it cannot be fetched, or is not one of this project.
    """
    name = str(place)
    if name.startswith(HUB):
        return fetch_model(name).folder
    return None if _is_model(Path(name)) else bundled_models().get(name)


def _is_model(path: Path) -> bool:
    """Return whether a path may be a model or a run, unlike a folder of pictures that has the name of a model."""
    return path.is_file() or any((path / part).exists() for part in ("config.json", *IN_RUN))


def origin(place: str | Path) -> dict[str, str]:
    """Return revision and SHA-256 of a model of the hub; nothing for others."""
    name = str(place)
    return {"hub": name, **fetch_model(name).facts} if name.startswith(HUB) else {}


def hint(place: str | Path) -> str:
    """Return a hint for a path that does not exist, to end a message, or an empty string."""
    name = str(place)
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w.-]+)?", name) and not name.endswith(".ckpt"):
        return f"; for a model of the Hugging Face hub write {HUB}{name}"
    return closest(name, bundled_models())
