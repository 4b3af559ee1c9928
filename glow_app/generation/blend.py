"""Between images: mixtures of their whitened latents, level by level."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from glow_app.generation.low_bits import low_bits, with_low_bits
from glow_app.model import ImageModel
from glow_app.usage import counted

__all__ = ["along_arc", "blend", "interpolate", "mix_levels"]


@torch.no_grad()
def blend(
    model: ImageModel,
    images: Tensor,
    weights: Tensor,
    labels: Tensor | None = None,
    *,
    spherical: bool = False,
    batch_size: int = 16,
) -> Tensor:
    r"""Return images between two, by how much of the second each level has.

    .. math:: z_l = (1 - t_l)\, f(x_0)_l + t_l\, f(x_1)_l
              \quad\text{or}\quad
              \frac{\sin (1 - t_l) \omega_l}{\sin \omega_l} f(x_0)_l + \frac{\sin t_l \omega_l}{\sin \omega_l} f(x_1)_l

    with :math:`\omega_l` the angle between the two latents of a level: the straight line, or the arc on which norms,
    and so the typical set, are kept. A frame whose weights are all 0 or all 1 is the image itself, in every pixel: what
    a model of fewer than 8 bits does not see of it is blended beside it, by the weights of the finest level.

    Args:
        model: The model.
        images: (2, C, H, W), uint8.
        weights: (F, L), the weight t of the second image for each frame and level, the finest first.
        labels: (2,), for a class-conditional model; their embeddings are blended by the weights of the coarsest level.
        spherical: Along the arc, and not the line.
        batch_size: Frames at a time.
    Shape:
        uint8, (F, C, H, W).
    Raises:
        ValueError: If there are not two images, or not a weight for each level.
    """
    num_levels = len(model.flow.latent_shapes)
    if len(images) != 2:
        raise ValueError(f"got {counted(len(images), 'image')} to blend; expected 2")
    if weights.ndim != 2 or weights.shape[1] != num_levels:
        raise ValueError(f"weights are {tuple(weights.shape)}; expected (frames, {num_levels}), one for each level")
    path = along_arc if spherical else along_line
    weights = weights.to(model.device, model.dtype)
    latents = model.encode(images, labels)
    embedded = None if labels is None else model.flow.embed(labels.to(model.device))
    unseen = low_bits(model, images).float()
    frames = []
    for part in weights.split(batch_size):
        between = [path(level, part[:, number]) for number, level in enumerate(latents)]
        context = None if embedded is None else along_line(embedded, part[:, -1])
        beside = along_line(unseen, part[:, 0].cpu().float()).round().short()
        frames.append(with_low_bits(model.decode(between, context=context), beside))
    return torch.cat(frames)


def interpolate(
    model: ImageModel,
    images: Tensor,
    num_frames: int = 9,
    labels: Tensor | None = None,
    *,
    spherical: bool = True,
    batch_size: int = 16,
) -> Tensor:
    """Return frames from the first image by way of all others to the last; see :func:`blend`.

    Args:
        model: The model.
        images: (K, C, H, W), uint8, at least two; each is a frame itself.
        num_frames: From each to the next, both included, at least 2.
        labels: (K,), for a class-conditional model.
        spherical: Along arcs, which keep the norm of the latents; False for lines.
        batch_size: Frames at a time.
    Shape:
        uint8, ((K - 1) * (num_frames - 1) + 1, C, H, W).
    Raises:
        ValueError: If there are too few images or frames.
    """
    if num_frames < 2:
        raise ValueError(f"num_frames is {num_frames}; expected at least 2, the two images themselves")
    if len(images) < 2:
        raise ValueError(f"got {counted(len(images), 'image')} to interpolate; expected at least 2")
    weights = torch.linspace(0, 1, num_frames)[:, None].expand(-1, len(model.flow.latent_shapes))
    parts: list[Tensor] = []
    for pair in pairwise(range(len(images))):
        chosen = None if labels is None else labels[list(pair)]
        frames = blend(model, images[list(pair)], weights, chosen, spherical=spherical, batch_size=batch_size)
        parts.append(frames if not parts else frames[1:])
    return torch.cat(parts)


def mix_levels(
    model: ImageModel, images: Tensor, labels: Tensor | None = None, levels: Sequence[int] | None = None
) -> Tensor:
    """Return the first image with more and more levels of the second, from the finest on: its texture, then its form.

    Args:
        model: The model.
        images: (2, C, H, W), uint8: whose structure, and whose texture.
        labels: (2,), for a class-conditional model.
        levels: How many of the finest levels are the second's, a frame each; from none to all when omitted.
    Shape:
        uint8, (L + 1, C, H, W), or one image for each of ``levels``.
    Raises:
        ValueError: If there are not two images, or not so many levels.
    """
    num_levels = len(model.flow.latent_shapes)
    numbers = list(range(num_levels + 1)) if levels is None else list(levels)
    if any(not 0 <= number <= num_levels for number in numbers):
        raise ValueError(f"levels are {numbers}; expected from 0 to {num_levels}")
    weights = torch.tensor([[float(level < number) for level in range(num_levels)] for number in numbers])
    return blend(model, images, weights, labels)


def along_line(ends: Tensor, weights: Tensor) -> Tensor:
    """Return points on the line between two tensors, (F, ...).

    Args:
        ends: (2, ...).
        weights: (F,), how far from the first to the second.
    """
    t = weights.reshape(-1, *(1 for _ in ends.shape[1:]))
    # Not torch.lerp: at the ends this form gives the end point itself, to the last bit.
    return (1 - t) * ends[:1] + t * ends[1:]


def along_arc(ends: Tensor, weights: Tensor) -> Tensor:
    """Return points on the arc between two latents, (F, C, H, W); on the line where there is no one arc.

    Args:
        ends: (2, C, H, W).
        weights: (F,), how far from the first to the second.
    """
    first, second = ends.double().flatten(1)
    cosine = torch.dot(first, second) / (first.norm() * second.norm()).clamp(min=torch.finfo(torch.float64).tiny)
    angle = torch.arccos(cosine.clamp(-1, 1)).to(ends.dtype)
    if not 1e-3 < angle < torch.pi - 1e-3:  # in one direction, or in opposite ones, between which there is no one arc
        return along_line(ends, weights)
    t = weights.reshape(-1, *(1 for _ in ends.shape[1:]))
    sine = torch.sin(angle)
    return torch.sin((1 - t) * angle) / sine * ends[:1] + torch.sin(t * angle) / sine * ends[1:]
