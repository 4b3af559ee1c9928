"""The picture of drawn images beside their nearest training images."""

from collections.abc import Mapping

from PIL import Image, ImageDraw
from torch import Tensor

from glow_app.pictures.captions import INK, PAPER, font, text_width
from glow_app.pictures.images import enlarged, grid

__all__ = ["neighbour_picture"]

SIDE, GAP, TITLE = 64, 16, 24  # pixels: an image at least, between two blocks, and of the line above


def neighbour_picture(blocks: Mapping[str, Tensor]) -> Image.Image:
    """Return blocks of images beside each other, each under its title; a row belongs together.

    Args:
        blocks: Title to images, uint8 (N, K, C, H, W), all of the same N.
    """
    panels = [(title, _panel(images)) for title, images in blocks.items()]
    widths = [max(panel.width, text_width(title)) for title, panel in panels]
    size = (sum(widths) + GAP * (len(panels) + 1), panels[0][1].height + TITLE + GAP)
    picture = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(picture)
    left = GAP
    for (title, panel), width in zip(panels, widths, strict=True):
        draw.text((left, 4), title, INK, font())
        picture.paste(panel, (left, TITLE))
        left += width + GAP
    return picture


def _panel(images: Tensor) -> Image.Image:
    factor = -(-SIDE // images.shape[-1])
    return grid(enlarged(images.flatten(0, 1), factor), columns=images.shape[1], min_side=1)
