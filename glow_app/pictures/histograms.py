"""Pictures of two distributions above each other."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from glow_app.pictures.captions import INK, PAPER, drawable, font, text_width

__all__ = ["histogram_picture"]

WIDTH, HEIGHT, MARGIN, TITLE = 360, 160, 14, 34
COLOURS = ((52, 101, 164), (206, 92, 0))
NUM_BINS = 40


def histogram_picture(
    values: Mapping[str, tuple[Sequence[float], Sequence[float]]], names: tuple[str, str], notes: Mapping[str, str]
) -> Image.Image:
    """Return a panel for each entry, with the histogram of both of its sets of values.

    Args:
        values: Title to the two sets.
        names: Of the sets, for the legend.
        notes: Title to a word beside it.
    """
    columns = min(2, len(values))
    rows = -(-len(values) // columns)
    size = (columns * (WIDTH + MARGIN) + MARGIN, rows * (HEIGHT + TITLE + MARGIN) + MARGIN + TITLE)
    picture = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(picture, "RGBA")
    x = MARGIN
    for name, colour in zip(map(drawable, names), COLOURS, strict=True):
        draw.rectangle((x, MARGIN, x + 12, MARGIN + 12), fill=(*colour, 160))
        draw.text((x + 18, MARGIN - 3), name, INK, font(14))
        x += 40 + text_width(name, 14)
    for number, (title, sets) in enumerate(values.items()):
        left = MARGIN + number % columns * (WIDTH + MARGIN)
        top = MARGIN + TITLE + number // columns * (HEIGHT + TITLE + MARGIN)
        draw.text((left, top), f"{title}  {notes.get(title, '')}", INK, font(14))
        _panel(draw, left, top + TITLE - 8, sets)
    return picture


def _panel(draw: ImageDraw.ImageDraw, left: int, top: int, sets: tuple[Sequence[float], Sequence[float]]) -> None:
    both = np.concatenate([np.asarray(one, float) for one in sets])
    # A few far outliers would press all else into one bin.
    low, high = np.quantile(both[np.isfinite(both)], [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1, NUM_BINS + 1)
    shares = [np.histogram(np.clip(one, edges[0], edges[-1]), edges)[0] / len(one) for one in sets]
    peak = max(share.max() for share in shares)
    width = WIDTH / NUM_BINS
    for share, colour in zip(shares, COLOURS, strict=True):
        for number, value in enumerate(share):
            if value:
                x, y = left + number * width, top + HEIGHT * (1 - value / peak)
                box = (x, y, x + width - 1, top + HEIGHT)
                draw.rectangle(box, fill=(*colour, 130))
    draw.line((left, top + HEIGHT, left + WIDTH, top + HEIGHT), fill=INK)
    draw.text((left, top + HEIGHT + 2), f"{edges[0]:.3g}", INK, font(11))
    draw.text((left + WIDTH, top + HEIGHT + 2), f"{edges[-1]:.3g}", INK, font(11), anchor="ra")
