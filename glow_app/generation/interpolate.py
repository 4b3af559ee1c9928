"""Interpolation in the whitened latents."""

import torch
from torch import Tensor

from glow_app.model import ImageModel

__all__ = ["interpolate"]


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
        labels: (2,), the classes of the two, for a class-conditional model; the class changes in the middle.

    Raises:
        ValueError: If ``num_frames`` is below 2.
    """
    if num_frames < 2:
        raise ValueError(f"num_frames is {num_frames}; expected at least 2, the two images themselves")
    latents = model.encode(torch.stack([first, second]), labels)
    steps = torch.linspace(0, 1, num_frames, dtype=model.dtype, device=model.device)
    # Not torch.lerp: at the ends this form gives the end point itself, to the last bit.
    path = [(1 - t) * level[:1] + t * level[1:] for level in latents for t in (steps[:, None, None, None],)]
    frame_labels = None if labels is None else labels[(steps.cpu() > 0.5).long()]
    return model.decode(path, frame_labels)
