"""Super-resolution: enlarging pictures."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from glow_app.restoration.restoration_task import RestorationTask

# Maximum error of a reduced picture before rounding, grey levels, and maximum number of projections to reach it: a few
# suffice where no value is clipped; near black and white it takes a hundred or more, and momentum saves most of them.
_TOLERANCE, _PROJECTIONS = 0.5, 400

# The excess error has to fall to this share within this number of projections. It soon stagnates where no picture
# reduces to the small one, as for noise or sharpened edges.
_FALL, _WITHIN = 0.95, 20

# Side of a block of the small picture, and width of its surroundings, pixels. Only few blocks need many projections.
_BLOCK, _AROUND = 64, 8


class Upscale(RestorationTask):
    """Enlarge pictures; the damage is bicubic downsampling with antialiasing.

    The flow sees the bicubic enlargement of the small picture. A restored picture, reduced again, equals the small one
    within one grey level, provided that some picture reduces to it.

    Args:
        factor: Ratio of the restored sides to the original ones: 2, 4 or 8.
    Shape:
        images: uint8 (B, C, H, W), sides divisible by ``factor``; damaged: uint8 (B, C, H / factor, W / factor).
    Raises:
        ValueError: If the factor is not 2, 4 or 8, or does not divide the sides.
    """

    condition_name = "bicubic enlargement"

    def __init__(self, factor: int = 2) -> None:
        if factor not in (2, 4, 8):
            raise ValueError(f"factor is {factor}; expected 2, 4 or 8")
        self.factor = factor

    def damage(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the reduced images; deterministic."""
        if images.shape[2] % self.factor or images.shape[3] % self.factor:
            raise ValueError(
                f"images are {images.shape[3]}x{images.shape[2]}; expected sides divisible by {self.factor}"
            )
        return _to_uint8(self._reduced(images.float()))

    def condition(self, damaged: Tensor) -> Tensor:
        """Return the bicubic enlargement."""
        return _to_uint8(self._enlarged(damaged.float()))

    def known(self, restored: Tensor, damaged: Tensor) -> Tensor:
        """Add the enlarged error of the reduction to the pictures until it is below one grey level.

        References:
            Iterative back-projection, Irani & Peleg 1991, doi:10.1016/1049-9652(91)90045-L; the momentum is that of
            FISTA, Beck & Teboulle 2009, doi:10.1137/080716542.
        """
        # Plane by plane: no draw depends on others, and memory is limited to a single plane.
        planes = zip(restored.flatten(0, 1), damaged.flatten(0, 1), strict=True)
        agreed = []
        for large, small in planes:
            values, target = large[None, None].float(), small[None, None].float()
            values = self._agreed_by_blocks(values, target)
            agreed.append(_to_uint8(self._agreed(values, target)))  # corrects the seams between blocks
        return torch.cat(agreed).view(restored.shape)

    def _agreed_by_blocks(self, large: Tensor, small: Tensor) -> Tensor:
        agreed, scale = torch.empty_like(large), self.factor
        for top, first, last, bottom in _blocks(small.shape[2]):
            for left, start, stop, right in _blocks(small.shape[3]):
                part = large[..., scale * top : scale * bottom, scale * left : scale * right].clone()
                part = self._agreed(part, small[..., top:bottom, left:right])
                part = part[..., scale * (first - top) :, scale * (start - left) :]
                place = agreed[..., scale * first : scale * last, scale * start : scale * stop]
                place.copy_(part[..., : place.shape[2], : place.shape[3]])
        return agreed

    def _agreed(self, large: Tensor, small: Tensor) -> Tensor:
        """Project a picture, in place, until its reduction matches the small one or stops improving."""
        before, last = math.inf, large
        for number in range(_PROJECTIONS):
            error = small - self._reduced(large).clamp_(0, 255)
            excess = float(F.softshrink(error, _TOLERANCE).abs().sum())
            if not excess or (number % _WITHIN == 0 and excess > _FALL * before):
                break
            if number % _WITHIN == 0:
                before = excess
            moved = self._enlarged(error).add_(large).clamp_(0, 255)
            torch.lerp(last, moved, 1 + number / (number + 3), out=large).clamp_(0, 255)
            last = moved
        return large

    def agrees(self, restored: Tensor, damaged: Tensor) -> Tensor:
        """Return which pictures, reduced again, equal the small ones within one grey level, (B,)."""
        return ((self.damage(restored).int() - damaged.int()).abs() <= 1).flatten(1).all(1)

    def _reduced(self, images: Tensor) -> Tensor:
        height, width = (side // self.factor for side in images.shape[2:])
        if width == 1:  # torch returns the first row in place of every row
            return F.interpolate(images.mT, size=(1, height), mode="bicubic", antialias=True).mT
        return F.interpolate(images, size=(height, width), mode="bicubic", antialias=True)

    def _enlarged(self, images: Tensor) -> Tensor:
        return F.interpolate(images, scale_factor=self.factor, mode="bicubic")


def _blocks(length: int) -> list[tuple[int, int, int, int]]:
    """Return (surroundings' start, start, stop, surroundings' stop) of each block along a side."""
    starts = range(0, length, _BLOCK)
    ends = [(start, min(length, start + _BLOCK)) for start in starts]
    return [(max(0, start - _AROUND), start, stop, min(length, stop + _AROUND)) for start, stop in ends]


def _to_uint8(images: Tensor) -> Tensor:
    return images.round_().clamp_(0, 255).to(torch.uint8)
