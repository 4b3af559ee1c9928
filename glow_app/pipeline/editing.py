"""Edits of attributes: along directions in the whitened latents, or in the context of a model trained with them."""

import warnings
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from glow_app.conditioning import AttributeConditioning, Given
from glow_app.messages import pluralise
from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images
from glow_app.pictures.inputs import Pictures
from glow_app.pipeline.directions import Direction
from glow_app.pipeline.inference import infer, read, read_known
from glow_app.pipeline.reconstruction import low_bits, with_low_bits

ACTS = 0.15  # share of the largest change of a picture below which an attribute does not act at a place
FEW = 20  # below this number of images, other differences do not average out


@torch.no_grad()
def learn_directions(
    model: ImageModel, batches: Iterable[tuple[Tensor, Tensor, Tensor | None]], names: Sequence[str]
) -> dict[str, Direction]:
    r"""Learn a direction for each attribute by linear regression of the latents on all attributes.

    .. math:: \min_{d_0, \ldots, d_A} \sum_i \left\| z_i - d_0 - \sum_a y_{ia} d_a \right\|^2

    For a single binary attribute this is the difference of the two means, as in the Glow paper; with several, effects
    that attributes share are not counted twice. Memory does not grow with the number of images.

    Args:
        batches: Images, uint8 (B, C, H, W); their attributes, (B, A), 0 and 1 or real; and what is given, or None.
        names: Names of the A attributes.
    Raises:
        ValueError: If the attributes have another shape, or one is not finite, the same in all images, or a linear
            combination of others.
    Warns:
        UserWarning: If few images have an attribute, or few do not.
    References:
        Glow, arXiv:1807.03039, section 6 (semantic manipulation).
    """
    size = len(names) + 1
    moments = torch.zeros(size, size, dtype=torch.float64)
    products: list[Tensor] = []
    for images, attributes, given in batches:
        if attributes.shape != (len(images), len(names)) or not attributes.isfinite().all():
            raise ValueError(
                f"attributes are {tuple(attributes.shape)}; expected finite values ({len(images)}, {len(names)})"
            )
        attributes = attributes.float()
        design = _design(attributes)
        moments += design.T @ design
        parts = [design.T @ level.flatten(1).cpu().double() for level in model.encode(images, given)]
        products = [total + part for total, part in zip(products, parts, strict=True)] if products else parts
    _check_moments(moments, names)
    solved = [torch.linalg.solve(moments, product) for product in products]
    shapes = model.flow.latent_shapes
    directions = {}
    for number, name in enumerate(names, 1):
        levels = [level[number].reshape(shape).float() for level, shape in zip(solved, shapes, strict=True)]
        directions[name] = Direction(levels, int(moments[0, 0]), number - 1)
        _warn_if_useless(name, directions[name], moments[number, 0], moments[number, number])
    return directions


def check_attributes(values: Tensor, names: Sequence[str]) -> None:
    """Check attributes, (N, A), as :func:`learn_directions` does, before any image is read."""
    design = _design(values)
    _check_moments(design.T @ design, names)


def _design(attributes: Tensor) -> Tensor:
    return torch.cat([torch.ones(len(attributes), 1), attributes], dim=1).double()


def _check_moments(moments: Tensor, names: Sequence[str]) -> None:
    num_images = int(moments[0, 0])
    for number, name in enumerate(names, 1):
        mean = moments[0, number] / num_images
        if moments[number, number] / num_images - mean**2 < 1e-9:
            everywhere = f"in all {pluralise(num_images, 'image')}"
            raise ValueError(f"attribute {name} is the same {everywhere}; include some with it and some without")
    if torch.linalg.matrix_rank(moments, hermitian=True) < len(moments):
        raise ValueError(f"the attributes {', '.join(names)} are linearly dependent; leave one out")


def _warn_if_useless(name: str, direction: Direction, total: Tensor, total_square: Tensor) -> None:
    """Warn of an unreliable direction; the totals of its attribute and of the squares are the same if it is 0 or 1."""
    count = direction.num_images
    counts, fewest = pluralise(count, "image"), count
    if total == total_square:
        counts = f"{pluralise(int(total), 'image')} with it and {count - int(total)} without"
        fewest = min(int(total), count - int(total))
    if fewest < FEW:
        problem = f"is learnt from {counts}: too few to separate it from other traits; use 100"
        warnings.warn(f"direction {name} {problem}", stacklevel=3)


@torch.no_grad()
def edit(
    model: ImageModel,
    images: Pictures,
    strengths: Sequence[tuple[Direction, float | Sequence[float]]],
    given: Given = None,
    *,
    size: tuple[int, int] | None = None,
) -> Images:
    r"""Edit images by moving their latents along directions.

    .. math:: x' = f^{-1}\left(f(x) + \sum_k s_k d_k\right)

    Strengths of 0 change no pixel: the low bits that a model of fewer than 8 bits ignores are restored.

    Args:
        images: uint8, (B, C, H, W), or other pictures; see :func:`~glow_app.pictures.inputs.as_images`.
        strengths: Directions, each with a strength, where 1 is the mean difference between images with and without the
            attribute, or with as many strengths as there are images or copies of one.
        given: What is known about the images, such as their classes; by default as for :meth:`LoadedModel.encode
            <glow_app.pipeline.loaded_model.LoadedModel.encode>`.
        size: Height and width of the result: those of the model, or of coarser levels of a wavelet flow, which take
            less time.
    """
    images, given = read_known(model, images, given)
    latents = model.encode(images, given)
    for direction, strength in strengths:
        factors = torch.tensor(strength).view(-1, 1, 1, 1)
        latents = [z + factors.to(z) * d.to(z) for z, d in zip(latents, direction.levels, strict=True)]
    if given is not None and len(images) == 1:
        given = given.expand(len(latents[0]), *given.shape[1:])
    return Images(with_low_bits(model.decode(model.flow.coarsest(latents, size), given), low_bits(model, images)))


