"""Edits: directions in the whitened latents that change one attribute of an image."""

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from glow_app.generation.calibration import Calibration
from glow_app.generation.reconstruct import low_bits, with_low_bits
from glow_app.generation.tensor_file import DIRECTION, read_tensors, write_tensors
from glow_app.messages import pluralise
from glow_app.models.class_labels import Labels, as_labels
from glow_app.models.image_model import ImageModel
from glow_app.numeric_limits import check_strength
from glow_app.pictures.image_batch import Images
from glow_app.pictures.inputs import Pictures, as_images
from glow_app.storage.pretrained import model_hash

FEW = 20  # below this number of images, other differences do not average out
NOTHING = 1e-6  # rounding errors of a latent whose standard deviation is 1


@dataclass(frozen=True)
class Direction:
    """The change of the latents that adds an attribute to an image.

    Args:
        levels: A tensor (C_l, H_l, W_l) per level: the change for a strength of 1.
        num_images: Number of images used to learn it.
        path: The file that it was read from, if any.
    """

    levels: list[Tensor]
    num_images: int
    path: Path | None = None


@torch.no_grad()
def learn_directions(
    model: ImageModel, batches: Iterable[tuple[Tensor, Tensor, Tensor | None]], names: Sequence[str]
) -> dict[str, Direction]:
    r"""Learn a direction for each attribute by linear regression of the latents on all attributes.

    .. math:: \min_{d_0, \ldots, d_A} \sum_i \left\| z_i - d_0 - \sum_a y_{ia} d_a \right\|^2

    For a single binary attribute this is the difference of the two means, as in the Glow paper; with several, effects
    that attributes share are not counted twice. Given a few hundred images, each direction is then scaled so that a
    strength of 1 makes the attribute visible (:class:`~glow_app.generation.calibration.Calibration`). Memory does not
    grow with the number of images: only sums and at most 512 images are kept.

    Args:
        model: The model.
        batches: Images, uint8 (B, C, H, W); their attributes, (B, A), 0 and 1 or real; and their labels, or None.
        names: Names of the A attributes.
    Returns:
        The directions by name; a strength of 1 raises the attribute by 1.
    Raises:
        ValueError: If the attributes have another shape, or one is not finite, the same in all images, or a linear
            combination of others.
    Warns:
        UserWarning: If few images have, or lack, an attribute, or its direction is zero.
    References:
        Glow, arXiv:1807.03039, section 6 (semantic manipulation).
    """
    size = len(names) + 1
    moments = torch.zeros(size, size, dtype=torch.float64)
    is_binary = torch.ones(len(names), dtype=torch.bool)
    products: list[Tensor] = []
    calibration = Calibration()
    for images, attributes, labels in batches:
        if attributes.shape != (len(images), len(names)) or not attributes.isfinite().all():
            raise ValueError(
                f"attributes are {tuple(attributes.shape)} for {len(images)} images and {len(names)} names; expected "
                "(B, A), finite numbers"
            )
        attributes = attributes.float()
        is_binary &= ((attributes == 0) | (attributes == 1)).all(0)
        design = _design(attributes)
        moments += design.T @ design
        parts = [design.T @ level.flatten(1).cpu().double() for level in model.encode(images, labels)]
        products = [total + part for total, part in zip(products, parts, strict=True)] if products else parts
        calibration.add(images, attributes, labels)
    num_images = int(moments[0, 0])
    _check_moments(moments, names)
    solved = [torch.linalg.solve(moments, product) for product in products]
    shapes = model.flow.latent_shapes
    learnt = [
        [level[number].reshape(shape).float() for level, shape in zip(solved, shapes, strict=True)]
        for number in range(1, size)
    ]
    directions = {}
    for number, (levels, factor) in enumerate(zip(learnt, calibration.factors(model, learnt), strict=True)):
        name = names[number]
        directions[name] = Direction([factor * level for level in levels], num_images)
        num_with = int(moments[0, 1 + number]) if is_binary[number] else None
        _warn_if_useless(name, directions[name], num_with)
    return directions


