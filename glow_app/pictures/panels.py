"""Pictures of titled panels: histograms, contact sheets, and images beside their nearest neighbours."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from glow_app.pictures.captions import INK, PAPER, captioned, drawable, font, text_width
from glow_app.pictures.images import enlarged, grid

WIDTH, HEIGHT, MARGIN, TITLE = 360, 160, 14, 34
COLOURS = ((52, 101, 164), (206, 92, 0))
NUM_BINS = 40
SHEET_COLUMNS, SHEET_SIDE = 5, 160  # columns, and minimum width of an image in pixels
SIDE, GAP, BLOCK_TITLE = 64, 16, 24  # pixels: minimum width of an image, gap between blocks, height of titles


def histogram_picture(
    values: Mapping[str, tuple[Sequence[float], Sequence[float]]], names: tuple[str, str], notes: Mapping[str, str]
) -> Image.Image:
    """Return a panel per entry with overlaid histograms of its two sets of values.

    Args:
        values: The two sets of values by title.
        names: Names of the sets, for the legend.
        notes: Notes beside titles, by title.
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
        _histogram(draw, left, top + TITLE - 8, sets)
    return picture


def contact_sheet(images: Tensor, captions: Sequence[tuple[str, str]]) -> Image.Image:
    """Return rows of images, each below a caption of two lines.

    Args:
        images: uint8 (N, C, H, W).
        captions: The two lines of each image.
    """
    larger = enlarged(images, -(-SHEET_SIDE // images.shape[-1]))
    columns = min(SHEET_COLUMNS, len(images))
    rows = []
    for start in range(0, len(images), columns):
        part = slice(start, start + columns)
        first, second = zip(*captions[part], strict=True)
        row = grid(larger[part], columns, min_side=1, above=second)
        rows.append(captioned(row, above=first))
    sheet = Image.new(rows[0].mode, (rows[0].width, sum(row.height for row in rows)), PAPER)
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def neighbour_picture(blocks: Mapping[str, Tensor]) -> Image.Image:
    """Return titled blocks of images side by side; related images share a row.

    Args:
        blocks: Images by title, uint8 (N, K, C, H, W), with the same N.
    """
    panels = [(title, _block(images)) for title, images in blocks.items()]
    widths = [max(panel.width, text_width(title)) for title, panel in panels]
    size = (sum(widths) + GAP * (len(panels) + 1), panels[0][1].height + BLOCK_TITLE + GAP)
    picture = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(picture)
    left = GAP
    for (title, panel), width in zip(panels, widths, strict=True):
        draw.text((left, 4), title, INK, font())
        picture.paste(panel, (left, BLOCK_TITLE))
        left += width + GAP
    return picture


def _histogram(draw: ImageDraw.ImageDraw, left: int, top: int, sets: tuple[Sequence[float], Sequence[float]]) -> None:
    both = np.concatenate([np.asarray(values, float) for values in sets])
    # Without quantiles, a few outliers would squeeze everything else into one bin.
    low, high = np.quantile(both[np.isfinite(both)], [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1, NUM_BINS + 1)
    shares = [np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / len(values) for values in sets]
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


def _block(images: Tensor) -> Image.Image:
    factor = -(-SIDE // images.shape[-1])
    return grid(enlarged(images.flatten(0, 1), factor), columns=images.shape[1], min_side=1)
