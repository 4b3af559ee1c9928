"""Interpolation between images by mixing their whitened latents level by level."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from glow_app.conditioning import Given
from glow_app.messages import pluralise
from glow_app.models.image_model import ImageModel
from glow_app.nn.precision import widen
from glow_app.nn.shape_checks import require_at_least
from glow_app.pictures.image_batch import Images
from glow_app.pictures.inputs import Pictures
from glow_app.pipeline.inference import read_known
from glow_app.pipeline.reconstruction import low_bits, with_low_bits


@torch.no_grad()
def blend(
    model: ImageModel,
    images: Pictures,
    weights: Tensor,
    given: Given = None,
    *,
    spherical: bool = False,
    batch_size: int = 16,
    size: tuple[int, int] | None = None,
) -> Images:
    r"""Interpolate between two images, or in the square between four, with a weight per level.

    .. math:: z_l = p(f(x_0)_l, f(x_1)_l; t_l), \qquad
              p(a, b; t) = (1 - t)\, a + t\, b
              \quad\text{or}\quad
              \frac{\sin (1 - t) \omega}{\sin \omega} a + \frac{\sin t \omega}{\sin \omega} b

    with :math:`\omega` the angle between :math:`a` and :math:`b`: linear or spherical interpolation; the latter
    preserves norms. Four images are the corners of a square, row by row: a frame is interpolated across, between the
    upper and between the lower two, and then down. A frame whose weights are all 0, or all 1, equals its input image in
    every pixel: the low bits that a model of fewer than 8 bits ignores are blended by the finest level's weights.

    Args:
        images: (2, C, H, W) or (4, C, H, W), uint8, or other pictures; see
            :func:`~glow_app.pictures.inputs.as_images`.
        weights: (F, L) for two images: the weight t of the second for each frame and level, finest first. (F, L, 2)
            for four: the weights across and down.
        given: What is known about each image, as for :func:`~glow_app.pipeline.edit`; the contexts are blended with
            the weights of the coarsest level.
        spherical: Whether to interpolate along arcs instead of lines.
        size: As for :func:`~glow_app.pipeline.edit`.
    Shape:
        uint8, (F, C, H, W).
    """
    images, given = read_known(model, images, given)
    num_levels = len(model.flow.latent_shapes)
    if len(images) not in (2, 4):
        raise ValueError(f"got {pluralise(len(images), 'image')} to blend; expected 2 or 4")
    wanted = (len(weights), num_levels) if len(images) == 2 else (len(weights), num_levels, 2)
    if weights.shape != wanted:
        raise ValueError(f"weights are {tuple(weights.shape)}; expected {wanted}, a weight per frame and level")
    ends = _encoded(model, images, given, size)
    return Images(_blended(model, *ends, weights, spherical, batch_size))


@torch.no_grad()
def interpolate(
    model: ImageModel,
    images: Pictures,
    num_frames: int = 9,
    given: Given = None,
    *,
    spherical: bool = False,
    size: tuple[int, int] | None = None,
) -> Images:
    """Interpolate from the first image through all others to the last; see :func:`blend`.

    Args:
        images: (K, C, H, W), uint8, or other pictures, at least two; each is also a frame.
        num_frames: Frames from each image to the next, both included, at least 2.
        given, spherical, size: As for :func:`blend`.
    Shape:
        uint8, ((K - 1) * (num_frames - 1) + 1, C, H, W).
    """
    images, given = read_known(model, images, given)
    require_at_least(2, num_frames=num_frames, images=len(images))
    weights = torch.linspace(0, 1, num_frames)[:, None].expand(-1, len(model.flow.latent_shapes))
    (latents, contexts, unseen), parts = _encoded(model, images, given, size), list[Tensor]()
    for start in range(len(images) - 1):
        pair = slice(start, start + 2)
        of_pair = [level[pair] for level in latents], None if contexts is None else contexts[pair], unseen[pair]
        frames = _blended(model, *of_pair, weights, spherical)
        parts.append(frames[1:] if start else frames)
    return Images(torch.cat(parts))


def mix_levels(model: ImageModel, images: Pictures, given: Given = None) -> Images:
    """Replace levels of the first image by those of the second, one more per frame: first its texture, then its form.

    Frame i of the L + 1 has the i finest levels of the second image; arguments are as for :func:`blend`.
    """
    num_levels = len(model.flow.latent_shapes)
    return blend(model, images, torch.ones(num_levels + 1, num_levels).tril(-1), given)


def _encoded(
    model: ImageModel, images: Tensor, given: Tensor | None, size: tuple[int, int] | None
) -> tuple[Sequence[Tensor], Tensor | None, Tensor]:
    """Return whitened latents per level, contexts, and the low bits that the model ignores."""
    latents, contexts = model.flow.coarsest(model.encode(images, given), size), model.context(given, len(images))
    if not isinstance(contexts, Tensor | None):
        raise ValueError("this model's context is a feature map per level, which cannot be blended; expected a vector")
    return latents, contexts, low_bits(model, images).float()


def _blended(
    model: ImageModel,
    latents: Sequence[Tensor],
    contexts: Tensor | None,
    unseen: Tensor,
    weights: Tensor,
    spherical: bool,
    batch_size: int = 16,
) -> Tensor:
    """Return the frames between two or four images, of what :func:`_encoded` returns."""
    path, frames = along_arc if spherical else along_line, []
    for part in weights[:, -len(latents) :].to(model.device, model.dtype).split(batch_size):
        between = [_between(path, level, part[:, number]) for number, level in enumerate(latents)]
        context = None if contexts is None else _between(along_line, contexts, part[:, -1])
        beside = _between(along_line, unseen, part[:, 0].cpu().float()).round().short()
        frames.append(with_low_bits(model.decode_with(between, context), beside))
    return torch.cat(frames)


def _between(path: Callable[[Tensor, Tensor], Tensor], ends: Tensor, weights: Tensor) -> Tensor:
    """Interpolate between two tensors, (2, ...), with weights (F,), or four, (4, ...), with weights (F, 2)."""
    if len(ends) == 2:
        return path(ends, weights)
    across, down = weights.unbind(1)
    sides = torch.stack([path(ends[:2], across), path(ends[2:], across)], dim=1)
    return torch.cat([path(pair, weight) for pair, weight in zip(sides, down.split(1), strict=True)])


def along_line(ends: Tensor, weights: Tensor) -> Tensor:
    """Interpolate linearly between two tensors, (2, ...), with weights (F,) of the second."""
    t = weights.reshape(-1, *[1] * (ends.ndim - 1))
    # Unlike torch.lerp, this returns the end points exactly, to the last bit.
    return (1 - t) * ends[:1] + t * ends[1:]


def along_arc(ends: Tensor, weights: Tensor) -> Tensor:
    """Interpolate along the arc between two latents, or along the line if they are parallel or opposite."""
    first, second = widen(ends).flatten(1)
    cosine = torch.dot(first, second) / (first.norm() * second.norm()).clamp(min=torch.finfo(first.dtype).tiny)
    angle = torch.arccos(cosine.clamp(-1, 1)).to(ends.dtype)
    if not 1e-3 < angle < torch.pi - 1e-3:  # the arc is not unique
        return along_line(ends, weights)
    t = weights.reshape(-1, *[1] * (ends.ndim - 1))
    sine = torch.sin(angle)
    return torch.sin((1 - t) * angle) / sine * ends[:1] + torch.sin(t * angle) / sine * ends[1:]