def check_attributes(values: Tensor, names: Sequence[str]) -> None:
    """Check attributes, (N, A), as :func:`learn_directions` does, before any image is read.

    Raises:
        ValueError: If an attribute is the same in all images, or a linear combination of others.
    """
    design = _design(values)
    _check_moments(design.T @ design, names)


def _design(attributes: Tensor) -> Tensor:
    return torch.cat([torch.ones(len(attributes), 1), attributes], dim=1).double()


def _check_moments(moments: Tensor, names: Sequence[str]) -> None:
    num_images = int(moments[0, 0])
    for number, name in enumerate(names, 1):
        mean = moments[0, number] / max(num_images, 1)
        if num_images == 0 or moments[number, number] / num_images - mean**2 < 1e-9:
            everywhere = f"in all {pluralise(num_images, 'image')}"
            raise ValueError(f"attribute {name} is the same {everywhere}; give some with it and some without")
    if torch.linalg.matrix_rank(moments, hermitian=True) < len(moments):
        raise ValueError(f"the attributes {', '.join(names)} follow from each other; leave one out")


def _warn_if_useless(name: str, direction: Direction, num_with: int | None) -> None:
    """Warn of an unreliable direction; ``num_with`` images have the attribute, or None if it is not binary."""
    count = direction.num_images
    counts = pluralise(count if num_with is None else num_with, "image")
    counts += "" if num_with is None else f" with it and {count - num_with} without"
    fewest = count if num_with is None else min(num_with, count - num_with)
    if max(float(level.abs().max()) for level in direction.levels) < NOTHING:
        message = f"direction {name} changes nothing: its {counts} are the same to the model"
    elif fewest < FEW:
        message = f"direction {name} is learnt from {counts}: too few to tell it from what else these share; use 100"
    else:
        return
    warnings.warn(message, stacklevel=3)


@torch.no_grad()
def edit(
    model: ImageModel, images: Pictures, strengths: Sequence[tuple[Direction, float]], labels: Labels | None = None
) -> Images:
    r"""Edit images by moving their latents along directions.

    .. math:: x' = f^{-1}\left(f(x) + \sum_k s_k d_k\right)

    Strengths of 0 change no pixel: the low bits that a model of fewer than 8 bits ignores are restored.

    Args:
        model: The model.
        images: uint8, (B, C, H, W), or other pictures; see :func:`~glow_app.pictures.inputs.as_images`.
        strengths: Directions, each with a strength from -100 to 100; 1 leads from the absence of the attribute to its
            presence.
        labels: Classes of the images, for a class-conditional model.
    Raises:
        ValueError: If a strength is out of range or not a number.
    """
    for _, strength in strengths:
        check_strength(strength)
    images = as_images(images, model.flow.image_shape)
    latents = model.encode(images, labels)
    for direction, strength in strengths:
        latents = [z + strength * d.to(z) for z, d in zip(latents, direction.levels, strict=True)]
    return Images(with_low_bits(model.decode(latents, labels), low_bits(model, images)))


@torch.no_grad()
def edit_strengths(
    model: ImageModel, image: Pictures, direction: Direction, strengths: Sequence[float], label: Labels | None = None
) -> Images:
    """Edit one image, encoded only once, with S strengths of a direction: (S, C, H, W)."""
    factors = torch.tensor([check_strength(strength) for strength in strengths])[:, None, None, None]
    images, labels = as_images(image, model.flow.image_shape), as_labels(model, label, 1)
    if len(images) != 1 or not len(factors):
        raise ValueError(
            f"got {len(images)} images and {len(factors)} strengths; expected one image and some strengths"
        )
    latents = model.encode(images, labels)
    latents = [z + factors.to(z) * d.to(z) for z, d in zip(latents, direction.levels, strict=True)]
    labels = None if labels is None else labels.expand(len(factors))
    return Images(with_low_bits(model.decode(latents, labels), low_bits(model, images)))


