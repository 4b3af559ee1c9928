"""Convert files, Pillow images, arrays and tensors to image tensors, in a model's shape or at their own size."""

import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_stack
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from glow_app.data.decoding import Photo, UnsupportedPictureError, open_image, photo_of
from glow_app.files import FORMAT_OF
from glow_app.pictures.image_batch import Images
from glow_app.pictures.picture_file import FrameError, PictureFile, picture_file_of

Picture = Tensor | np.ndarray | Image.Image | str | Path
Pictures = Picture | Sequence[Picture]


def as_images(pictures: Pictures, image_shape: tuple[int, int, int]) -> Tensor:
    """Return pictures as a uint8 tensor; a tensor (B, C, H, W) is returned unchanged.

    Files, Pillow images and arrays of another size or mode are cropped, resized and converted as by the commands, with
    a warning. Tensors are not converted. If any is a sample, the result has its facts, as :class:`Images` do.

    Args:
        pictures: A picture or several: file names, Pillow images, uint8 arrays (H, W, C), (C, H, W) or (H, W), or
            tensors (C, H, W); or an array or tensor with a batch dimension. Arrays (C, H, W) and (B, H, W) must have
            the model's size.
        image_shape: The model's (C, H, W); C must be 1 or 3 unless all pictures are tensors.
    Shape:
        uint8, (B, C, H, W).
    Raises:
        ValueError: If there are no pictures, or a picture cannot be read or has another shape or type.
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
    facts = [image.facts[0] if isinstance(image, Images) and image.facts else {} for image in images]
    return Images(torch.stack(images), facts) if any(facts) else torch.stack(images)


def as_photo(picture: Picture, num_channels: int) -> Tensor:
    """Return a picture at its own size; a tensor is returned unchanged.

    Args:
        picture: File name, Pillow image, uint8 array (H, W, C) or (H, W), or tensor (C, H, W).
        num_channels: C, 1 (grey) or 3 (RGB).
    Shape:
        uint8, (C, H, W).
    Raises:
        ValueError: If the picture cannot be read.
    """
    if isinstance(picture, Tensor):
        if picture.dtype != torch.uint8 or picture.ndim != 3:
            raise ValueError(f"a picture is {picture.dtype}, {tuple(picture.shape)}; expected torch.uint8, (C, H, W)")
        return picture
    return _converted(picture, [num_channels])


def read_photo(path: str | Path, shape: Sequence[int]) -> Photo:
    """Read a picture file, as :func:`~glow_app.data.decoding.photo_of`; raise ValueError if it fails."""
    with opened(path) as image:
        return photo_of(image, shape)


def read_picture_file(path: str | Path, num_channels: int, suffix: str, **options: Any) -> PictureFile:
    """Read a picture file, as :func:`picture_file_of`, for results with a suffix.

    Raises:
        ValueError: If the picture cannot be read, or a frame must be chosen.
    """
    with opened(path) as image:
        return picture_file_of(image, Path(path).read_bytes(), num_channels, FORMAT_OF[suffix.lower()], **options)


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """Open a picture file; raise ValueError if this fails, or what is done with it."""
    try:
        with open_image(Path(path)) as image:
            yield image
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {path}") from error
    except (UnsupportedPictureError, FrameError) as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # Pillow's plugins share no narrower type
        raise ValueError(f"{path} cannot be read as a picture: {error}") from error


def _listed(pictures: np.ndarray | Image.Image | str | Path | Sequence[Picture], image_shape: Sequence[int]) -> Any:
    is_single = isinstance(pictures, str) or not isinstance(pictures, Iterable)
    if isinstance(pictures, np.ndarray) and pictures.ndim < 4:
        is_batch = pictures.shape[1:] == image_shape[1:] and pictures.shape != image_shape
        is_single = pictures.ndim < 3 or not is_batch
    return [pictures] if is_single else pictures


def _as_image(picture: Picture, image_shape: tuple[int, int, int]) -> Tensor:
    if isinstance(picture, Tensor):
        return picture
    if isinstance(picture, np.ndarray) and picture.shape == image_shape and picture.dtype == np.uint8:
        return torch.from_numpy(picture.copy())
    return _converted(picture, image_shape)


def _converted(picture: Image.Image | np.ndarray | str | Path, shape: Sequence[int]) -> Tensor:
    """Return a picture as :func:`~glow_app.data.decoding.photo_of` does; warn if anything is changed or lost."""
    if isinstance(picture, (str, Path)):
        photo, name = read_photo(picture, shape), f"{picture}: "
    else:
        photo, name = photo_of(_as_pillow(picture).copy(), shape), ""
    if note := ", ".join(filter(None, [photo.note, "colour profile left out" if photo.icc_profile else None])):
        # At the line that called this package, through whichever functions (from Python 3.12: skip_file_prefixes).
        modules = (frame.f_globals.get("__name__", "") for frame, _ in walk_stack(sys._getframe()))
        depth = next(n for n, name in enumerate(modules, 1) if not name.startswith(("glow_app.", "torch.")))
        warnings.warn(name + note, stacklevel=depth)
    pixels = torch.from_numpy(photo.pixels.copy())
    return Images(pixels, [dict(photo.drawn)]) if photo.drawn else pixels


def _as_pillow(picture: Image.Image | np.ndarray) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture
    if not isinstance(picture, np.ndarray):
        kind = type(picture).__name__
        raise TypeError(f"a picture is of type {kind}; expected a file, Pillow image, array or tensor")
    flat = picture[..., 0] if picture.shape[2:] == (1,) else picture
    if picture.dtype != np.uint8 or not picture.size or flat.ndim < 2 or flat.shape[2:] not in ((), (3,), (4,)):
        raise ValueError(
            f"an array is {picture.dtype} of shape {picture.shape}; expected uint8 (H, W), (H, W, 3) or (H, W, 4)"
        )
    return Image.fromarray(np.ascontiguousarray(flat))
