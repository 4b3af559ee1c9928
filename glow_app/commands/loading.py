"""Load the model of `--checkpoint`, and read what is given about the images."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from glow_app import __version__
from glow_app.messages import UsageError
from glow_app.storage.model_folders import origin

if TYPE_CHECKING:
    import torch

    from glow_app.conditioning import Given
    from glow_app.models.image_model import ImageModel
    from glow_app.storage.stored_model import StoredModel


def load(arguments: argparse.Namespace, restores: bool | None = False) -> "tuple[ImageModel, StoredModel]":
    """Return the image model of ``--checkpoint`` on ``--device``, and where it is stored; see :func:`load_stored`."""
    from glow_app.storage.stored_model import StoredModel

    stored = StoredModel(arguments.checkpoint)
    return load_stored(stored, arguments.device, restores), stored


def load_stored(stored: "StoredModel", device: "str | torch.device", restores: bool | None = False) -> "ImageModel":
    """Return a stored image model, ready for use; print its place and hash if it is bundled or from the hub.

    Raises:
        ValueError: If ``restores`` is True and the model cannot restore, or False and it has a task; None accepts both.
    """
    from glow_app.flows import WaveletFlow
    from glow_app.restoration import require_task, task_of

    model = stored.load(device).freeze()
    task = task_of(model)
    if task is None and restores and not isinstance(model.flow, WaveletFlow):
        raise ValueError(
            f"{stored.place} is not a restoration model; train one with, for example, --config restore/upscale2"
        )
    if task is not None and restores is False:
        raise ValueError(
            f"{stored.place} restores damaged pictures ({type(task).__name__}); use glow restore, or "
            f"glow serve --restorers {stored.place}"
        )
    if task is not None:
        require_task(model)  # raises if the flow is untrained
    print_origin(stored)
    return model


def print_origin(stored: "StoredModel") -> None:
    """Print place and hash of a model that is bundled or from the hub."""
    if not stored.is_own:
        facts = "".join(f", {name} {value}" for name, value in origin(stored.place).items() if name != "hub")
        print(f"model: {stored.place} (sha256 {stored.hash[:12]}{facts})")


def provenance(*models: "StoredModel") -> dict[str, str]:
    """Return what the results of a command record about their origin: the models' hashes and the version."""
    return {"model": ", ".join(model.hash for model in models), "version": __version__}


def directions_folders(arguments: argparse.Namespace, stored: "StoredModel") -> list[Path]:
    """Return the folders of directions: ``--directions``, or else those of the model. New ones go to the first."""
    return stored.directions if arguments.directions is None else [Path(arguments.directions)]


def read_given(model: "ImageModel", texts: list[str] | None) -> "list[Given] | None":
    """Return the values of ``--given`` as plain types; raise ValueError if one is invalid."""
    if texts is None:
        return None
    return model.vocabulary.format(model.vocabulary.parse(texts, len(texts))) or list(texts)


def read_chosen_attributes(model: "ImageModel", arguments: argparse.Namespace) -> "list[Given] | None":
    """Return the attributes of ``--with`` and ``--without``, for all pictures, as plain types; None without any.

    Raises:
        UsageError: If the model has no attributes.
        ValueError: If one is unknown, is named twice or has a wrong value.
    """
    from glow_app.conditioning import parse_attributes

    vocabulary, changes = model.vocabulary, parse_attributes(arguments.present or (), arguments.absent or ())
    if not changes:
        return None
    if "attributes" not in (vocabulary.describe() or {}):
        raise UsageError(f"{arguments.checkpoint} was trained without attributes; leave out --with and --without")
    return vocabulary.format(vocabulary.parse(changes, 1))
