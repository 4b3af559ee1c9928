"""Continuous colours of faces, in the perceptual colour space OKLCH: lightness, chroma and hue.

References:
    A perceptual color space for image processing, Björn Ottosson 2020, https://bottosson.github.io/posts/oklab/.
"""

import math
from collections.abc import Sequence

import numpy as np

from glow_app.data.faces.face import Face

# Lightness, chroma and hue of skin and of the warmest hair, chosen by eye around the palettes of python-avatars.
_SKIN = ([0.36, 0.45, 0.60, 0.75, 0.90], [0.045, 0.065, 0.092, 0.085, 0.048], [48.0, 50.0, 54.0, 60.0, 66.0])
_HAIR = ([0.20, 0.35, 0.50, 0.65, 0.86], [0.030, 0.085, 0.130, 0.135, 0.090], [45.0, 48.0, 53.0, 65.0, 86.0])


def skin_colour(face: Face) -> str:
    """Return the colour of skin as ``#rrggbb``."""
    lightness = 0.36 + 0.54 * face.skin_lightness
    return oklch(lightness, _at(lightness, _SKIN, 1), _at(lightness, _SKIN, 2) + 28 * (face.skin_warmth - 0.5))


def hair_colour(face: Face) -> str:
    """Return the colour of hair and beard as ``#rrggbb``: black, brown, red, blond or grey."""
    lightness = 0.20 + 0.66 * face.hair_lightness
    return oklch(lightness, face.hair_warmth * _at(lightness, _HAIR, 1), _at(lightness, _HAIR, 2))


def clothes_colour(face: Face) -> str:
    """Return the colour of clothes as ``#rrggbb``: any hue, nearly grey to saturated."""
    return oklch(0.35 + 0.45 * face.clothes_lightness, 0.02 + 0.13 * face.clothes_strength, 360 * face.clothes_hue)


def blazer_colours(face: Face) -> tuple[str, str]:
    """Return the colours of a blazer and its lapels as ``#rrggbb``: darker than the shirt and of another hue."""
    lightness, chroma, hue = 0.28 + 0.28 * face.clothes_lightness, 0.02 + 0.05 * face.clothes_strength, face.clothes_hue
    return oklch(lightness, chroma, 360 * hue + 150), oklch(lightness - 0.04, chroma, 360 * hue + 150)


def hat_colour(face: Face) -> str:
    """Return the colour of a hat as ``#rrggbb``."""
    return oklch(0.35 + 0.45 * face.hat_lightness, 0.10, 360 * face.hat_hue)


def background_colours(face: Face) -> tuple[str, str]:
    """Return the two colours of the background's gradient as ``#rrggbb``."""
    lightness, hue = 0.62 + 0.28 * face.background_lightness, 50 + 260 * face.background_hue
    return oklch(lightness + 0.04, 0.075, hue - 8), oklch(lightness - 0.04, 0.075, hue + 8)


def oklch(lightness: float, chroma: float, hue: float) -> str:
    """Return a colour as ``#rrggbb``, with chroma reduced if it is outside sRGB.

    Args:
        lightness: From 0 (black) to 1 (white).
        chroma: From 0 (grey) to about 0.3.
        hue: In degrees.
    """
    for share in range(10, -1, -1):
        linear = _linear_rgb(lightness, chroma * share / 10, hue)
        if all(-0.002 <= value <= 1.002 for value in linear):
            break
    return "#" + "".join(f"{round(255 * _encoded(value)):02x}" for value in linear)


def _linear_rgb(lightness: float, chroma: float, hue: float) -> list[float]:
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return [
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    ]


def _encoded(value: float) -> float:
    value = min(max(value, 0.0), 1.0)
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055


def _at(lightness: float, table: Sequence[list[float]], column: int) -> float:
    return float(np.interp(lightness, table[0], table[column]))
