"""Colourisation of grey pictures."""

import torch
from torch import Tensor

from glow_app.restoration.restoration_task import RestorationTask
from glow_app.spec import register

# Pillow's weights of red, green and blue for mode L (ITU-R 601-2), in 16-bit fixed point.
_WEIGHTS = (19595, 38470, 7471)
_CORRECTIONS = 256


@register("colourise")
class Colourise(RestorationTask):
    """Colour grey pictures; Pillow converts the coloured picture back to exactly the grey one.

    Shape:
        images: uint8 (B, 3, H, W); damaged, condition: uint8 (B, 1, H, W).
    Raises:
        ValueError: If the images have no colours.
    """

    condition_name = "grey picture"

    def picture_channels(self, num_channels: int) -> int:
        """Return 1."""
        return 1

    def condition_channels(self, num_channels: int) -> int:
        """Return 1.

        Raises:
            ValueError: If ``num_channels`` is not 3.
        """
        if num_channels != 3:
            raise ValueError(f"images to colour have {num_channels} channels; expected 3")
        return 1

    def damage(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the grey images; deterministic."""
        return luma(images)

    def reconcile(self, restored: Tensor, damaged: Tensor) -> Tensor:
        """Shift all three channels of each pixel alike until its grey value matches; grey where that fails."""
        colours, grey = restored.int(), damaged.int()
        for _ in range(_CORRECTIONS):
            error = grey - luma(colours)
            if not error.any():
                return colours.to(torch.uint8)
            colours = (colours + error).clamp(0, 255)
        return torch.where(luma(colours) == grey, colours, grey).to(torch.uint8)

    def agrees(self, restored: Tensor, damaged: Tensor) -> Tensor:
        """Return which pictures have exactly the input's grey values, (B,)."""
        return (luma(restored) == damaged).flatten(1).all(1)


def luma(images: Tensor) -> Tensor:
    """Return the grey values of images, (B, 1, H, W), as Pillow's mode L rounds them, in the dtype of ``images``."""
    weights = torch.tensor(_WEIGHTS, dtype=torch.int32, device=images.device)[:, None, None]
    return ((images.int() * weights).sum(1, keepdim=True, dtype=torch.int32) + 0x8000 >> 16).to(images.dtype)
