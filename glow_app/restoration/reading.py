"""Read pictures to restore from files; those that are too large are refused before they are decoded."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glow_app.data.decoding import Photo, open_image, photo_of
from glow_app.models.image_model import ImageModel
from glow_app.restoration.restoring import require_size, require_task


def read_damaged(model: ImageModel, file: str | Path, count: int, **inputs: Any) -> tuple[Photo, Tensor]:
    """Return a picture file as read, and as :func:`~glow_app.restoration.restore_damaged` takes it.

    Args:
        model: A restoration model.
        file: The damaged picture.
        count: Number of draws, which limits the size.
        inputs: As for :meth:`RestorationTask.prepare <glow_app.restoration.RestorationTask.prepare>`.
    Raises:
        ValueError: If the picture is missing, unreadable or too large, or an input does not fit.
    """
    task = require_task(model)
    photo = _read(model, file, count, task.picture_channels(model.flow.image_shape[0]), 1)
    return photo, task.prepare(torch.from_numpy(photo.pixels.copy()), **inputs)


def read_and_damage(
    model: ImageModel, file: str | Path, count: int, generator: torch.Generator
) -> tuple[Photo, Tensor, Tensor]:
    """Return an undamaged picture file as read, damaged as in training, and undamaged, cropped to whole pixels.

    Arguments and errors are as for :func:`read_damaged`; the damage is drawn from ``generator``.
    """
    task = require_task(model)
    photo = _read(model, file, count, model.flow.image_shape[0], task.factor)
    pixels = torch.from_numpy(photo.pixels.copy())
    height, width = (side // task.factor * task.factor for side in pixels.shape[1:])
    original = pixels[:, :height, :width]
    if not original.numel():
        raise ValueError(f"{file} is too small to be reduced by a factor of {task.factor}")
    return photo, task.damage(original[None], generator)[0], original


def _read(model: ImageModel, file: str | Path, count: int, num_channels: int, factor: int) -> Photo:
    """Read a picture whose sides are ``factor`` times those of the damaged one."""
    try:
        with open_image(Path(file)) as image:
            require_size(model, count, math.ceil(image.height / factor), math.ceil(image.width / factor))
            return photo_of(image, num_channels)
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {file}") from error
    except Exception as error:  # Pillow's plugins share no narrower base class
        raise ValueError(f"{file} cannot be used: {error}") from error
