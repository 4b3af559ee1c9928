"""Tensors of a model in a file, with the model's hash: latents and directions mean nothing to another one."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from glow_app.files import atomic_file
from glow_app.model import ImageModel
from glow_app.pretrained import model_hash

__all__ = ["read_tensors", "write_tensors"]


def write_tensors(path: Path, tensors: Mapping[str, Tensor], model: ImageModel, kind: str, facts: Any) -> None:
    """Write a safetensors file, whole or not at all.

    Args:
        path: Where to.
        tensors: By name, on any device.
        model: Whose hash is kept.
        kind: Of the file, such as "glow-latents/1".
        facts: Of plain types, kept beside them.
    """
    content = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"format": kind, "model": model_hash(model), "facts": json.dumps(facts)}
    with atomic_file(path) as file:
        file.write(save(content, metadata))


def read_tensors(path: Path, kind: str, noun: str, remedy: str) -> tuple[dict[str, Tensor], Any, str]:
    """Return tensors, facts and the hash of the model that :func:`write_tensors` wrote.

    Args:
        path: The file.
        kind: That it must be of.
        noun: What it should hold, for messages.
        remedy: What to do if it does not, for messages.
    Raises:
        ValueError: If it is damaged or of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != kind:
                raise ValueError(f"its format is {metadata.get('format')!r}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads(metadata["facts"]), metadata["model"]
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"{path} holds no {noun} ({error}); {remedy}") from error
