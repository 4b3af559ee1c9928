"""Flows with constant weights: quantities that depend on the weights alone are precomputed."""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from glow_app.bijections import PixelwiseAffine, full_precision
from glow_app.nn import ActNormConv2d, MaskedLinear, ZeroConv2d

M = TypeVar("M", bound=nn.Module)
# Most images that a CPU decodes at a time, and most values of a hidden layer. Smaller batches cost more per image; in
# larger ones the activations do not stay in the caches, and their memory is returned to the system.
CPU_IMAGES, CPU_HIDDEN = 64, 2**22


@torch.no_grad()
def fold(module: M) -> M:
    """Return a copy whose matrices, inverse matrices and scaled weights are constants.

    A :class:`PixelwiseAffine <glow_app.bijections.PixelwiseAffine>` becomes a :class:`FoldedAffine`; the normalised
    convolutions of conditioners become ``nn.Conv2d``. Results equal those of ``module`` to the last bit.
    ``torch.export`` traces the copy as one graph.
    """
    folded = copy.deepcopy(module)
    _fold_children(folded)
    return folded.eval().requires_grad_(False)


class FoldedAffine(PixelwiseAffine):
    """A pixelwise map with precomputed matrix and inverse.

    Args:
        bijection: The map to copy; later changes to it have no effect.
    Shape:
        x, z: (B, C, H, W); log_det: (B,), nats.
    """

    matrix: Tensor
    offset: Tensor
    log_abs_det: Tensor
    inverse_matrix: Tensor
    inverse_offset: Tensor

    @torch.no_grad()
    def __init__(self, bijection: PixelwiseAffine) -> None:
        super().__init__(bijection.num_channels)
        with full_precision(next(iter(bijection.state_dict().values())).device):
            constants = (*bijection.affine(), *bijection.inverse_affine()[:2])
        names = ("matrix", "offset", "log_abs_det", "inverse_matrix", "inverse_offset")
        for name, value in zip(names, constants, strict=True):
            self.register_buffer(name, value.clone())

    def affine(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the constants."""
        return self.matrix, self.offset, self.log_abs_det

    def inverse_affine(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the constants of the inverse."""
        return self.inverse_matrix, self.inverse_offset, -self.log_abs_det


def _fold_children(module: nn.Module) -> None:
    for name, part in module.named_children():
        if isinstance(part, PixelwiseAffine):
            setattr(module, name, FoldedAffine(part))
        elif isinstance(part, (ActNormConv2d, ZeroConv2d)):
            weight, bias = part.weight_and_bias()
            out_channels, in_channels, size, _ = weight.shape
            convolution = nn.Conv2d(in_channels, out_channels, size, padding=size // 2, device="meta")
            convolution.weight, convolution.bias = nn.Parameter(weight), nn.Parameter(bias)
            setattr(module, name, convolution)
        elif isinstance(part, MaskedLinear):
            part.masked_weight()  # which keeps the mask
        else:
            _fold_children(part)


def images_at_a_time(hidden_channels: int, image_shape: tuple[int, int, int]) -> int:
    """Return how many images a CPU decodes at a time, given the width of the conditioners."""
    _, height, width = image_shape
    return max(1, min(CPU_IMAGES, CPU_HIDDEN // (hidden_channels * (height // 2) * (width // 2))))
