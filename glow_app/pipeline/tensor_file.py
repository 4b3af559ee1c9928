"""Files of latents and directions, with the hash of their model: no other model can use them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from glow_app.files import atomic_file
from glow_app.models.image_model import ImageModel

LATENTS = "glow-latents/1"
DIRECTION = "glow-direction/1"
NOUNS = {LATENTS: "latents", DIRECTION: "direction"}


def tensors_bytes(tensors: Mapping[str, Tensor], model: ImageModel, kind: str, facts: Any) -> bytes:
    """Return the content of a safetensors file with its kind, the model's hash, and ``facts`` of plain types."""
    content = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    return save(content, {"format": kind, "model": model.hash, "facts": json.dumps(facts)})


def read_tensors(source: Path | bytes, kind: str, remedy: str) -> tuple[dict[str, Tensor], Any, str]:
    """Return the tensors, the facts and the model's hash of a file, or of its bytes; errors end with ``remedy``."""
    content, name = (source, "the body") if isinstance(source, bytes) else (source.read_bytes(), source)
    try:
        tensors = load(content)  # not memory-mapped, as in StoredModel; it checks the header
        metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
        if metadata.get("format") == kind:
            return tensors, json.loads(metadata.get("facts", "null")), metadata.get("model", "")
    except (SafetensorError, ValueError, KeyError, RecursionError) as error:  # KeyError: a dtype that torch lacks
        raise ValueError(f"{name} has no {NOUNS[kind]}: it is damaged or not a safetensors file; {remedy}") from error
    raise ValueError(f"{name} has other tensors, but no {NOUNS[kind]}; {remedy}")


@dataclass(frozen=True)
class Latents:
    """Whitened latents of N images.

    Args:
        levels: A tensor (N, C_l, H_l, W_l) per level, finest first; as bin centres are encoded, shorter than N(0, I).
        given: What is known about the images, as a tensor; None for nothing.
    """

    levels: list[Tensor]
    names: list[str]
    given: Tensor | None = None


def save_latents(latents: Latents, model: ImageModel, path: Path) -> None:
    """Write latents to a safetensors file atomically, as ``level0`` and so on, with names and the model's hash."""
    with atomic_file(path) as file:
        file.write(latents_bytes(latents, model))


def latents_bytes(latents: Latents, model: ImageModel) -> bytes:
    """Return the content of a file of :func:`save_latents`."""
    given = {} if latents.given is None else {"given": latents.given}
    levels = {f"level{number}": level for number, level in enumerate(latents.levels)}
    return tensors_bytes(levels | given, model, LATENTS, latents.names)


def load_latents(source: Path | bytes, model: ImageModel) -> Latents:
    """Read latents that :func:`save_latents` wrote, from their file or its content.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or of another kind, or the latents belong to another model.
    """
    if isinstance(source, Path) and not source.is_file():
        raise FileNotFoundError(f"there is no file {source}")
    tensors, names, owner = read_tensors(source, LATENTS, "expected a file that glow encode wrote")
    name = source if isinstance(source, Path) else "the body"
    if owner != model.hash:
        raise ValueError(f"the latents in {name} belong to another model, {owner[:12]}")
    given = tensors.pop("given", None)
    if given is not None and (given.is_complex() or given.element_size() < 4):
        raise ValueError(f"{name} is damaged: what is given has the type {given.dtype}; expected float32 or int64")
    if not isinstance(names, list) or not all(isinstance(each, str) and "\0" not in each for each in names):
        raise ValueError(f"{name} is damaged: it does not name its images")
    keys = [f"level{number}" for number in range(len(model.flow.latent_shapes))]
    levels = [tensors.pop(key) for key in keys if key in tensors]
    expected = [(len(names), *shape) for shape in model.flow.latent_shapes]
    if tensors or [tuple(level.shape) for level in levels] != expected:
        raise ValueError(f"{name} is damaged: its latents are not of the shapes {expected}")
    return Latents(levels, names, given)
