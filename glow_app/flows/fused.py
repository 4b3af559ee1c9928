"""The training pass of Glow's steps as few large operations, and one node of the graph a step.

At the widths that a CPU trains, the many small operations around the convolutions, each a node of the graph with a
backward pass of its own, take longer than the convolutions. What is here does the same arithmetic:
:func:`~glow_app.flows.weights.step_weights` works out the weights of all steps of a level at once, :func:`step_pass` is
what one step does to images.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from glow_app.bijections import full_precision
from glow_app.bijections.pixelwise import mix
from glow_app.flows.weights import StepWeights

__all__ = ["condition", "shift_and_less", "step_pass"]


def step_pass(x: Tensor, weights: StepWeights, min_scale: float) -> tuple[Tensor, Tensor]:
    r"""Return what a step makes of images, and the log-determinant of its coupling, (B,).

    .. math:: y = A x + c, \qquad (t, r) = \theta(y_a), \qquad s = \varepsilon + (1 - \varepsilon)\,\sigma(r + 2),
              \qquad z = (y_a,\ (y_b + t) \odot s)

    The conditioner runs in the type of its weights, all else in that of the images. There are no second derivatives.

    Args:
        x: (B, C, H, W).
        weights: Of :func:`~glow_app.flows.weights.step_weights`.
        min_scale: The coupling's bound :math:`\varepsilon`.
    """
    with full_precision(x.device):
        return _StepPass.apply(x, weights.matrix, weights.offset, weights.shift, min_scale, *weights.convolutions)


def condition(y_a: Tensor, convolutions: Sequence[Tensor], shift: Tensor | None) -> tuple[Tensor, ...]:
    """Return what the conditioner makes of the first half, after all that it makes on the way.

    Args:
        y_a: (B, C/2, H, W).
        convolutions: Weight and bias of each, in the type to compute in.
        shift: Of the first one's output, or None.
    Returns:
        Its input in that type, both hidden layers, and its output (B, C, H, W), channel by channel, in the type of the
        first half.
    """
    w1, b1, w2, b2, w3, b3 = convolutions
    # Convolutions are up to six times as fast where the channels of a pixel lie side by side.
    narrow_a = y_a.to(w1.dtype, memory_format=torch.channels_last)
    h1 = F.conv2d(narrow_a, w1, b1, padding=1)
    if shift is not None:
        h1 += shift.to(w1.dtype)[:, :, None, None]
    h2 = F.conv2d(h1.relu_(), w2, b2).relu_()
    theta = F.conv2d(h2, w3, b3, padding=1)
    return narrow_a, h1, h2, theta.to(y_a.dtype, memory_format=torch.contiguous_format)


def shift_and_less(theta: Tensor, min_scale: float) -> tuple[Tensor, Tensor]:
    r"""Return the shift, and :math:`s - 1 = -(1 - \varepsilon)\,\sigma(-r - 2)`."""
    t, raw = theta.chunk(2, dim=1)
    return t, torch.rsub(raw, -2.0).sigmoid_().mul_(min_scale - 1.0)


class _StepPass(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        matrix: Tensor,
        offset: Tensor,
        shift: Tensor | None,
        min_scale: float,
        *convolutions: Tensor,
    ) -> tuple[Tensor, Tensor]:
        z = mix(x, matrix, offset)
        y_a, y_b = z.chunk(2, dim=1)
        narrow_a, h1, h2, theta = condition(y_a, convolutions, shift)
        t, less = shift_and_less(theta, min_scale)
        scale = less + 1.0
        y_b.add_(t).mul_(scale)
        ctx.save_for_backward(x, matrix, z, scale, narrow_a, h1, h2, *convolutions[::2])
        ctx.min_scale, ctx.is_shifted = min_scale, shift is not None
        return z, less.log1p_().flatten(1).sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_log_det: Tensor) -> tuple[Any, ...]:
        x, matrix, z, scale, narrow_a, h1, h2, w1, w2, w3 = ctx.saved_tensors
        half, e, wide = scale.shape[1], ctx.min_scale, x.dtype
        # With u = y_b + t: dz/du = s and u dz/ds = z / s, so the gradient of log s is g z + g_log_det, and that of r is
        # that times (s - e)(1 - s) / ((1 - e) s).
        # Nothing is written into memory made here nor laid out anew, or torch.func could not batch this.
        grad_u = grad_z[:, half:] * scale
        of_log_scale = torch.addcmul(grad_log_det[:, None, None, None], grad_z[:, half:], z[:, half:])
        grad_r = of_log_scale * ((1.0 + e) - scale).sub_(e / scale).mul_(1.0 / (1.0 - e))
        grad = torch.cat([grad_u, grad_r], dim=1).to(w3.dtype)
        grad, grad_w3, grad_b3 = _convolution_backward(grad, h2, w3)
        grad, grad_w2, grad_b2 = _convolution_backward(_relu_backward(grad, h2), h1, w2)
        grad = _relu_backward(grad, h1)
        grad_shift = grad.sum((2, 3), dtype=wide) if ctx.is_shifted else None
        grad_a, grad_w1, grad_b1 = _convolution_backward(grad, narrow_a, w1)
        flat = torch.cat([grad_z[:, :half] + grad_a, grad_u], dim=1).view(*x.shape[:2], -1)
        grad_matrix = torch.bmm(flat, x.flatten(2).mT).sum(0)
        grad_x = torch.bmm(matrix.mT.expand(len(x), -1, -1), flat).view(x.shape)
        of_convolutions = (grad_w1, grad_b1, grad_w2, grad_b2, grad_w3, grad_b3)
        return grad_x, grad_matrix, flat.sum((0, 2)), grad_shift, None, *of_convolutions


def _convolution_backward(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of input, weight and bias of a convolution that keeps the size."""
    outputs, padding = weight.shape[0], [weight.shape[-1] // 2] * 2
    return torch.ops.aten.convolution_backward.default(
        grad, x, weight, [outputs], [1, 1], padding, [1, 1], False, [0, 0], 1, [True, True, True]
    )


def _relu_backward(grad: Tensor, y: Tensor) -> Tensor:
    """Return the gradient of a ReLU's input, given its output."""
    return torch.ops.aten.threshold_backward.default(grad, y, 0)
