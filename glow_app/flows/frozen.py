"""A step of Glow whose weights change no more: all that follows from them is worked out once."""

from typing import NamedTuple

import torch
from torch import Tensor

from glow_app.bijections import full_precision
from glow_app.bijections.pixelwise import mix
from glow_app.bijections.precision import conditioner_dtype
from glow_app.bijections.solve_context import log_det_wanted
from glow_app.flows.fused import condition, shift_and_less
from glow_app.flows.weights import StepParts
from glow_app.nn import ConvConditioner

__all__ = ["FrozenStep"]


class FrozenStep(NamedTuple):
    """What a step computes with, in both directions, and how; see :func:`~glow_app.flows.fused.step_pass`.

    The results are those of the bijections to the last bit.

    Args:
        matrix: Of actnorm and 1x1 convolution together, (C, C).
        offset: Likewise, (C,).
        log_abs_det: Likewise, a scalar, nats a pixel.
        inverse_matrix: Of the way back.
        inverse_offset: Likewise.
        convolutions: Weight and bias of each of the conditioner's.
        conditioner: For what the context adds.
        min_scale: The coupling's bound.
    """

    matrix: Tensor
    offset: Tensor
    log_abs_det: Tensor
    inverse_matrix: Tensor
    inverse_offset: Tensor
    convolutions: list[Tensor]
    conditioner: ConvConditioner
    min_scale: float

    @classmethod
    @torch.no_grad()
    def of(cls, parts: StepParts) -> "FrozenStep":
        """Return a step with its weights as they are now."""
        with full_precision(parts.mixing.lower.device):
            conditioner = parts.conditioner
            layers = (conditioner.first, conditioner.second, conditioner.last)
            convolutions = [tensor.detach() for layer in layers for tensor in layer.weight_and_bias()]
            inverse = parts.chain.inverse_affine()[:2]
            return cls(*parts.chain.affine(), *inverse, convolutions, conditioner, parts.coupling.min_scale)

    def forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return z and the log-determinant, (B,)."""
        with full_precision(x.device):
            z = mix(x, self.matrix, self.offset)
        y_a, y_b = z.chunk(2, dim=1)
        t, less = self._shift_and_less(y_a, context)
        y_b.add_(t).mul_(less + 1.0)
        num_pixels = x.shape[2:].numel()
        return z, num_pixels * self.log_abs_det + _log_det(less)

    def inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return x and the log-determinant of this direction, (B,)."""
        y = z.clone(memory_format=torch.contiguous_format)
        y_a, y_b = y.chunk(2, dim=1)
        t, less = self._shift_and_less(y_a, context)
        y_b.div_(less + 1.0).sub_(t)
        with full_precision(z.device):
            x = mix(y, self.inverse_matrix, self.inverse_offset)
        num_pixels = z.shape[2:].numel()
        return x, -num_pixels * self.log_abs_det - _log_det(less)

    def _shift_and_less(self, y_a: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        dtype = conditioner_dtype(y_a)
        convolutions = [tensor.to(dtype) for tensor in self.convolutions]  # no copies, if they are of it
        return shift_and_less(condition(y_a, convolutions, self.conditioner.context_shift(context))[-1], self.min_scale)


def _log_det(less: Tensor) -> Tensor:
    return less.log1p().flatten(1).sum(1) if log_det_wanted() else less.new_zeros(len(less))
