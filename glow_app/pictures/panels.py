"""Pictures of titled panels: histograms, contact sheets, and images beside their nearest neighbours."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from glow_app.pictures.images import INK, PAPER, captioned, drawable, enlarged, font, grid, text_width

WIDTH, HEIGHT, MARGIN, TITLE = 360, 160, 14, 34
COLOURS = ((52, 101, 164), (206, 92, 0))
NUM_BINS = 40
SHEET_COLUMNS, SHEET_SIDE = 5, 160  # columns, and minimum width of an image in pixels
SIDE, GAP, BLOCK_TITLE = 64, 16, 24  # pixels: minimum width of an image, gap between blocks, height of titles

Values = tuple[Sequence[float], Sequence[float]]


def histogram_picture(values: Mapping[str, Values], names: tuple[str, str], notes: Mapping[str, str]) -> Image.Image:
    """Return a panel per entry with overlaid histograms of its two sets of values.

    Args:
        values: The two sets of values by title.
        names: Names of the sets, for the legend.
        notes: Text beside the titles, by title.
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
        _histogram(draw, left, top + TITLE - 8 + HEIGHT, sets)
    return picture


def _histogram(draw: ImageDraw.ImageDraw, left: int, bottom: int, sets: Values) -> None:
    both = np.concatenate([np.asarray(values, float) for values in sets])
    # Without quantiles, a few outliers would squeeze everything else into one bin.
    low, high = np.quantile(both[np.isfinite(both)], [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1, NUM_BINS + 1)
    shares = [np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / len(values) for values in sets]
    width, scale = WIDTH / NUM_BINS, HEIGHT / np.max(shares)
    for share, colour in zip(shares, COLOURS, strict=True):
        for number in np.flatnonzero(share):
            x = left + number * width
            draw.rectangle((x, bottom - scale * share[number], x + width - 1, bottom), fill=(*colour, 130))
    draw.line((left, bottom, left + WIDTH, bottom), fill=INK)
    draw.text((left, bottom + 2), f"{edges[0]:.3g}", INK, font(11))
    draw.text((left + WIDTH, bottom + 2), f"{edges[-1]:.3g}", INK, font(11), anchor="ra")


def contact_sheet(images: Tensor, captions: Sequence[tuple[str, str]], columns: int = SHEET_COLUMNS) -> Image.Image:
    """Return rows of images, uint8 (N, C, H, W), each below a caption of two lines."""
    larger = enlarged(images, -(-SHEET_SIDE // images.shape[-1]))
    rows = []
    for start in range(0, len(images), columns):
        part = slice(start, start + columns)
        first, second = zip(*captions[part], strict=True)
        rows.append(captioned(grid(larger[part], len(first), min_side=1, above=second), above=first))
    sheet = Image.new(rows[0].mode, (rows[0].width, sum(row.height for row in rows)), PAPER)
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def neighbour_picture(blocks: Mapping[str, Tensor]) -> Image.Image:
    """Return blocks of images by title, uint8 (N, K, C, H, W) with the same N, side by side."""
    panels = {}
    for title, images in blocks.items():
        larger = enlarged(images.flatten(0, 1), -(-SIDE // images.shape[-1]))
        panels[title] = grid(larger, images.shape[1], min_side=1)
    widths = [max(panel.width, text_width(title)) + GAP for title, panel in panels.items()]
    height = max(panel.height for panel in panels.values())
    picture = Image.new("RGB", (sum(widths) + GAP, height + BLOCK_TITLE + GAP), PAPER)
    draw = ImageDraw.Draw(picture)
    left = GAP
    for (title, panel), width in zip(panels.items(), widths, strict=True):
        draw.text((left, 4), title, INK, font())
        picture.paste(panel, (left, BLOCK_TITLE))
        left += width
    return picture
