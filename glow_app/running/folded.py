"""Flows with constant weights: quantities that depend on the weights alone are precomputed."""

import copy
from collections.abc import Sequence
from typing import Any, TypeGuard, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glow_app.bijections import AffineCoupling, Chain, PixelwiseAffine, full_precision
from glow_app.bijections.coupling import bounded
from glow_app.bijections.pixelwise import mix
from glow_app.flows import Glow, WaveletFlow
from glow_app.nn import ActNormConv2d, ConvConditioner, MaskedLinear, ZeroConv2d
from glow_app.nn.context import Context, rows_of

M = TypeVar("M", bound=nn.Module)
# Most images that a CPU decodes at a time, and most values of a hidden layer. Smaller batches cost more per image; in
# larger ones the activations do not stay in the caches, and their memory is returned to the system.
CPU_IMAGES, CPU_HIDDEN = 64, 2**22


@torch.no_grad()
def fold(module: M) -> M:
    """Return a copy whose matrices, inverse matrices and scaled weights are constants.

    A :class:`PixelwiseAffine <glow_app.bijections.PixelwiseAffine>` becomes a :class:`FoldedAffine`; the normalised
    convolutions of conditioners become ``nn.Conv2d``; a step of Glow becomes a :class:`FoldedStep`. Results equal those
    of ``module`` to the last bit. ``torch.export`` traces the copy as one graph.
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


class FoldedStep(Chain):
    """A step of Glow with constant weights, which encodes and decodes without log-determinants in few operations.

    For a few small images, what happens between the convolutions takes longer than the convolutions. Results equal
    those of the chain to the last bit, except under autocast, which must be off to encode and decode.

    Args:
        step: A folded matrix, then an affine coupling with the paper's conditioner, of which the convolutions are
            folded.
    Shape:
        As :class:`~glow_app.bijections.AffineCoupling`.
    """

    def __init__(self, step: Chain) -> None:
        mixing, coupling = step.bijections
        assert isinstance(mixing, FoldedAffine)
        assert isinstance(coupling, AffineCoupling)
        super().__init__(mixing, coupling)
        network: Any = coupling.conditioner
        layers = network.first, network.second, network.last
        # Found here once: modules find their parts by name, which takes as long as a small convolution.
        self._step = mixing, coupling, network, [part for each in layers for part in (each.weight, each.bias)]

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the latent of ``x``."""
        mixing, coupling, *_ = self._step
        y_a, y_b = coupling.halves(mix(x, mixing.matrix, mixing.offset))
        shift, scale_minus_one = self._transform_of(y_a, context)
        return torch.cat([y_a, (y_b + shift) * (1.0 + scale_minus_one)], dim=1)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the data of ``z``."""
        mixing, coupling, *_ = self._step
        z_a, z_b = coupling.halves(z)
        shift, scale_minus_one = self._transform_of(z_a, context)
        y = torch.cat([z_a, z_b / (1.0 + scale_minus_one) - shift], dim=1)
        return mix(y, mixing.inverse_matrix, mixing.inverse_offset)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return ``forward(x, context)``; there is nothing to initialise."""
        return self(x, context)

    def _transform_of(self, y_a: Tensor, context: Tensor | None) -> tuple[Tensor, ...]:
        _, coupling, network, convolutions = self._step
        w1, b1, w2, b2, w3, b3 = convolutions
        h = F.conv2d(bounded(y_a, coupling.max_input), w1, b1, padding=1)
        shift = network.context_shift(context)
        if shift is not None:
            h += shift
        h = F.conv2d(h.relu_(), w2, b2).relu_()
        return coupling.interpret(F.conv2d(h, w3, b3, padding=1).contiguous())


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
            if _is_step(part):
                setattr(module, name, FoldedStep(part))


def _is_step(part: nn.Module) -> TypeGuard[Chain]:
    """Return whether a module, of which the children are folded, can become a :class:`FoldedStep`."""
    if type(part) is not Chain or [type(each) for each in part.bijections] != [FoldedAffine, AffineCoupling]:
        return False  # also subclasses, which may compute something else
    return type(part.bijections[1].conditioner) is ConvConditioner


def decode_in_parts(flow: Glow | WaveletFlow, latents: Sequence[Tensor], context: Context) -> Tensor:
    """Return the images of latents; on a CPU, they are decoded a few at a time."""
    num = size = len(latents[0])
    if latents[0].device.type == "cpu":
        hidden = flow.hidden_channels * latents[0].shape[2:].numel()
        size = max(1, min(CPU_IMAGES, CPU_HIDDEN // hidden))
    parts = [slice(start, start + size) for start in range(0, num, size)]
    return torch.cat([flow.decode([level[rows] for level in latents], rows_of(context, rows)) for rows in parts])
