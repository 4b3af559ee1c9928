"""Captions of pictures: small, dark on white, in Pillow's built-in font."""

import unicodedata
from collections.abc import Sequence
from functools import cache

from PIL import Image, ImageDraw, ImageFont

PAPER, INK = "#ffffff", "#333333"
SIZE, LEAST, SPACE = 13, 9, 5  # pixels: largest and smallest font size, and space around a caption


@cache
def font(size: int = SIZE) -> ImageFont.FreeTypeFont:
    """Return the font of all captions, of a size in pixels."""
    return ImageFont.load_default(size)  # type: ignore[return-value]


def drawable(text: str) -> str:
    """Return a text in ASCII, which is all the font has: é becomes e, and other characters become ``?``."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in plain)


def text_width(text: str, size: int = SIZE) -> int:
    """Return the width of a text in pixels."""
    return round(font(size).getlength(text))


def captioned(picture: Image.Image, above: Sequence[str] = (), left: Sequence[str] = ()) -> Image.Image:
    """Return the picture, unchanged in the lower right corner, with captions above its columns and beside its rows.

    Args:
        picture: Grey or RGB picture with columns of equal width and rows of equal height.
        above: Caption of each column, or none; captions too wide for the smallest font are shortened.
        left: Caption of each row, or none.
    """
    if not above and not left:
        return picture
    above, left = list(map(drawable, above)), list(map(drawable, left))
    column = picture.width // max(1, len(above)) - SPACE
    size = next((s for s in range(SIZE, LEAST, -1) if all(text_width(t, s) <= column for t in above)), LEAST)
    top = size + 2 * SPACE if above else 0
    edge = max(map(text_width, left)) + 2 * SPACE if left else 0
    canvas = Image.new(picture.mode, (picture.width + edge, picture.height + top), PAPER)
    canvas.paste(picture, (edge, top))
    draw = ImageDraw.Draw(canvas)
    for number, text in enumerate(above):
        shorter = (f"{text[:end].rstrip()}…" for end in range(len(text) - 1, 0, -1))
        shown = next((cut for cut in (text, *shorter) if text_width(cut, size) <= column), "")
        draw.text((edge + (number + 0.5) * picture.width / len(above), top / 2), shown, INK, font(size), anchor="mm")
    for number, text in enumerate(left):
        y = top + (number + 0.5) * picture.height / len(left)
        draw.text((edge - SPACE, y), text, INK, font(), anchor="rm")
    return canvas
