"""Words beside pictures: small, dark on white, in the font that Pillow brings."""

import unicodedata
from collections.abc import Sequence
from functools import cache

from PIL import Image, ImageDraw, ImageFont

PAPER, INK = "#ffffff", "#333333"
SIZE, LEAST, SPACE = 13, 9, 5  # pixels: of letters at most and at least, and around a word


@cache
def font(size: int = SIZE) -> ImageFont.FreeTypeFont:
    """Return the font of all captions.

    Args:
        size: In pixels.
    """
    return ImageFont.load_default(size)  # type: ignore[return-value]


def drawable(text: str) -> str:
    """Return a text in the signs that the font has, which are those of English: é becomes e, and what is left ``?``."""
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    return "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in plain)


def text_width(text: str, size: int = SIZE) -> int:
    """Return the pixels that a word is wide."""
    return round(font(size).getlength(text))


def captioned(picture: Image.Image, above: Sequence[str] = (), left: Sequence[str] = ()) -> Image.Image:
    """Return the picture with words over its columns and before its rows; it keeps the lower right corner, unchanged.

    Args:
        picture: Grey or RGB, of equally wide columns and equally high rows.
        above: One per column, cut where the column is too narrow for the smallest letters; or none.
        left: One per row; or none.
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
        x = edge + (number + 0.5) * picture.width / len(above)
        draw.text((x, top / 2), _cut(text, column, size), INK, font(size), anchor="mm")
    for number, text in enumerate(left):
        y = top + (number + 0.5) * picture.height / len(left)
        draw.text((edge - SPACE, y), text, INK, font(), anchor="rm")
    return canvas


def _cut(text: str, width: int, size: int) -> str:
    if text_width(text, size) <= width:
        return text
    while text and text_width(f"{text}…", size) > width:
        text = text[:-1]
    return f"{text.rstrip()}…" if text else ""
