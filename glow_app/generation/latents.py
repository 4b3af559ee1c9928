"""Latents of images in a file."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from glow_app.generation.tensor_file import LATENTS, read_tensors, write_tensors
from glow_app.models.image_model import ImageModel
from glow_app.storage.pretrained import model_hash

__all__ = ["Latents", "load_latents", "save_latents"]


@dataclass(frozen=True)
class Latents:
    """Whitened latents of some images.

    Args:
        levels: One (N, C_l, H_l, W_l) a level, the finest first: N(0, I) where the model is right.
        names: Of the images, N.
        labels: (N,), int64, of a class-conditional model; else None.
    """

    levels: list[Tensor]
    names: list[str]
    labels: Tensor | None = None


def save_latents(latents: Latents, model: ImageModel, path: Path) -> None:
    """Write latents as safetensors, ``level0`` and so on, with the names and the model's hash; whole or not at all.

    Args:
        latents: Of images of this model.
        model: Whose hash is kept, as only this model decodes them.
        path: Where to.
    """
    tensors = {f"level{number}": level for number, level in enumerate(latents.levels)}
    if latents.labels is not None:
        tensors["labels"] = latents.labels.to(torch.int64)
    write_tensors(path, tensors, model, LATENTS, latents.names)


def load_latents(path: Path, model: ImageModel) -> Latents:
    """Read what :func:`save_latents` wrote.

    Args:
        path: The file.
        model: That will decode them.
    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or of another kind, or the latents are those of another model.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    tensors, names, owner = read_tensors(path, LATENTS, "expected a file of glow encode")
    if owner != model_hash(model):
        raise ValueError(f"the latents in {path} are those of another model, {owner[:12]}")
    labels = tensors.pop("labels", None)
    if not isinstance(names, list) or not all(isinstance(name, str) and "\0" not in name for name in names):
        raise ValueError(f"{path} is damaged: it does not name its images")
    places = [f"level{number}" for number in range(len(model.flow.latent_shapes))]
    levels = [tensors.pop(place) for place in places if place in tensors]
    expected = [(len(names), *shape) for shape in model.flow.latent_shapes]
    if tensors or [tuple(level.shape) for level in levels] != expected:
        raise ValueError(f"{path} is damaged: its latents are not of the shapes {expected}")
    return Latents(levels, names, labels)
