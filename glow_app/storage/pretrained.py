"""Exported models: a folder of ``model.safetensors`` and ``config.json``, without a pickle."""

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
from glow_app.models.base import Density
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.storage.exported_config import CONFIG_NAME, FORMAT, WEIGHTS_NAME, read_config
from glow_app.storage.model_config import build_model
from glow_app.storage.places import find_folder, hint

DIRECTIONS_NAME = "directions"  # of edits: a folder beside the model
GENERATION_KEY = "generation"  # of the configuration: the settings to draw with
REFERENCE_KEY = "reference"  # among the facts of the training: what ordinary images are like


def save_pretrained(
    model: Density,
    folder: str | Path,
    training: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    directions: Sequence[Path] = (),
) -> Path:
    """Write ``model`` into ``folder``, whole or not at all.

    Args:
        model: The model.
        folder: To be made.
        training: Facts worth keeping, of plain types: bits/dim, epochs, data; beside the model's own.
        overwrite: Replace an existing folder; directions of edits that lie in it stay.
        directions: Files of directions to put beside the model.
    Returns:
        The folder.
    Raises:
        FileExistsError: If the folder exists, unless ``overwrite``, or its directions are a link.
    """
    folder = Path(folder)
    names, kept = [CONFIG_NAME, WEIGHTS_NAME], folder / DIRECTIONS_NAME
    if kept.is_symlink():
        raise FileExistsError(f"{kept} is a link; remove it, or put the folder in its place")
    if kept.is_dir():
        names.append(DIRECTIONS_NAME)
    with atomic_folder(folder, names, _is_export, overwrite) as beside:
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
        (beside / WEIGHTS_NAME).write_bytes(save(weights))
        (beside / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        if kept.is_dir():
            # Links stay links: in a folder that came from elsewhere they may lead to anything.
            shutil.copytree(kept, beside / DIRECTIONS_NAME, symlinks=True)
        for file in directions:
            (beside / DIRECTIONS_NAME).mkdir(exist_ok=True)
            place = beside / DIRECTIONS_NAME / file.name
            place.unlink(missing_ok=True)
            shutil.copyfile(file, place)
    return folder


def save_reference(folder: str | Path, reference: Mapping[str, Any]) -> None:
    """Put the statistics of ordinary images into the configuration of an exported model; its hash stays.

    Args:
        folder: Of the model.
        reference: From :meth:`Reference.to_plain <glow_app.generation.Reference.to_plain>`.
    Raises:
        FileNotFoundError, ValueError: If it is no exported model.
    """
    config = read_config(folder)
    config["training"] = {**config.get("training", {}), REFERENCE_KEY: dict(reference)}
    _replace_config(folder, config)


def save_generation(folder: str | Path, settings: GenerationSettings) -> None:
    """Put the settings to draw with into the configuration of an exported model; its hash stays.

    Args:
        folder: Of the model.
        settings: That fit the model.
    Raises:
        FileNotFoundError, ValueError: If it is no exported model.
    """
    _replace_config(folder, read_config(folder) | {GENERATION_KEY: settings.to_plain()})


def _replace_config(folder: str | Path, config: Mapping[str, Any]) -> None:
    with atomic_file(Path(folder) / CONFIG_NAME) as file:
        file.write((json.dumps(config, indent=2) + "\n").encode())


def _is_export(folder: Path) -> bool:
    """Return whether a folder's configuration, if there is one, is of this project."""
    if not (folder / CONFIG_NAME).exists():
        return True
    try:
        return bool(read_config(folder))
    except ValueError:
        return False


def load_pretrained(place: str | Path) -> Density:
    """Read an exported model; nothing in its files can run code.

    Args:
        place: Its folder; the name of a model that comes with the package, "fashion-mnist"; or "hf://USER/NAME", with
            or without "@REVISION", of the Hugging Face hub, which nothing else asks.
    Raises:
        FileNotFoundError: If there is no such model, or a file is missing.
        ValueError: If a file is damaged, foreign, or does not fit the other, or the hub cannot be reached.
    """
    folder = find_folder(place) or Path(place)
    if not folder.exists():
        raise FileNotFoundError(f"there is no exported model {place}{hint(place)}")
    config = read_config(folder)
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {WEIGHTS_NAME}; export the model again")
    try:
        weights = load(path.read_bytes())  # not mapped, since writing over the file would change or end this process
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
                f"{GENERATION_KEY} in {folder / CONFIG_NAME} is damaged ({error}); mend or remove it"
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
