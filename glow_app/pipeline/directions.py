"""Directions of edits and their files."""

import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from glow_app.files import atomic_file
from glow_app.models.image_model import ImageModel
from glow_app.pipeline.tensor_file import DIRECTION, read_tensors, tensors_bytes


@dataclass(frozen=True)
class Direction:
    """The change of the latents that adds an attribute to an image.

    Args:
        levels: A tensor (C_l, H_l, W_l) per level: the change for a strength of 1.
        num_images: Number of images used to learn it.
        place: Its position among directions that were learnt together, which are listed in this order.
        path: The file that it was read from, if any.
    """

    levels: list[Tensor]
    num_images: int
    place: int = 0
    path: Path | None = None


def check_name(name: str) -> str:
    """Return the name of a direction if it is valid as a file name: letters, digits, ``-``, ``_`` and inner dots."""
    if not re.fullmatch(r"\w(?:[\w.-]*\w)?", name):
        raise ValueError(f"{name!r} is not a valid name of a direction; use letters, digits, - and _")
    return name


def save_direction(direction: Direction, name: str, model: ImageModel, folder: str | Path) -> Path:
    """Write a direction as ``NAME.safetensors``, with the model's hash, into a folder, and return the path."""
    path = Path(folder, f"{check_name(name)}.safetensors")
    tensors = {f"level{number}": level for number, level in enumerate(direction.levels)}
    facts = {name: getattr(direction, name) for name in ("num_images", "place")}
    with atomic_file(path) as file:
        file.write(tensors_bytes(tensors, model, DIRECTION, facts))
    return path


def load_direction(name: str, model: ImageModel, *folders: str | Path) -> Direction:
    """Read a direction that :func:`save_direction` wrote, from the first folder that has it for this model.

    Raises:
        FileNotFoundError: If no folder has this direction; the message lists those available.
        ValueError: If it is damaged, or belongs to another model.
    """
    paths = [path for path in _files(folders) if path.stem == check_name(name)]
    if not paths:
        places, names = " or ".join(map(str, folders)), ", ".join(sorted({path.stem for path in _files(folders)}))
        raise FileNotFoundError(
            f"there is no direction {name} in {places}; known: {names or 'none yet'}; glow edit learn makes one"
        )
    own_hash = model.hash
    for path in paths[:-1]:
        with suppress(ValueError):
            return _read(path, model, own_hash)
    return _read(paths[-1], model, own_hash)


def load_directions(model: ImageModel, *folders: str | Path) -> dict[str, Direction]:
    """Read all of a model's directions in the folders, by name, in their order; of equal names, the first.

    Files that are damaged, belong to another model, or have an invalid name are skipped with a warning.
    """
    paths = _files(folders)
    directions, own_hash = {}, model.hash if paths else ""
    for path in sorted(paths, key=lambda path: path.stem):
        try:
            if check_name(path.stem) not in directions:
                directions[path.stem] = _read(path, model, own_hash)
        except (ValueError, OSError) as error:
            warnings.warn(f"direction {path.stem!r} is skipped: {error}", stacklevel=2)
    return dict(sorted(directions.items(), key=lambda item: item[1].place))


def _files(folders: Sequence[str | Path]) -> list[Path]:
    return [path for folder in folders for path in Path(folder).glob("*.safetensors") if path.is_file()]


def _read(path: Path, model: ImageModel, own_hash: str) -> Direction:
    tensors, facts, owner = read_tensors(path, DIRECTION, "learn it again")
    try:
        levels = [tensors[f"level{number}"] for number in range(len(tensors))]
        direction = Direction(levels, int(facts["num_images"]), int(facts["place"]), path)
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} has no direction, or a damaged one; learn it again") from error
    if owner != own_hash or [tuple(level.shape) for level in direction.levels] != model.flow.latent_shapes:
        raise ValueError(f"the direction in {path} belongs to another model, {owner[:12]}; learn it again")
    return direction
