"""Pictures of titled panels: contact sheets, and images beside their nearest neighbours."""

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw
from torch import Tensor

from glow_app.pictures.images import INK, PAPER, captioned, enlarged, font, grid, text_width

SHEET_COLUMNS, SHEET_SIDE = 5, 160  # columns, and minimum width of an image in pixels
SIDE, GAP, BLOCK_TITLE = 64, 16, 24  # pixels: minimum width of an image, gap between blocks, height of titles


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
