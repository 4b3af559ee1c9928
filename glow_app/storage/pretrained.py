"""Exported models: folders of ``model.safetensors`` and ``config.json``."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from glow_app import __version__
from glow_app.files import atomic_file, atomic_folder
from glow_app.models.density import Density
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.storage.model_config import build_model
from glow_app.storage.places import CONFIG_NAME, FORMAT, WEIGHTS_NAME, read_config

DIRECTIONS_NAME = "directions"  # subfolder of directions for edits
GENERATION_KEY = "generation"  # in the configuration: recommended settings for sampling
REFERENCE_KEY = "reference"  # in the facts of the training: statistics of ordinary images


def save_pretrained(
    model: Density,
    folder: str | Path,
    training: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    directions: Sequence[Path] = (),
) -> Path:
    """Write ``model`` into ``folder`` atomically.

    Args:
        model: The model.
        folder: The folder to create.
        training: Facts of the training to store beside the model's own, such as bits/dim, epochs and data; plain types.
        overwrite: Whether to replace an existing folder; its directions for edits are kept.
        directions: Files of directions to copy into the folder.
    Returns:
        The folder.
    Raises:
        FileExistsError: If the folder exists and ``overwrite`` is False, or holds other files.
    """
    folder = Path(folder)
    kept = folder / DIRECTIONS_NAME
    names = [CONFIG_NAME, WEIGHTS_NAME, *([DIRECTIONS_NAME] if kept.is_dir() else [])]
    with atomic_folder(folder, names, overwrite) as building:
        config = {
            "format": FORMAT,
            "version": __version__,
            "sha256": model_hash(model),
            "model": model.config,
            "training": {**model.facts, **(training or {})},
        }
        if isinstance(model, ImageModel) and model.generation != GenerationSettings():
            config[GENERATION_KEY] = model.generation.to_plain()
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        (building / WEIGHTS_NAME).write_bytes(save(weights))
        (building / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        if kept.is_dir():
            shutil.copytree(kept, building / DIRECTIONS_NAME)
        for file in directions:
            (building / DIRECTIONS_NAME).mkdir(exist_ok=True)
            shutil.copyfile(file, building / DIRECTIONS_NAME / file.name)
    return folder


def save_reference(folder: str | Path, reference: Mapping[str, Any]) -> None:
    """Store the statistics of ordinary images in the configuration of an exported model; its hash does not change.

    Args:
        folder: Folder of the model.
        reference: From :meth:`Reference.to_plain <glow_app.generation.Reference.to_plain>`.
    Raises:
        FileNotFoundError, ValueError: If the folder is not an exported model.
    """
    config = read_config(folder)
    config["training"] = {**config.get("training", {}), REFERENCE_KEY: dict(reference)}
    with atomic_file(Path(folder) / CONFIG_NAME) as file:
        file.write((json.dumps(config, indent=2) + "\n").encode())


def read_exported(folder: Path) -> Density:
    """Read an exported model; nothing in its files can run code.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, of another project, or does not match the other.
    """
    config = read_config(folder)
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {WEIGHTS_NAME}; export the model again")
    try:
        weights = load(path.read_bytes())  # not mapped: overwriting the file would change or crash this process
    except (SafetensorError, KeyError) as error:  # KeyError: a dtype that torch does not have
        raise ValueError(f"{path} is damaged ({error}); export the model again") from error
    model = build_model(config["model"], weights, config.get("training")).eval()
    if model_hash(model) != config.get("sha256"):
        raise ValueError(f"the weights in {path} are not those that {CONFIG_NAME} describes; export the model again")
    if isinstance(model, ImageModel) and GENERATION_KEY in config:
        try:
            model.generation = GenerationSettings.from_plain(config[GENERATION_KEY])
        except ValueError as error:
            raise ValueError(
                f"{GENERATION_KEY} in {folder / CONFIG_NAME} is damaged ({error}); repair or remove it"
            ) from error
    return model


def model_hash(model: Density) -> str:
    """Return the SHA-256 of architecture and weights: equal for a checkpoint and its export."""
    digest = hashlib.sha256(json.dumps(model.config, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
