"""Where a picture is corrected: models change clean pictures too, but by less than damaged ones."""

import torch
import torch.nn.functional as F
from torch import Tensor

from glow_app.likelihood import to_uint8
from glow_app.models.image_model import ImageModel
from glow_app.nn.precision import fast_convolutions
from glow_app.restoration.encoder import base_picture
from glow_app.restoration.picture_conditioning import picture_conditioning_of
from glow_app.restoration.tiles import TILE, slices

_BLOCK, _SIDE = 16, 5  # side of a block, pixels, and of a place, blocks
# All is corrected if most blocks change by the task's least change, or some blocks by half as much again: few blocks of
# clean pictures do, in textures, but many of compressed ones without detail elsewhere.
_SOME, _RATIO = 0.15, 1.5
# Otherwise a place is corrected, from none to all, between these changes of nine tenths of its blocks, relative to the
# least change. Textures seldom fill a place.
_TENTH, _CLEAN, _DAMAGED = 0.1, 2.2, 3.0
# A large picture is judged by samples first: their side, their distance, what is measured of each, and how many at a
# time. Noise in a smaller part than their distance may be overlooked.
_LARGE, _SAMPLE, _DISTANCE, _MEASURED, _TOGETHER = 1 << 22, 96, 384, 64, 16
CLEAN = "it is clean, and so it was {}"
_ROWS, _COLUMNS = ("top", "", "bottom"), ("left", "", "right")


def block_changes(estimate: Tensor, base: Tensor) -> Tensor:
    """Return mean squares of the changes of 16x16 blocks, (1, 1, h, w), given uint8 (C, H, W)."""
    squares = [
        F.avg_pool2d((estimate[:, rows].float() - base[:, rows]).square().mean(0)[None, None], _BLOCK, ceil_mode=True)
        for rows in slices(estimate.shape[1], TILE)
    ]
    return torch.cat(squares, dim=2)


def is_clean(model: ImageModel, condition: Tensor, least_change: float) -> bool:
    """Return whether the samples of a large picture, (1, E, H, W), need no correction."""
    if condition[0, 0].numel() < _LARGE:
        return False
    for dim in (2, 3):
        first = (condition.shape[dim] - _SAMPLE) % _DISTANCE // 2
        condition = condition.narrow(dim, first, condition.shape[dim] - first).unfold(dim, _SAMPLE, _DISTANCE)
    samples, changes = condition.permute(0, 2, 3, 1, 4, 5).flatten(0, 2), []
    for part in samples.split(_TOGETHER):
        with fast_convolutions(model.device):
            estimate = picture_conditioning_of(model).estimate(part)
        change = to_uint8(estimate.float().cpu(), model.num_bits).float() - base_picture(part, estimate.shape[1])
        inside = slice((_SAMPLE - _MEASURED) // 2, (_SAMPLE + _MEASURED) // 2)
        changes.append(change[..., inside, inside].square().mean((1, 2, 3)).sqrt())
        if changes[-1].max() >= _CLEAN * least_change:
            return False
    return not _is_damaged_throughout(torch.cat(changes), least_change)


def _is_damaged_throughout(changes: Tensor, least_change: float) -> bool:
    return bool(changes.median() >= least_change or changes.quantile(1 - _SOME) >= _RATIO * least_change)


def shares_to_correct(changes: Tensor, least_change: float) -> Tensor:
    """Return the share of the correction of each block: all if much of the picture changes, or else by the place.

    Shape:
        changes, output: (1, 1, h, w), of :func:`block_changes`.
    """
    if _is_damaged_throughout(changes.sqrt(), least_change):
        return torch.ones_like(changes)
    edges = [_SIDE // 2] * 4
    places = F.pad(changes, edges, mode="replicate").unfold(2, _SIDE, 1).unfold(3, _SIDE, 1).flatten(4)
    weakest = places.kthvalue(1 + int(_TENTH * places.shape[4]), dim=4).values
    largest = F.max_pool2d(F.pad(weakest, edges, mode="replicate"), _SIDE, stride=1)
    return ((largest.sqrt() / least_change - _CLEAN) / (_DAMAGED - _CLEAN)).clamp(0, 1)


def correct_in_part(picture: Tensor, base: Tensor, shares: Tensor) -> None:
    """Replace the corrected ``picture``, uint8 (C, H, W), by a share of its difference from ``base``."""
    height, width = picture.shape[1:]
    along = F.interpolate(shares, size=(shares.shape[2], _BLOCK * shares.shape[3]), mode="bilinear")[0, 0, :, :width]
    places = ((torch.arange(height) + 0.5) / _BLOCK - 0.5).clamp(0, len(along) - 1)
    for rows in slices(height, TILE):
        first = places[rows].long()
        share = along[first].lerp(along[(first + 1).clamp(max=len(along) - 1)], (places[rows] - first)[:, None])
        picture[:, rows] = base[:, rows].float().lerp(picture[:, rows].float(), share).round().to(torch.uint8)


def decision_in_words(shares: Tensor) -> str:
    """Return how much of a picture is cleaned, and where the centre of that is."""
    total = float(shares.mean())
    if total == 0:
        return CLEAN.format("not changed")
    if total > 0.99:
        return "cleaned throughout"
    height, width = shares.shape[2:]
    row = int(3 * (shares[0, 0].sum(1) @ (torch.arange(height) + 0.5)) / shares.sum() / height)
    column = int(3 * (shares[0, 0].sum(0) @ (torch.arange(width) + 0.5)) / shares.sum() / width)
    place = " ".join(filter(None, (_ROWS[row], _COLUMNS[column]))) or "middle"
    return f"cleaned in {max(total, 0.01):.0%} of the picture{f', at the {place}' if total < 0.5 else ''}"
