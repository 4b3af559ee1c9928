"""What saving a picture costs: JPEG and WebP, once or twice."""

import io

import numpy as np
from PIL import Image

from glow_app.restoration.damage.pixels import is_grey

_SUBSAMPLING = ("4:4:4", "4:2:0", "4:2:0")  # resolutions of colours, as often as here
_BLOCK = 8  # side of a block of JPEG, pixels
_WEBP = 0.1  # share of the files that are WebP


def compressed(
    pixels: np.ndarray,
    quality: int | np.integer,
    rng: np.random.Generator | None = None,
    is_cropped: bool = False,
    kind: str = "JPEG",
) -> np.ndarray:
    """Return pixels, uint8 (H, W, C), after compression as a JPEG or WebP file; grey ones are saved as such.

    Args:
        quality: On the scale of Pillow and libjpeg.
        rng: Source of a random resolution of colours; if None, it is half that of the picture.
        is_cropped: Whether the pixels are a part of what is compressed, at a random position within the blocks.
        kind: ``"JPEG"`` or ``"WEBP"``.
    """
    top, left = rng.integers(_BLOCK, size=2) if rng and is_cropped else (0, 0)
    options = {"subsampling": rng.choice(_SUBSAMPLING)} if rng and kind == "JPEG" else {}
    padded = np.pad(pixels, ((top, 0), (left, 0), (0, 0)), mode="symmetric")
    file = io.BytesIO()
    Image.fromarray(padded[..., 0] if is_grey(pixels) else padded).save(file, kind, quality=int(quality), **options)
    with Image.open(file) as image:
        decoded = np.array(image.convert("L") if is_grey(pixels) else image)
    return np.broadcast_to(decoded.reshape(*padded.shape[:2], -1)[top:, left:], pixels.shape)


def compressed_at_random(pixels: np.ndarray, min_quality: int, rng: np.random.Generator) -> np.ndarray:
    """Return pixels after compression as photographs meet it.

    A quarter is cropped afterwards, a quarter is cropped and compressed again; a tenth of the files are WebP.
    """
    first, second = rng.integers(min_quality, 100, size=2, endpoint=True)
    kind, form = rng.random(), "WEBP" if rng.random() < _WEBP else "JPEG"
    if kind < 0.5:  # also before the second compression
        pixels = compressed(pixels, first, rng, is_cropped=True)
    return compressed(pixels, second, rng, kind=form) if kind >= 0.25 else pixels
