"""Flows with constant weights: quantities that depend on the weights alone are precomputed."""

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from glow_app.bijections import AffineCoupling, Bijection, Chain, PixelwiseAffine, full_precision
from glow_app.bijections.pixelwise import mix
from glow_app.flows import Glow
from glow_app.nn import ActNormConv2d, ConvConditioner, MaskedLinear, ZeroConv2d
from glow_app.nn.precision import conditioner_dtype
from glow_app.running.fused import run_conditioner

M = TypeVar("M", bound=nn.Module)
# Most images that a CPU decodes at a time, and most values of a hidden layer. Smaller batches cost more per image; in
# larger ones the activations do not stay in the caches, and their memory is returned to the system.
CPU_IMAGES, CPU_HIDDEN = 64, 2**21


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


def fold_flow(flow: Glow) -> Glow:
    """Return :func:`fold` of ``flow`` with its affine steps evaluated in place, which is faster for few images."""
    folded = fold(flow)
    for level in folded.levels:
        assert isinstance(level, Chain)
        for index, step in enumerate(level.bijections):
            if isinstance(step, Chain) and [type(part) for part in step.bijections] == [FoldedAffine, AffineCoupling]:
                level.bijections[index] = FoldedStep(*step.bijections)
    return folded


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


class FoldedStep(Bijection):
    """A pixelwise map and an affine coupling, evaluated in place; without gradients.

    Args:
        mixing: Applied first.
        coupling: Applied to its result.
    Shape:
        x, z: (B, C, H, W); context: (B, E), (B, E, H, W) or None; log_det: (B,), nats.
    """

    def __init__(self, mixing: FoldedAffine, coupling: AffineCoupling) -> None:
        super().__init__()
        conditioner = coupling.conditioner
        # Not registered as modules: for one image, look-ups and calls of modules would take a tenth of the time.
        self._affine, self._log_abs_det = (mixing.matrix, mixing.offset), mixing.log_abs_det
        self._inverse_affine = mixing.inverse_matrix, mixing.inverse_offset
        self._parts: tuple[AffineCoupling, ConvConditioner | None] = (coupling, None)
        if type(conditioner) is ConvConditioner:
            layers = conditioner.first, conditioner.second, conditioner.last
            self._parts = (coupling, conditioner)
            self._convolutions: list[Any] = [tensor for layer in layers for tensor in (layer.weight, layer.bias)]

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the map, then the coupling."""
        with full_precision(x.device):
            z = mix(x, *self._affine)
        z_a, z_b = z.chunk(2, dim=1)
        shift, scale_minus_one = self._shift_and_scale_minus_one(z_a, context)
        z_b.add_(shift).mul_(scale_minus_one + 1.0)
        return z, self._log_det(scale_minus_one)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the inverse of the coupling, then that of the map."""
        y = z.clone(memory_format=torch.contiguous_format)
        y_a, y_b = y.chunk(2, dim=1)
        shift, scale_minus_one = self._shift_and_scale_minus_one(y_a, context)
        y_b.div_(scale_minus_one + 1.0).sub_(shift)
        with full_precision(z.device):
            x = mix(y, *self._inverse_affine)
        return x, -self._log_det(scale_minus_one)

    def _shift_and_scale_minus_one(self, x_a: Tensor, context: Tensor | None) -> tuple[Tensor, ...]:
        coupling, conditioner = self._parts
        if conditioner is None:
            return coupling.parameters_of(x_a, context)
        dtype = conditioner_dtype(x_a)
        convolutions = [tensor.to(dtype) for tensor in self._convolutions]  # no copies if they have it already
        output = run_conditioner(x_a, convolutions, conditioner.context_shift(context), coupling.max_input)[-1]
        return coupling.interpret(output)

    def _log_det(self, scale_minus_one: Tensor) -> Tensor:
        """Return the log-determinant of the forward direction, (B,)."""
        height, width = scale_minus_one.shape[2:]
        return height * width * self._log_abs_det + scale_minus_one.log1p().flatten(1).sum(1)


def _fold_children(module: nn.Module) -> None:
    for name, part in module.named_children():
        if isinstance(part, PixelwiseAffine):
            setattr(module, name, FoldedAffine(part))
        elif isinstance(part, (ActNormConv2d, ZeroConv2d)):
            weight, bias = part.weight_and_bias()
            out_channels, in_channels, size, _ = weight.shape
            plain = nn.Conv2d(in_channels, out_channels, size, padding=size // 2, device="meta")
            plain.weight, plain.bias = nn.Parameter(weight), nn.Parameter(bias)
            setattr(module, name, plain)
        elif isinstance(part, MaskedLinear):
            part.masked_weight()  # which keeps the mask
        else:
            _fold_children(part)


def images_at_a_time(hidden_channels: int, image_shape: tuple[int, int, int]) -> int:
    """Return how many images a CPU decodes at a time, given the width of the conditioners."""
    _, height, width = image_shape
    return max(1, min(CPU_IMAGES, CPU_HIDDEN // (hidden_channels * (height // 2) * (width // 2))))
