"""Calibration of edit directions, so that strength 1 gives the usual strength of the attribute."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from glow_app.models.image_model import ImageModel

FEW = 20  # fewest held-out images with and without an attribute for a meaningful median
SIDE = 16  # height and width of the images that the regression sees
STRIDE = 8  # one in this many images is held out
MOST = 512  # most images that are held out
LEAST_SEEN = 0.5  # smallest difference of the regression with and without an attribute, in standard deviations
SHOWN = 128  # held-out images that are edited to measure the effect
FACTORS = (0.7, 0.84, 1.0, 1.2, 1.44, 1.73, 2.07, 2.5, 3.0)
MOST_IMAGES = 0.8  # share of the edited images that must show at least half of the wanted change
LEAST_SHARE = 0.5  # smallest share of the wanted change for a factor other than 1
FALL = 0.8  # a share below this part of the largest one counts as a fall, not as noise
RIDGE = 0.01  # relative to the mean variance of a pixel


class Calibration:
    r"""Finds by which factor a direction must be longer, or shorter, for its attribute to be seen.

    The mean of the latents with an attribute is not yet a picture with it: most of what makes a beard differs from face
    to face, and is nothing on average. What a picture shows is read off by a linear regression of the attributes on
    its pixels, :math:`p(x)`, brought to 16x16. Every eighth image is held out of it. With :math:`\Delta` the
    difference of the mean :math:`p` between held-out images above and below the attribute's mean :math:`\bar y`, and
    :math:`\delta` that of the attribute itself, the factor is the least one with

    .. math:: \operatorname{median}_{y < \bar y}\; p(f^{-1}(z + s\,\delta\, d)) - p(x) = \Delta

    and at least half of that in four of five images, sought between 0.7 and 3; where not even half of it is reached, 1.
    """

    def __init__(self) -> None:
        self._stride, self._seen = STRIDE, 0
        self._held: list[tuple[Tensor, Tensor, Tensor | None]] = []
        self._moments: Tensor | None = None

    def add(self, images: Tensor, attributes: Tensor, labels: Tensor | None) -> None:
        """Take a batch: uint8 (B, C, H, W), (B, A), and the labels of a class-conditional model."""
        places = torch.arange(self._seen, self._seen + len(images))
        self._seen += len(images)
        for row in (places % self._stride == 0).nonzero()[:, 0].tolist():
            label = None if labels is None else labels[row : row + 1]
            self._held.append((images[row : row + 1].cpu(), attributes[row : row + 1].cpu(), label))
        if len(self._held) > MOST:
            self._held, self._stride = self._held[::2], 2 * self._stride
        rest = places % STRIDE != 0
        rows = torch.cat([torch.ones(int(rest.sum()), 1), _pixels(images[rest]), attributes[rest].cpu()], 1).double()
        moments = rows.T @ rows
        self._moments = moments if self._moments is None else self._moments + moments

    def factors(self, model: ImageModel, directions: Sequence[Sequence[Tensor]]) -> list[float]:
        """Return the factor of each direction; 1 where too few images are held out, or pixels do not show it.

        Args:
            model: Whose latents they change.
            directions: For each attribute, one (C_l, H_l, W_l) per level.
        """
        if not self._held or self._moments is None:
            return [1.0] * len(directions)
        images = torch.cat([held[0] for held in self._held])
        attributes = torch.cat([held[1] for held in self._held])
        labels = [held[2] for held in self._held if held[2] is not None]
        some = torch.cat(labels) if labels else None
        weights = _weights(self._moments, attributes.shape[1])
        shown = _pixels(images) @ weights
        return [
            _factor(model, levels, images, some, attributes[:, number], weights[:, number], shown[:, number])
            for number, levels in enumerate(directions)
        ]


def _factor(
    model: ImageModel,
    levels: Sequence[Tensor],
    images: Tensor,
    labels: Tensor | None,
    attribute: Tensor,
    weights: Tensor,
    shown: Tensor,
) -> float:
    """Return the factor of the direction ``levels``, from N held-out images, their labels and attribute, (N,).

    ``weights`` are those of the pixels in the regression, (P,); ``shown`` is its value of each image, (N,).
    """
    is_above = attribute > attribute.mean()
    if min(int(is_above.sum()), int((~is_above).sum())) < FEW:
        return 1.0
    wanted = float(shown[is_above].mean() - shown[~is_above].mean())
    if wanted < LEAST_SEEN * float(shown.std()):
        return 1.0
    step = float(attribute[is_above].mean() - attribute[~is_above].mean())
    rows = (~is_above).nonzero()[:SHOWN, 0]
    some = None if labels is None else labels[rows]
    latents = model.encode(images[rows], some)
    before, share_before, best, largest = 0.0, 0.0, 1.0, 0.0
    for factor in FACTORS:
        moved = [z + factor * step * level.to(z) for z, level in zip(latents, levels, strict=True)]
        change = _pixels(model.decode(moved, some)) @ weights - shown[rows]
        # Half of all that is wanted is shown by most images, or the change came all at once in some of them only.
        share = float(torch.minimum(change.median(), 2 * change.quantile(1 - MOST_IMAGES))) / wanted
        if share >= 1:
            return max(FACTORS[0], before + (factor - before) * (1 - share_before) / (share - share_before))
        if largest > LEAST_SHARE and share < FALL * largest:  # further on there are no pictures any more
            break
        if share > largest:
            best, largest = factor, share
        before, share_before = factor, share
    return best if largest > LEAST_SHARE else 1.0


def _weights(moments: Tensor, num_attributes: int) -> Tensor:
    """Return the weights of a ridge regression, (P, A), from sums of the products of (1, pixels, attributes)."""
    count, mean = moments[0, 0], moments[0, 1:] / moments[0, 0]
    covariance = moments[1:, 1:] - count * mean[:, None] * mean
    num_pixels = len(covariance) - num_attributes
    of_pixels, with_attributes = covariance[:num_pixels].split([num_pixels, num_attributes], dim=1)
    # As many images as pixels are worth as much as what is measured of them; fewer count for less.
    ridge = of_pixels.diagonal().mean().clamp(min=1e-9) * (RIDGE + num_pixels / count)
    solved = torch.linalg.solve(of_pixels + ridge * torch.eye(num_pixels, dtype=moments.dtype), with_attributes)
    return solved.float()


def _pixels(images: Tensor) -> Tensor:
    """Return what the regression sees of uint8 images, (B, C, H, W): floats from 0 to 1, (B, P)."""
    height, width = (min(SIDE, size) for size in images.shape[2:])
    return functional.adaptive_avg_pool2d(images.cpu().float() / 255, (height, width)).flatten(1)
