"""Calibration of edit directions: at strength 1 the attribute becomes visible, at -1 it disappears."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from glow_app.models.image_model import ImageModel

FEW = 20  # minimum of held-out images with, and without, an attribute for a meaningful median
SIDE = 16  # height and width of the images that the regression sees
STRIDE = 8  # every eighth image is held out
MOST = 512  # maximum number of held-out images
LEAST_SEEN = 0.5  # minimum difference of the regression with and without an attribute, in standard deviations
SHOWN = 128  # held-out images that are edited to measure the effect
FACTORS = (0.7, 0.84, 1.0, 1.2, 1.44, 1.73, 2.07, 2.5, 3.0)
MOST_IMAGES = 0.8  # share of the edited images that must reach at least half of the target change
LEAST_SHARE = 0.5  # minimum share of the target change for a factor other than 1
FALL = 0.8  # a share below this part of the largest is less, beyond noise
RIDGE = 0.01  # relative to the mean variance of a pixel


class Calibration:
    r"""Finds the factors by which directions must be scaled for their attributes to appear and to disappear.

    Adding the mean difference of the latents is rarely enough: most of what makes a beard differs from face to face. A
    linear regression of the attributes on the pixels at 16x16, :math:`p(x)`, measures what a picture shows; every
    eighth image is held out of it. Let :math:`\Delta` be the difference of the mean :math:`p` between held-out images
    above and below the attribute's mean :math:`\bar y`, and :math:`\delta` that of the attribute. The factor is the
    smallest s with

    .. math:: \operatorname{median}_{y < \bar y}\; p(f^{-1}(z + s\,\delta\, d)) - p(x) = \Delta

    and at least half of :math:`\Delta` in four of five images, searched from 0.7 to 3. If none qualifies, it is the
    smallest with nearly the largest effect, or 1 if that effect is below half of :math:`\Delta`. Removing an attribute
    is measured in the same way, by the images above the mean: a smile is twice as far from another mouth as back.
    """

    def __init__(self) -> None:
        self._stride, self._seen = STRIDE, 0
        self._held: list[tuple[Tensor, Tensor, Tensor | None]] = []
        self._moments = torch.zeros((), dtype=torch.float64)

    def add(self, images: Tensor, attributes: Tensor, given: Tensor | None) -> None:
        """Add a batch: images, uint8 (B, C, H, W); attributes, (B, A); and what is given for them."""
        places = torch.arange(self._seen, self._seen + len(images))
        self._seen += len(images)
        for row in (places % self._stride == 0).nonzero()[:, 0].tolist():
            known = None if given is None else given[row : row + 1]
            self._held.append((images[row : row + 1].cpu().clone(), attributes[row : row + 1].cpu().clone(), known))
        if len(self._held) > MOST:
            self._held, self._stride = self._held[::2], 2 * self._stride
        rest = places % STRIDE != 0
        rows = torch.cat([torch.ones(int(rest.sum()), 1), _pixels(images[rest]), attributes[rest].cpu()], 1).double()
        self._moments = self._moments + rows.T @ rows

    def factors(self, model: ImageModel, directions: Sequence[Sequence[Tensor]]) -> list[list[float]]:
        """Return two factors of each direction, a tensor (C_l, H_l, W_l) per level: to add and to remove its attribute.

        They are 1 if too few images are held out, or pixels do not show the attribute.
        """
        images, attributes, given = zip(*self._held, strict=True)
        held = torch.cat(images), None if given[0] is None else torch.cat(given)
        columns = zip(directions, torch.cat(attributes).T, _weights(self._moments, len(directions)).T, strict=True)
        return [  # removing an attribute is adding its opposite
            [_factor(model, [sign * z for z in levels], *held, sign * attribute, sign * weight) for sign in (1, -1)]
            for levels, attribute, weight in columns
        ]


def _factor(
    model: ImageModel,
    levels: Sequence[Tensor],
    images: Tensor,
    given: Tensor | None,
    attribute: Tensor,
    weights: Tensor,
) -> float:
    """Return the factor of the direction ``levels``, from N held-out images and their attribute, (N,).

    ``given`` is what is known about the images; ``weights`` are the coefficients of the regression, (P,).
    """
    shown = _pixels(images) @ weights
    is_above = attribute > attribute.mean()
    if min(int(is_above.sum()), int((~is_above).sum())) < FEW:
        return 1.0
    wanted = float(shown[is_above].mean() - shown[~is_above].mean())
    if wanted < LEAST_SEEN * float(shown.std()):
        return 1.0
    step = float(attribute[is_above].mean() - attribute[~is_above].mean())
    rows = (~is_above).nonzero()[:SHOWN, 0]
    row_given = None if given is None else given[rows]
    latents = model.encode(images[rows], row_given)
    shares = {0.0: 0.0}
    for factor in FACTORS:
        moved = [z + factor * step * level.to(z) for z, level in zip(latents, levels, strict=True)]
        change = _pixels(model.decode(moved, row_given)) @ weights - shown[rows]
        # Limited by the images that change least: the median alone may be reached while many images hardly change.
        share = float(torch.minimum(change.median(), 2 * change.quantile(1 - MOST_IMAGES))) / wanted
        before, largest = max(shares), max(shares.values())
        if share >= 1:
            return max(FACTORS[0], before + (factor - before) * (1 - shares[before]) / (share - shares[before]))
        if largest > LEAST_SHARE and share < FALL * largest:  # beyond, the edits leave the images that the model knows
            break
        shares[factor] = share
    largest = max(shares.values())
    return next(factor for factor, share in shares.items() if share >= FALL * largest) if largest > LEAST_SHARE else 1.0


def _weights(moments: Tensor, num_attributes: int) -> Tensor:
    """Return the coefficients of a ridge regression, (P, A), from the second moments of (1, pixels, attributes)."""
    count, mean = moments[0, 0], moments[0, 1:] / moments[0, 0]
    covariance = moments[1:, 1:] - count * mean[:, None] * mean
    num_pixels = len(covariance) - num_attributes
    of_pixels, cross = covariance[:num_pixels].split([num_pixels, num_attributes], dim=1)
    # The fewer images, the stronger the ridge: with as many images as pixels, about the mean variance of a pixel.
    ridge = of_pixels.diagonal().mean().clamp(min=1e-9) * (RIDGE + num_pixels / count)
    return torch.linalg.solve(of_pixels + ridge * torch.eye(num_pixels, dtype=moments.dtype), cross).float()


def _pixels(images: Tensor) -> Tensor:
    """Return uint8 images, (B, C, H, W), reduced and flattened for the regression: floats from 0 to 1, (B, P)."""
    height, width = (min(SIDE, size) for size in images.shape[2:])
    return functional.adaptive_avg_pool2d(images.cpu().float() / 255, (height, width)).flatten(1)