@torch.no_grad()
def edit_attributes(
    model: ImageModel,
    images: Pictures,
    changes: Given,
    given: Given = None,
    strength: float | Sequence[float] = 1.0,
    *,
    size: tuple[int, int] | None = None,
) -> Images:
    r"""Change attributes of images by a model that was trained with attributes.

    .. math:: x' = f^{-1}(f(x; e(a)); e(a) + s\, d)

    where d is the :func:`context_change` of the attributes :math:`a`. The picture changes only where they act, see
    :func:`place_of_change`. There, a strength of 1 or more has the latents multiplied by the recommended temperatures,
    which are those of new content. If the strength is 0, or the picture has these values, no pixel changes.

    Args:
        images, size: As for :func:`edit`.
        changes: Attributes to change, such as ``{"smiling": 1, "hat": 0}``.
        given: Known attributes; the others are inferred, see :func:`~glow_app.pipeline.infer`.
        strength: The factor s. Several are for as many images, or for copies of one.
    Raises:
        ValueError: If the model has no such attributes.
    """
    images, changed = read(model, images, changes)
    given = infer(model, images, given)
    factors = torch.tensor(strength).view(-1, 1)
    conditioning = model.conditioning
    if changed is None or given is None or not isinstance(conditioning, AttributeConditioning):
        raise ValueError("there is nothing to change; expected attributes to change, and a model that has them")
    before = model.context(given, len(images))
    assert isinstance(before, Tensor)
    given, changed = given.to(conditioning.mean), changed.to(conditioning.mean)
    changed = changed.where(~changed.isnan(), given)
    change = factors.to(before) * context_change(conditioning, given, changed)
    latents = model.encode(images, given)  # kept by the server for the next change
    if size is None and not change.any():
        return Images(images.cpu().expand(len(change), -1, -1, -1))
    # That of the largest change, so that a slider's moves have the same, which the server keeps.
    place = place_of_change(model, latents, given, conditioning.farthest(given, changed))
    new = place * factors.abs().clamp(max=1).to(place)[:, :, None, None]
    temperatures = model.generation.temperatures(len(latents))
    coarse = model.flow.coarsest(latents, size)
    latents = [
        level * (1 - (1 - temperature) * F.interpolate(new, level.shape[2:], mode="area"))
        for level, temperature in zip(coarse, temperatures[-len(coarse) :], strict=True)
    ]
    edited = with_low_bits(model.decode_with(latents, before, change), low_bits(model, images)).float()
    original = F.interpolate(images.float().cpu(), edited.shape[2:], mode="area")
    place = F.interpolate(place.cpu(), edited.shape[2:], mode="bilinear")
    return Images((original + place * (edited - original)).round().byte())


def place_of_change(model: ImageModel, latents: Sequence[Tensor], given: Tensor, changed: Tensor) -> Tensor:
    """Return where changed attributes act in images, from 0 to 1, (B, 1, H, W); H and W may be a quarter of the sides.

    A calmer version of each image, with 0.7 times its latents, is decoded with and without each change. The attribute
    acts where this changes more than :data:`ACTS` of its largest change, and fully from twice as much on.

    Args:
        latents: Those of the images, given ``given``.
        given, changed: As for :func:`context_change`.
    """
    numbers = (changed != given).any(0).nonzero()[:, 0].tolist()
    versions = given.repeat(1 + len(numbers), 1, 1)
    for version, number in zip(versions[1:], numbers, strict=True):
        version[:, number] = changed[:, number]
    coarse = model.flow.coarsest(latents, model.flow.sizes[:3][-1])
    calm = [0.7 * level.repeat(len(versions), 1, 1, 1) for level in coarse]
    pictures = model.decode_values(calm, model.context(versions.flatten(0, 1), versions.shape[:2].numel()))
    before, *after = pictures.chunk(len(versions))
    place = torch.zeros_like(before[:, :1])
    for picture in after:
        moved = (picture - before).abs().amax(1, keepdim=True)
        moved = F.avg_pool2d(moved, 5, 1, 2, count_include_pad=False)
        share = F.max_pool2d(moved, 3, 1, 1) / moved.amax((2, 3), keepdim=True).clamp(min=1e-9)
        place = place.maximum((share / ACTS - 1).clamp(0, 1))
    return place


def context_change(conditioning: AttributeConditioning, given: Tensor, changed: Tensor) -> Tensor:
    r"""Return the change of the context by other values, one attribute after another, (B, E).

    .. math:: \sum_k r_k\, (e(a_k) - e(a_{k-1}))

    where :math:`a_k` has the first k of the changed values, and :math:`r_k` is one of the usual strengths of the
    conditioning.

    Args:
        given: Values, (B, A).
        changed: The values afterwards, (B, A).
    """
    before = conditioning(given)
    change = torch.zeros_like(before)
    for place in (changed != given).any(0).nonzero()[:, 0].tolist():
        (rise, fall), value, given = conditioning.strengths[:, place], given[:, place], given.clone()
        given[:, place] = changed[:, place]
        after = conditioning(given)
        change = change + torch.where(given[:, place] > value, rise, fall)[:, None] * (after - before)
        before = after
    return change
