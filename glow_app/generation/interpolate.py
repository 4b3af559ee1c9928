"""Interpolation in the whitened latents."""

import torch
from torch import Tensor

from glow_app.model import ImageModel

__all__ = ["interpolate"]


@torch.no_grad()
def interpolate(
    model: ImageModel, first: Tensor, second: Tensor, num_frames: int = 9, labels: Tensor | None = None
) -> Tensor:
    r"""Return ``num_frames`` images on the straight line between two images in latent space.

    .. math:: x_t = f^{-1}\left((1 - t) f(x_0) + t f(x_1)\right), \qquad t = 0, \dots, 1

    All latents are whitened, so that a straight line passes through likely images; the end frames are the two images.

    Args:
        model: The model.
        first: (C, H, W), uint8.
        second: (C, H, W), uint8.
        num_frames: At least 2, the ends included.
        labels: (2,), the classes of the two, for a class-conditional model; their embeddings are mixed likewise.

    Raises:
        ValueError: If ``num_frames`` is below 2.
    """
    if num_frames < 2:
        raise ValueError(f"num_frames is {num_frames}; expected at least 2, the two images themselves")
    latents = model.encode(torch.stack([first, second]), labels)
    steps = torch.linspace(0, 1, num_frames, dtype=model.dtype, device=model.device)

    def line(ends: Tensor) -> Tensor:
        t = steps.reshape(-1, *(1 for _ in ends.shape[1:]))
        # Not torch.lerp: at the ends this form gives the end point itself, to the last bit.
        return (1 - t) * ends[:1] + t * ends[1:]

    if labels is None:
        return model.decode([line(level) for level in latents])
    context = model.flow.embed(labels.to(model.device))
    return model.decode([line(level) for level in latents], context=None if context is None else line(context))
