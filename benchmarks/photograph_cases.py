"""The photographs of ``photographs.py``, and the kinds of damage that models and other methods undo."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import skimage.data
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_image

from glow_app.restoration.damage import compressed, noisy

LONG_SIDE, MULTIPLE = 512, 8  # of sides, because the levels of models halve them
NLM, BM3D, WAIFU2X = "non-local means", "BM3D", "waifu2x"
TIMED = "noise 15, JPEG 60"  # the case whose seconds are in the table
BICUBIC, BOX, LANCZOS = Image.Resampling.BICUBIC, Image.Resampling.BOX, Image.Resampling.LANCZOS


class Case(NamedTuple):
    """A kind of damage, and the methods that undo it."""

    task: str
    damage: Callable[[np.ndarray, np.random.Generator], np.ndarray]  # of pixels, uint8 (H, W, 3)
    methods: Sequence[str] = ()  # other ones
    sigma: float | None = None  # noise level, an input of the classical methods; that of the actual error if None
    is_grey: bool = False  # whether the photograph is
    is_alike: bool = False  # whether all channels have the same noise
    is_screen: bool = False  # whether the photograph is shown on a screen with text


def noise(sigma: float, is_grey: bool = False, is_alike: bool = False) -> Case:
    """Return a case of Gaussian noise."""
    damage = partial(noisy, alike=is_alike)
    return Case("clean", lambda pixels, rng: damage(pixels, sigma, rng), (NLM, BM3D), sigma, is_grey, is_alike)


def jpeg(quality: int) -> Case:
    """Return a case of compression."""
    return Case("clean", lambda pixels, _: compressed(pixels, quality))


def reduced(factor: int, method: Image.Resampling) -> Case:
    """Return a case of reduction."""
    return Case(
        "upscale", lambda pixels, _: resized(pixels, len(pixels) // factor, len(pixels[0]) // factor, method), [WAIFU2X]
    )


def resized(pixels: np.ndarray, height: int, width: int, method: Image.Resampling) -> np.ndarray:
    """Return pixels at another size."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), method))


CASES = {
    **{f"noise {sigma}": noise(sigma) for sigma in (15, 25, 50)},
    **{f"grey, noise {sigma}": noise(sigma, is_grey=True) for sigma in (15, 25, 50)},
    "same noise in all channels, 25": noise(25, is_alike=True),
    "camera noise 25": Case("clean", lambda pixels, rng: noisy(pixels, 25, rng, photons=0.5), methods=[NLM]),
    "noise 25, JPEG 75": Case("clean", lambda pixels, rng: compressed(noisy(pixels, 25, rng), 75), methods=[NLM]),
    TIMED: Case("clean", lambda pixels, rng: compressed(noisy(pixels, 15, rng), 60), (NLM, BM3D), 15),
    **{f"JPEG {quality}": jpeg(quality) for quality in (10, 20, 50, 80, 95)},
    "JPEG 50, cropped, JPEG 75": Case("clean", lambda pixels, rng: compressed(compressed(pixels, 50, rng, True), 75)),
    "screen with text, JPEG 30": jpeg(30)._replace(methods=(NLM, BM3D), is_screen=True),
    "clean": Case("clean", lambda pixels, _: pixels),
    "half size, bicubic": reduced(2, BICUBIC),
    "half size, box": reduced(2, BOX),
    "half size, Lanczos": reduced(2, LANCZOS),
    "a quarter, bicubic": reduced(4, BICUBIC),
}


def photographs(folder: Path | None) -> dict[str, np.ndarray]:
    """Return the photographs of a folder, or those of the packages, uint8 (H, W, 3), by name."""
    if folder:
        images = {path.stem: Image.open(path).convert("RGB") for path in sorted(folder.iterdir())}
    else:
        arrays = {name: getattr(skimage.data, name)() for name in ("astronaut", "cat", "coffee", "rocket")}
        arrays |= {"dahlia": load_sample_image("flower.jpg"), "pagoda": load_sample_image("china.jpg")}
        images = {name: Image.fromarray(array) for name, array in arrays.items()}
    for image in images.values():
        image.thumbnail((LONG_SIDE, LONG_SIDE), LANCZOS, reducing_gap=None)
    pixels = {name: np.asarray(image) for name, image in images.items()}
    return {
        name: each[: len(each) // MULTIPLE * MULTIPLE, : each.shape[1] // MULTIPLE * MULTIPLE]
        for name, each in pixels.items()
    }


def true_picture(case: Case, photograph: np.ndarray) -> np.ndarray:
    """Return the undamaged picture of a case."""
    image = Image.fromarray(photograph)
    if case.is_grey:
        return np.asarray(image.convert("L").convert("RGB"))
    if not case.is_screen:
        return photograph
    words = (Path(__file__).parents[1] / "LICENSE").read_text(encoding="utf-8").splitlines()
    middle, screen = image.height // 2, Image.new("RGB", image.size, "white")
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, middle, *image.size), "#202124")
    for top, ink, size in ((0, "#202124", 12), (middle, "#e8eaed", 16)):
        for number in range(middle // (size + 4)):  # the font of Pillow, which is in no training picture
            place = 8, top + 4 + number * (size + 4)
            draw.text(place, words[number % len(words)], ink, ImageFont.load_default(size))
    screen.paste(image.reduce(2), (image.width * 3 // 8, image.height // 4))
    return np.asarray(screen)
