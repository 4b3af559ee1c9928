"""Estimates and draws of pictures of any size in overlapping tiles, with less noise where a draw explodes."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from glow_app.likelihood import to_uint8
from glow_app.models.image_model import ImageModel
from glow_app.nn.context import Context, rows_of
from glow_app.nn.precision import fast_convolutions
from glow_app.restoration.picture_conditioning import picture_conditioning_of

# Side of a tile, overlap of two tiles, and width of the discarded margins within it, pixels. Margins are discarded
# because convolutions see zeros beyond a tile; with narrower ones, draws differ from those of the whole picture.
TILE, OVERLAP, MARGIN = 640, 192, 64

# Overshoot beyond black or white, grey levels, above which a part of a draw is repeated with half the noise, and the
# maximum number of repetitions. Ordinary draws overshoot by tens.
_MOST_OVERSHOOT, _MOST_TIMES = 64, 6


def num_tiles(height: int, width: int) -> int:
    """Return the number of tiles of a picture."""
    return len(_spans(height)) * len(_spans(width))


def slices(count: int, size: int) -> list[slice]:
    """Return the slices of groups of ``size``, the last of which may be smaller."""
    return [slice(first, first + size) for first in range(0, count, size)]


def decode_in_tiles(
    model: ImageModel, noise: Sequence[Tensor], condition: Tensor, images: Tensor, overshoot: Tensor, at_a_time: int
) -> Iterator[None]:
    """Decode noise given a condition, writing ``images``, uint8 (1 + N, C, H, W), and the ``overshoot`` of N draws.

    The first image is the encoder's estimate. A step writes a tile of it, or of ``at_a_time`` draws. All share the
    tile's feature maps, which take longer than a draw.
    """
    height, width = images.shape[2:]

    def decoded(rows: slice, columns: slice) -> Iterator[tuple[slice, Tensor]]:
        levels = [
            level[:, :, _scaled(rows, 2 << number), _scaled(columns, 2 << number)] for number, level in enumerate(noise)
        ]
        context = model.context(condition[:, :, rows, columns], len(overshoot))
        yield slice(1), to_uint8(picture_conditioning_of(model).estimate_in(context).float().cpu(), model.num_bits)
        kept = _kept(rows, height), _kept(columns, width)
        for part in slices(len(overshoot), at_a_time):
            values, most = _values_without_outliers(
                model, [level[part] for level in levels], rows_of(context, part), kept
            )
            overshoot[part] = torch.maximum(overshoot[part], most)
            yield slice(part.start + 1, part.stop + 1), to_uint8(values, model.num_bits)

    yield from _written(images, decoded)


def estimate_in_tiles(model: ImageModel, condition: Tensor, image: Tensor) -> Iterator[None]:
    """Write the encoder's estimate given a condition into ``image``, uint8 (1, C, H, W); each step computes a tile."""

    def estimated(rows: slice, columns: slice) -> Iterator[tuple[slice, Tensor]]:
        with fast_convolutions(model.device):
            estimate = picture_conditioning_of(model).estimate(condition[:, :, rows, columns])
        yield slice(1), to_uint8(estimate.float().cpu(), model.num_bits)

    yield from _written(image, estimated)


def _written(images: Tensor, tile: Callable[[slice, slice], Iterable[tuple[slice, Tensor]]]) -> Iterator[None]:
    """Write tiles into ``images``, blended; ``tile`` yields parts of the images with their pixels there."""
    height, width = images.shape[2:]
    for rows in _spans(height):
        strip = torch.empty_like(images[:, :, rows])
        for columns in _spans(width):
            for part, pixels in tile(rows, columns):
                _write_blended(strip[part], pixels, columns.start, dim=3)
                if columns.stop == width:
                    _write_blended(images[part], strip[part], rows.start, dim=2)
                yield


def _values_without_outliers(
    model: ImageModel, levels: Sequence[Tensor], context: Context, kept: tuple[slice, slice]
) -> tuple[Tensor, Tensor]:
    """Return the values of a tile, and the overshoot, (N,), of its ``kept`` part before any repetition.

    Where values are out of range, the noise is halved in place. As the inputs of conditioners are bounded, such
    places are few, and there are none without noise.
    """
    values = model.decode_values(levels, context).float().cpu()
    overshoot = _overshoot(values, kept)
    most = overshoot.flatten(1).amax(1)
    for _ in range(_MOST_TIMES):
        draws = overshoot.flatten(1).amax(1).gt(_MOST_OVERSHOOT).nonzero()[:, 0]
        if not len(draws):
            break
        out_of_range = overshoot[draws].gt(_MOST_OVERSHOOT).float()
        for number, level in enumerate(levels):
            cells = F.max_pool2d(F.max_pool2d(out_of_range, 2 << number), 3, stride=1, padding=1)
            level[draws] *= 1 - cells.to(level) / 2
        halved = [level[draws] for level in levels]
        values[draws] = model.decode_values(halved, rows_of(context, draws)).float().cpu()
        overshoot = _overshoot(values, kept)
    return values, most


def _overshoot(values: Tensor, kept: tuple[slice, slice]) -> Tensor:
    """Return how far the values of each pixel reach beyond black and white, grey levels, (N, 1, H, W).

    Discarded margins count as -inf: at the edge of a tile, values may be out of range where the picture is not.
    """
    overshoot = torch.full_like(values[:, :1], -math.inf)
    overshoot[..., *kept] = 256 * (values[..., *kept].abs().amax(1, keepdim=True) - 0.5)
    return overshoot


def _kept(part: slice, length: int) -> slice:
    """Return the part of a tile's side without discarded margins."""
    return slice(MARGIN if part.start else 0, part.stop - part.start - (MARGIN if part.stop < length else 0))


def _spans(length: int) -> list[slice]:
    """Return the spans of the tiles along a side."""
    starts = range(0, max(1, length - OVERLAP), TILE - OVERLAP)
    return [slice(start, min(start + TILE, length)) for start in starts]


def _write_blended(canvas: Tensor, part: Tensor, start: int, dim: int) -> None:
    """Write a part into a canvas at ``start``, blended with the previous part in their overlap."""
    target, overlap = canvas.narrow(dim, start, part.shape[dim]), OVERLAP if start else 0
    if overlap:
        rise = ((torch.arange(overlap) - MARGIN + 0.5) / (overlap - 2 * MARGIN)).clamp(0, 1)
        before, after = target.narrow(dim, 0, overlap), part.narrow(dim, 0, overlap)
        before.copy_(before.float().lerp(after.float(), rise.unflatten(0, (-1, *[1] * (3 - dim)))).round())
    rest = part.shape[dim] - overlap
    target.narrow(dim, overlap, rest).copy_(part.narrow(dim, overlap, rest))


def _scaled(part: slice, factor: int) -> slice:
    return slice(part.start // factor, part.stop // factor)
