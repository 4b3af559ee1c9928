"""The fused training pass of a level: few large operations, and one node of the autograd graph per step.

At the widths that are trained on a CPU, the many small operations around the convolutions, each a node of the graph
with its own backward pass, take longer than the convolutions. The arithmetic is the same:
:func:`~glow_app.running.fused_weights.step_weights` computes the weights of all steps of a level at once, and
:func:`step_pass` applies one step to images.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from glow_app.bijections import ActNorm, AffineCoupling, Chain, InvertibleConv1x1, PixelwiseChain, full_precision
from glow_app.bijections.coupling import bounded
from glow_app.bijections.pixelwise import mix
from glow_app.nn import ConvConditioner
from glow_app.nn.shape_checks import require_image
from glow_app.running.first_order import first_order_only
from glow_app.running.fused_weights import StepParts, StepWeights, step_weights


def run_fused(chain: Chain, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """Apply the bijections first to last, with the steps at the end of the chain fused.

    Steps are fused if each is actnorm, 1x1 convolution and affine coupling with the paper's conditioner, all of one
    width; the others run as they are. Hooks of fused bijections are not called.

    Raises:
        ValueError: If the input of the steps has other channels.
    """
    steps = _steps(chain)
    if not steps:
        return Chain.forward(chain, x, context)
    log_det = x.new_zeros(x.shape[0])
    for bijection in chain.bijections[: -len(steps)]:
        x, term = bijection(x, context)
        log_det = log_det + term
    require_image(type(chain).__name__, x, steps[0].norm.num_channels)
    weights = step_weights(steps, x)
    num_pixels = x.shape[2:].numel()
    for step, of_step in zip(steps, weights, strict=True):
        x, term = step_pass(x, of_step, step.conditioner.context_shift(context), step.coupling)
        log_det = log_det + term
    return x, log_det + num_pixels * torch.stack([of_step.log_abs_det for of_step in weights]).sum()


def _steps(chain: Chain) -> list[StepParts]:
    """Return the parts of the steps at the end of the chain, or an empty list if their widths differ."""
    steps: list[StepParts] = []
    for bijection in reversed(chain.bijections):
        if (step := _parts(bijection)) is None:
            break
        steps.insert(0, step)
    return steps if len({len(step.conditioner.second.weight) for step in steps}) == 1 else []


def _parts(step: nn.Module) -> StepParts | None:
    """Return the parts of a step, or None if it cannot be fused."""
    if not isinstance(step, Chain) or len(step.bijections) != 2:
        return None
    mixing, coupling = step.bijections
    if not isinstance(mixing, PixelwiseChain) or type(coupling) is not AffineCoupling:
        return None
    conditioner, parts = coupling.conditioner, list(mixing.bijections)
    if type(conditioner) is not ConvConditioner or [type(part) for part in parts] != [ActNorm, InvertibleConv1x1]:
        return None
    return StepParts(*parts, coupling, conditioner)  # type: ignore[call-arg, arg-type]


def step_pass(x: Tensor, weights: StepWeights, shift: Tensor | None, coupling: AffineCoupling) -> tuple[Tensor, Tensor]:
    r"""Return the output of a step, and the log-determinant of its coupling, (B,).

    .. math:: y = A x + c, \qquad (t, r) = \theta(y_a), \qquad s = \varepsilon + (1 - \varepsilon)\,\sigma(r + 2),
              \qquad z = (y_a,\ (y_b + t) \odot s)

    The conditioner runs in the dtype of its weights, the rest in that of the images.

    Args:
        x: (B, C, H, W).
        weights: Of :func:`~glow_app.running.fused_weights.step_weights`.
        shift: Of the first convolution's output, (B, width, 1, 1) or (B, width, H, W), or None.
        coupling: For its bounds, of the scale :math:`\varepsilon` and of the conditioner's input.
    """
    with full_precision(x.device):
        bounds = coupling.min_scale, coupling.max_input
        return _StepPass.apply(x, weights.matrix, weights.offset, shift, bounds, *weights.convolutions)


def run_conditioner(
    y_a: Tensor, convolutions: Sequence[Tensor], shift: Tensor | None, max_input: float | None
) -> tuple[Tensor, ...]:
    """Return the conditioner's output for the first half, after its input and hidden layers.

    Args:
        y_a: (B, C/2, H, W).
        convolutions: Weight and bias of each convolution, in the dtype of the computation.
        shift: Added to the output of the first convolution, (B, width, 1, 1) or (B, width, H, W), or None.
        max_input: Bound of the conditioner's input, or None.
    Returns:
        Its input in that dtype, both hidden layers, and its output (B, C, H, W), contiguous, in the dtype of ``y_a``.
    """
    w1, b1, w2, b2, w3, b3 = convolutions
    # CPU convolutions are up to six times as fast in channels_last.
    narrow_a = bounded(y_a, max_input).to(w1.dtype, memory_format=torch.channels_last)
    h1 = F.conv2d(narrow_a, w1, b1, padding=1)
    if shift is not None:
        h1 += shift.to(w1.dtype)
    h2 = F.conv2d(h1.relu_(), w2, b2).relu_()
    theta = F.conv2d(h2, w3, b3, padding=1)
    return narrow_a, h1, h2, theta.to(y_a.dtype, memory_format=torch.contiguous_format)


def shift_and_scale_minus_one(theta: Tensor, min_scale: float) -> tuple[Tensor, Tensor]:
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
        bounds: tuple[float, float | None],
        *convolutions: Tensor,
    ) -> tuple[Tensor, Tensor]:
        min_scale, max_input = bounds
        z = mix(x, matrix, offset)
        y_a, y_b = z.chunk(2, dim=1)
        narrow_a, h1, h2, theta = run_conditioner(y_a, convolutions, shift, max_input)
        t, scale_minus_one = shift_and_scale_minus_one(theta, min_scale)
        scale = scale_minus_one + 1.0
        y_b.add_(t).mul_(scale)
        ctx.save_for_backward(x, matrix, z, scale, narrow_a, h1, h2, *convolutions[::2])
        ctx.bounds = bounds
        ctx.shift = None if shift is None else (shift.shape, shift.dtype)
        return z, scale_minus_one.log1p_().flatten(1).sum(1)

    @staticmethod
    @first_order_only
    def backward(ctx: Any, grad_z: Tensor, grad_log_det: Tensor) -> tuple[Any, ...]:
        x, matrix, z, scale, narrow_a, h1, h2, w1, w2, w3 = ctx.saved_tensors
        half, (e, max_input) = scale.shape[1], ctx.bounds
        # With u = y_b + t: dz/du = s and dz/ds = u = z / s, so the gradient of log s is g z + g_log_det, and that of r
        # is that times (s - e)(1 - s) / ((1 - e) s).
        # No in-place writes into new memory and no changes of layout, which torch.func could not batch.
        grad_u = grad_z[:, half:] * scale
        of_log_scale = torch.addcmul(grad_log_det[:, None, None, None], grad_z[:, half:], z[:, half:])
        grad_r = of_log_scale * ((1.0 + e) - scale).sub_(e / scale).mul_(1.0 / (1.0 - e))
        grad = torch.cat([grad_u, grad_r], dim=1).to(w3.dtype)
        grad, grad_w3, grad_b3 = _convolution_backward(grad, h2, w3)
        grad, grad_w2, grad_b2 = _convolution_backward(_relu_backward(grad, h2), h1, w2)
        grad = _relu_backward(grad, h1)
        grad_shift = None if ctx.shift is None else _of_shape(grad, *ctx.shift)
        grad_a, grad_w1, grad_b1 = _convolution_backward(grad, narrow_a, w1)
        if max_input is not None:  # the derivative of the bounded input, by its value
            grad_a = grad_a * (1 - (narrow_a / max_input).square())
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


def _of_shape(grad: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Return the gradient of a shift from that of the feature maps to which it was broadcast."""
    return grad.to(dtype) if shape[2:] == grad.shape[2:] else grad.sum((2, 3), keepdim=True, dtype=dtype)