def check_name(name: str) -> str:
    """Return the name of a direction if it is valid as a file name.

    Raises:
        ValueError: If it contains characters other than letters, digits, ``-``, ``_`` and inner dots.
    """
    if not re.fullmatch(r"\w(?:[\w.-]*\w)?", name):
        raise ValueError(f"{name!r} is not a valid name of a direction; use letters, digits, - and _")
    return name


def save_direction(direction: Direction, name: str, model: ImageModel, folder: str | Path) -> Path:
    """Write a direction as ``NAME.safetensors``, with the model's hash, and return the path.

    Args:
        direction: The direction to write.
        name: See :func:`check_name`.
        model: The model of the direction.
        folder: Created if it does not exist.
    """
    path = Path(folder, f"{check_name(name)}.safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"level{number}": level for number, level in enumerate(direction.levels)}
    write_tensors(path, tensors, model, DIRECTION, {"num_images": direction.num_images})
    return path


def load_direction(name: str, model: ImageModel, *folders: str | Path) -> Direction:
    """Read a direction that :func:`save_direction` wrote.

    Args:
        name: Name of the direction.
        model: The model to use it with.
        folders: Folders to search in order, skipping directions of other models. If several match, a warning names
            the one that is used.
    Raises:
        FileNotFoundError: If no folder has this direction; the message lists those available.
        ValueError: If it is damaged, or belongs to another model.
    """
    paths = _paths(folders)
    if check_name(name) not in paths:
        places, names = " or ".join(map(str, folders)), ", ".join(paths) or "none yet"
        raise FileNotFoundError(f"there is no direction {name} in {places}; known: {names}; glow edit learn makes one")
    return _first_of(paths[name], model, model_hash(model))


def load_directions(model: ImageModel, *folders: str | Path) -> dict[str, Direction]:
    """Read all of a model's directions in the folders, by name.

    Files that are damaged, belong to another model, or have an invalid name are skipped with a warning.
    """
    paths = _paths(folders)
    directions, own_hash = {}, model_hash(model) if paths else ""
    for name, files in paths.items():
        try:
            check_name(name)
            directions[name] = _first_of(files, model, own_hash)
        except (ValueError, OSError) as error:
            warnings.warn(f"direction {name!r} is left out: {error}", stacklevel=2)
    return directions


def _first_of(files: Sequence[Path], model: ImageModel, own_hash: str) -> Direction:
    """Return the direction of the first file that belongs to the model; warn if there are other files."""
    foreign = []
    for path in files:
        direction, owner = _read(path)
        if owner == own_hash and [tuple(z.shape) for z in direction.levels] == model.flow.latent_shapes:
            if others := [str(other) for other in files if other != path]:
                message = f"there are several directions {path.stem}: {path} is used, not {', '.join(others)}"
                warnings.warn(message, stacklevel=3)
            return direction
        foreign.append(f"the direction in {path} is of another model, {owner[:12]}")
    raise ValueError(f"{foreign[0]}; learn it again with glow edit learn")


def _read(path: Path) -> tuple[Direction, str]:
    """Return the direction in a file and the hash of its model."""
    tensors, facts, owner = read_tensors(path, DIRECTION, "learn it again")
    try:
        levels = [tensors[f"level{number}"] for number in range(len(tensors))]
        return Direction(levels, int(facts["num_images"]), path), owner
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} holds no direction, or a damaged one; learn it again") from error


def _paths(folders: Sequence[str | Path]) -> dict[str, list[Path]]:
    paths: dict[str, list[Path]] = {}
    for folder in folders:
        for path in sorted(path for path in Path(folder).glob("*.safetensors") if path.is_file() or path.is_dir()):
            paths.setdefault(path.stem, []).append(path)
    return dict(sorted(paths.items()))
