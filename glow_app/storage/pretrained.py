"""Write exported models: folders of ``model.safetensors`` and ``config.json``."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors.torch import save

from glow_app import __version__
from glow_app.files import HUB, atomic_file, atomic_folder
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.pipeline.reference import REFERENCE_KEY
from glow_app.storage.model_folders import CONFIG_NAME, DIRECTIONS_NAME, FORMAT, WEIGHTS_NAME, import_hub, read_config
from glow_app.storage.stored_model import GENERATION_KEY


def save_pretrained(
    model: ImageModel,
    folder: str | Path,
    training: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    directions: Sequence[Path] = (),
    half: bool = False,
) -> Path:
    """Write ``model`` into a new ``folder`` atomically, and return the folder.

    Args:
        training: Facts of the training to store beside the model's own, such as bits/dim, epochs and data; plain types.
        overwrite: Whether to replace an existing folder; its directions for edits are kept.
        directions: Files of directions to copy into the folder.
        half: Whether to round the weights of ``model`` to float16, in which they are stored, at half the size. Models
            compute in float32 all the same.
    Raises:
        FileExistsError: If the folder exists and ``overwrite`` is False, or contains other files.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        weights = {name: w.half() if w.is_floating_point() else w for name, w in weights.items()}
        model.load_state_dict(weights)
    folder = Path(folder)
    kept = folder / DIRECTIONS_NAME
    names = [CONFIG_NAME, WEIGHTS_NAME, *([DIRECTIONS_NAME] if kept.is_dir() else [])]
    with atomic_folder(folder, names, overwrite) as building:
        config = {
            "format": FORMAT,
            "version": __version__,
            "sha256": model.hash,
            "model": model.config,
            "training": {**model.facts, **(training or {})},
        }
        if model.generation != GenerationSettings():
            config[GENERATION_KEY] = model.generation.to_plain()
        (building / WEIGHTS_NAME).write_bytes(save(weights))
        (building / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        if kept.is_dir():
            shutil.copytree(kept, building / DIRECTIONS_NAME)
        for file in directions:
            (building / DIRECTIONS_NAME).mkdir(exist_ok=True)
            shutil.copyfile(file, building / DIRECTIONS_NAME / file.name)
    return folder


def push_to_hub(model: ImageModel, name: str, training: Mapping[str, Any] | None = None, private: bool = False) -> str:
    """Upload ``model`` to ``USER/NAME`` on the Hugging Face hub, and return its address for :func:`load_model`.

    Args:
        training: As for :func:`save_pretrained`.
        private: Whether others may not see it, if there is none of this name yet.
    Raises:
        ValueError: If it cannot be uploaded.
    """
    hub = import_hub(address := f"{HUB}{name}")
    with TemporaryDirectory() as folder:
        saved = save_pretrained(model, Path(folder, "model"), training)
        try:
            hub.create_repo(name, private=private, exist_ok=True)
            hub.upload_folder(repo_id=name, folder_path=saved, commit_message=f"Upload a model of glow {__version__}")
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{address} cannot be written ({reason}); expected USER/NAME of your own; log in by: hf auth login"
            ) from error
    return address


def save_reference(folder: str | Path, reference: Mapping[str, Any]) -> None:
    """Store statistics of ordinary images, from :meth:`Reference.to_plain`, in the ``config.json`` of a model's folder.

    The model's hash does not change.
    """
    config = read_config(folder)
    config["training"] = {**config.get("training", {}), REFERENCE_KEY: dict(reference)}
    with atomic_file(Path(folder) / CONFIG_NAME) as file:
        file.write((json.dumps(config, indent=2) + "\n").encode())
