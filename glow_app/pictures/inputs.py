"""Pictures as people have them: files, Pillow images, arrays and tensors, in the shape of a model or their own."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from glow_app.data.decoding import decode_noted, fit_noted, photo_of, read_photo, require_8_bits

Picture = Tensor | np.ndarray | Image.Image | str | Path
Pictures = Picture | Sequence[Picture]
T = TypeVar("T")


def as_images(pictures: Pictures, image_shape: tuple[int, int, int]) -> Tensor:
    """Return pictures as one uint8 tensor; a tensor (B, C, H, W) comes back as it is.

    Files, Pillow images and arrays of another size or mode are cropped, resized and converted as the commands do, with
    a warning. Tensors are not changed.

    Args:
        pictures: One picture, or several: file names, Pillow images, uint8 arrays (H, W, C), (C, H, W) or (H, W), and
            tensors (C, H, W); or an array or a tensor with one more dimension. An array (B, H, W) and (C, H, W) has to
            be of the model's size.
        image_shape: The model's (C, H, W), C being 1 or 3 unless all are tensors.
    Shape:
        uint8, (B, C, H, W).
    Raises:
        ValueError: If a picture cannot be read or has another shape or type, or there is none.
    """
    if isinstance(pictures, Tensor):
        if not pictures.numel():
            raise ValueError("there are no pictures; expected at least one")
        return pictures if pictures.ndim != 3 else pictures[None]
    images = [_as_image(picture, image_shape) for picture in _listed(pictures, image_shape)]
    if not images:
        raise ValueError("there are no pictures; expected at least one")
    if len(shapes := {tuple(image.shape) for image in images}) > 1:
        raise ValueError(f"the tensors are of shapes {', '.join(map(str, sorted(shapes)))}; expected one shape")
    return torch.stack(images)


def as_photo(picture: Picture, num_channels: int) -> Tensor:
    """Return a picture in its own size; a tensor comes back as it is.

    Args:
        picture: File name, Pillow image, uint8 array (H, W, C) or (H, W), or tensor (C, H, W).
        num_channels: C, 1 (grey) or 3 (RGB).
    Shape:
        uint8, (C, H, W).
    Raises:
        ValueError: If it cannot be read, or has more than 8 bits per value.
    """
    if isinstance(picture, Tensor):
        if picture.dtype != torch.uint8 or picture.ndim != 3:
            raise ValueError(f"a picture is {picture.dtype}, {tuple(picture.shape)}; expected torch.uint8, (C, H, W)")
        return picture
    if isinstance(picture, (str, Path)):
        photo = _read(picture, lambda path: read_photo(path, num_channels))
    else:
        image = _as_pillow(picture)
        require_8_bits(image)
        photo = photo_of(image.copy(), num_channels)
    notes = [photo.note, "colour profile left out" if photo.icc_profile else None]
    if note := ", ".join(filter(None, notes)):
        warnings.warn(f"{picture}: {note}" if isinstance(picture, (str, Path)) else note, stacklevel=4)
    return torch.from_numpy(photo.pixels.copy())


def read_picture(path: str | Path, image_shape: tuple[int, int, int]) -> tuple[np.ndarray, str | None]:
    """Return a picture file as :func:`~glow_app.data.decoding.decode_noted` does.

    Raises:
        ValueError: If it cannot be read.
    """
    return _read(path, lambda path: decode_noted(path, image_shape))


def _read(path: str | Path, read: Callable[[Path], T]) -> T:
    try:
        return read(Path(path))
    except Exception as error:  # Pillow's plugins share no narrower type
        message = f"{path} cannot be read as a picture: {error}"
        if isinstance(error, FileNotFoundError):
            message = f"there is no file {path}"
        elif isinstance(error, IsADirectoryError):
            message = f"{path} is a folder; expected picture files"
        raise ValueError(message) from error


def _listed(pictures: np.ndarray | Image.Image | str | Path | Sequence[Picture], image_shape: Sequence[int]) -> Any:
    is_one = isinstance(pictures, str) or not isinstance(pictures, Iterable)
    if isinstance(pictures, np.ndarray) and pictures.ndim < 4:
        is_batch = pictures.shape[1:] == image_shape[1:] and pictures.shape != image_shape
        is_one = pictures.ndim < 3 or not is_batch
    return [pictures] if is_one else pictures


def _as_image(picture: Picture, image_shape: tuple[int, int, int]) -> Tensor:
    if isinstance(picture, Tensor):
        return picture
    if isinstance(picture, (str, Path)):
        array, note = read_picture(picture, image_shape)
        note = note and f"{picture}: {note}"
    elif isinstance(picture, np.ndarray) and picture.shape == image_shape and picture.dtype == np.uint8:
        return torch.from_numpy(picture.copy())
    else:
        array, note = fit_noted(_as_pillow(picture).copy(), image_shape)
    if note:
        warnings.warn(note, stacklevel=4)
    return torch.from_numpy(array.copy())


def _as_pillow(picture: Image.Image | np.ndarray) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture
    if not isinstance(picture, np.ndarray):
        raise TypeError(
            f"a picture is of type {type(picture).__name__}; expected a file, Pillow image, array or tensor"
        )
    flat = picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
    if (
        picture.dtype != np.uint8
        or not picture.size
        or flat.ndim not in (2, 3)
        or (flat.ndim == 3 and flat.shape[2] not in (3, 4))
    ):
        raise ValueError(
            f"an array is {picture.dtype} of shape {picture.shape}; expected uint8 (H, W), (H, W, 3) or (H, W, 4)"
        )
    return Image.fromarray(np.ascontiguousarray(flat))
