"""Resize Pillow images and arrays, and convert their number of channels."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

from glow_app.data.splits import Resize

_FILTER = Image.Resampling.LANCZOS


def resize_image(image: Image.Image, height: int, width: int, resize: Resize) -> Image.Image:
    """Resize an image; an image that already has the size is returned unchanged.

    Args:
        image: Image in mode L or RGB.
        resize: "crop" scales the short side and keeps the centre, "stretch" changes the aspect ratio, "pad" scales
            the long side and adds a black border. All use Pillow's antialiased Lanczos filter.
    """
    if image.size == (width, height):
        return image
    if resize == "crop":
        return ImageOps.fit(image, (width, height), method=_FILTER)
    if resize == "pad":
        return ImageOps.pad(image, (width, height), method=_FILTER, color=0)
    return image.resize((width, height), _FILTER)


def convert_array(images: np.ndarray, image_shape: tuple[int, int, int], resize: Resize) -> np.ndarray:
    """Convert an array of images to another image shape; images of that shape are returned as the same array.

    One channel becomes three by repetition, three become one by Pillow's L formula. With ``resize="pad"``, images that
    fit into the new size get a zero border without scaling: 28x28 in 32x32, for example, is the MNIST of the flow
    literature. Otherwise images are resized as by :func:`resize_image`.

    Shape:
        images: uint8, (N, 1 or 3, H, W); result: uint8, (N, *image_shape).
    """
    channels, height, width = image_shape
    if images.shape[1] == 3 and channels == 1:
        images = _each(images, (1, *images.shape[2:]), lambda image: image.convert("L"))
    if images.shape[2:] != (height, width):
        if resize == "pad" and images.shape[2] <= height and images.shape[3] <= width:
            rows, columns = height - images.shape[2], width - images.shape[3]
            border = (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)
            images = np.pad(images, ((0, 0), (0, 0), *border))
        else:
            shape = (images.shape[1], height, width)
            images = _each(images, shape, lambda image: resize_image(image, height, width, resize))
    if images.shape[1] == 1 and channels == 3:
        images = np.repeat(images, 3, axis=1)
    return images


def _each(images: np.ndarray, shape: tuple[int, ...], change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    changed = (image_to_array(change(array_to_image(image))) for image in images)
    return np.fromiter(changed, np.dtype((np.uint8, shape)), len(images))


def array_to_image(array: np.ndarray) -> Image.Image:
    """Turn a uint8 (1 or 3, H, W) array into an L or RGB image."""
    return Image.fromarray(array[0] if len(array) == 1 else np.ascontiguousarray(array.transpose(1, 2, 0)))


def image_to_array(image: Image.Image) -> np.ndarray:
    """Turn an L or RGB image into a uint8 (1 or 3, H, W) array."""
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
