"""The fused training pass of a level: few large operations, and one node of the autograd graph per step.

At the widths that are trained on a CPU, the many small operations around the convolutions, each a node of the graph
with its own backward pass, take longer than the convolutions. Here :func:`step_weights` computes the weights of all
steps of a level at once, and :class:`FusedStep` applies one step to images.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from glow_app.bijections import ActNorm, AffineCoupling, Chain, InvertibleConv1x1, PixelwiseChain, full_precision
from glow_app.bijections.conv1x1 import lu_product
from glow_app.bijections.coupling import MIN_SCALE, bounded
from glow_app.bijections.pixelwise import mix
from glow_app.nn import ConvConditioner
from glow_app.nn.precision import conditioner_dtype
from glow_app.nn.shape_checks import require_image


class Step(NamedTuple):
    """The parts of a step that can be fused."""

    norm: ActNorm
    mixing: InvertibleConv1x1
    coupling: AffineCoupling
    conditioner: ConvConditioner


def run_fused(chain: Chain, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """Apply the bijections first to last, with the steps of the chain fused.

    A step is actnorm, 1x1 convolution and affine coupling with the paper's conditioner. Other bijections run
    unfused, and so do all if steps differ in shape. Hooks of fused bijections are not called.

    Raises:
        ValueError: If the input of the steps has other channels.
    """
    parts = [_as_step(bijection) for bijection in chain.bijections]
    steps = [step for step in parts if step is not None]
    if len({(step.norm.num_channels, len(step.conditioner.second.weight)) for step in steps}) != 1:
        return Chain.forward(chain, x, context)
    weights, log_abs_det = step_weights(steps, x)
    remaining, log_det = iter(weights), x.new_zeros(x.shape[0])
    for bijection, step in zip(chain.bijections, parts, strict=True):
        if step is None:
            x, term = bijection(x, context)
        else:
            require_image(type(chain).__name__, x, step.norm.num_channels)
            shift = step.conditioner.context_shift(context)
            with full_precision(x.device):
                x, term = FusedStep.apply(x, shift, step.coupling, *next(remaining))
        log_det = log_det + term
    return x, log_det + x.shape[2:].numel() * log_abs_det


def _as_step(bijection: nn.Module) -> Step | None:
    """Return the parts of a step, or None if it cannot be fused."""
    if not isinstance(bijection, Chain) or not isinstance(bijection.bijections[0], PixelwiseChain):
        return None
    parts = [*bijection.bijections[0].bijections, *bijection.bijections[1:]]
    parts += [part.conditioner for part in parts[2:] if isinstance(part, AffineCoupling)]
    # Subclasses may compute something else.
    if [type(part) for part in parts] != [ActNorm, InvertibleConv1x1, AffineCoupling, ConvConditioner]:
        return None
    return Step(*parts)


def step_weights(steps: Sequence[Step], x: Tensor) -> tuple[list[list[Tensor]], Tensor]:
    r"""Return the weights of steps of one shape, and the log-determinant of their matrices.

    .. math:: A = W\,\mathrm{diag}(e^s), \qquad c = A b, \qquad w' = w\, e^{g s'}, \qquad b' = b\, e^{g s'}

    Args:
        steps: Steps with equal numbers of channels and conditioners of one width.
        x: Input of the steps; with the autocast state it determines the dtype of the conditioners.
    Returns:
        For each step the matrix (C, C) and the offset (C,) of actnorm and 1x1 convolution, and weight and bias of each
        convolution of the conditioner; the sum of the log-determinants, a scalar, nats per pixel.
    """
    dtype = conditioner_dtype(x)
    with full_precision(x.device):
        lower, upper, log_abs, sign, permutation = (
            torch.stack([getattr(step.mixing, name) for step in steps])
            for name in ("lower", "upper", "log_abs", "sign", "permutation")
        )
        biases, log_scales = zip(*[step.norm.bias_and_log_scale() for step in steps], strict=True)
        log_scale = torch.stack(log_scales)
        matrices = lu_product(lower, upper, log_abs, sign, permutation) * log_scale.exp()[:, None, :]
        offsets = (matrices @ torch.stack(biases)[:, :, None])[:, :, 0]
        weights = [list(pair) for pair in zip(matrices.unbind(), offsets.unbind(), strict=True)]
        for name in ("first", "second", "last"):
            layers = [getattr(step.conditioner, name) for step in steps]
            ws, bs, log_scales = zip(*[layer.weight_bias_and_log_scale() for layer in layers], strict=True)
            scales = (layers[0].gain * torch.stack(log_scales)).exp()
            scaled_biases = (torch.stack(bs) * scales).to(dtype).unbind()
            for of_step, w, scale, b in zip(weights, ws, scales.unbind(), scaled_biases, strict=True):
                of_step += (w * scale[:, None, None, None]).to(dtype), b
    return weights, (log_abs.sum(1) + log_scale.sum(1)).sum()


def run_conditioner(
    y_a: Tensor, convolutions: Sequence[Tensor], shift: Tensor | None, max_input: float | None
) -> tuple[Tensor, ...]:
    """Return the conditioner's output for the first half, after its input and hidden layers.

    Args:
        y_a: (B, C // 2, H, W).
        convolutions: Weight and bias of each convolution, in the dtype of the computation.
        shift: Added to the output of the first convolution, (B, width, 1, 1) or (B, width, H, W), or None.
        max_input: Bound of the conditioner's input, or None.
    Returns:
        Its input in that dtype, both hidden layers, and its output (B, 2 (C - C // 2), H, W), contiguous, in the dtype
        of ``y_a``.
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


def first_order_only(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Let the backward pass of an autograd function refuse ``create_graph=True``.

    Unlike ``torch.autograd.function.once_differentiable``, which leaves the result without a path to the inputs, so
    that ``torch.autograd.functional.hessian`` returns zeros.

    Raises:
        NotImplementedError: From the backward pass, if second derivatives are requested.
    """

    @wraps(backward)
    def checked(*arguments: Any) -> Any:
        if torch.is_grad_enabled():
            raise NotImplementedError(
                "the selected runner has no second derivatives; call model.set_runners('checkpoint') first"
            )
        return backward(*arguments)

    return checked


class FusedStep(Function):
    r"""A step: its output, and the log-determinant of its coupling, (B,), nats.

    .. math:: y = A x + c, \qquad (t, r) = \theta(y_a), \qquad s = \varepsilon + (1 - \varepsilon)\,\sigma(r + 2),
              \qquad z = (y_a,\ (y_b + t) \odot s)

    The conditioner runs in the dtype of its weights, the rest in that of the images.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        shift: Tensor | None,
        coupling: AffineCoupling,
        matrix: Tensor,
        offset: Tensor,
        *convolutions: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Apply the step to images (B, C, H, W), with the shift and the weights of :func:`run_conditioner`."""
        z = mix(x, matrix, offset)
        y_a, y_b = coupling.halves(z)
        narrow_a, h1, h2, theta = run_conditioner(y_a, convolutions, shift, coupling.max_input)
        t, scale_minus_one = coupling.interpret(theta)
        scale = scale_minus_one + 1.0
        y_b.add_(t).mul_(scale)
        ctx.save_for_backward(x, matrix, z, scale, narrow_a, h1, h2, *convolutions[::2])
        ctx.max_input = coupling.max_input
        ctx.shift = None if shift is None else (shift.shape, shift.dtype)
        return z, scale_minus_one.log1p_().flatten(1).sum(1)

    @staticmethod
    @first_order_only
    def backward(ctx: Any, grad_z: Tensor, grad_log_det: Tensor) -> tuple[Any, ...]:
        """Return the gradients of the inputs."""
        x, matrix, z, scale, narrow_a, h1, h2, w1, w2, w3 = ctx.saved_tensors
        half, e, max_input = x.shape[1] - scale.shape[1], MIN_SCALE, ctx.max_input
        relu_backward = torch.ops.aten.threshold_backward.default
        # With u = y_b + t: dz/du = s and dz/ds = u = z / s, so the gradient of log s is g z + g_log_det, and that of r
        # is that times (s - e)(1 - s) / ((1 - e) s).
        # No in-place writes into new memory and no changes of layout, which torch.func could not batch.
        grad_u = grad_z[:, half:] * scale
        of_log_scale = torch.addcmul(grad_log_det[:, None, None, None], grad_z[:, half:], z[:, half:])
        grad_r = of_log_scale * ((1.0 + e) - scale).sub_(e / scale).mul_(1.0 / (1.0 - e))
        grad = torch.cat([grad_u, grad_r], dim=1).to(w3.dtype)
        grad, grad_w3, grad_b3 = _convolution_backward(grad, h2, w3)
        grad, grad_w2, grad_b2 = _convolution_backward(relu_backward(grad, h2, 0), h1, w2)
        grad = relu_backward(grad, h1, 0)
        grad_shift = None
        if ctx.shift is not None:  # of the shape that was broadcast to the feature maps
            shape, dtype = ctx.shift
            is_map = shape[2:] == grad.shape[2:]
            grad_shift = grad.to(dtype) if is_map else grad.sum((2, 3), keepdim=True, dtype=dtype)
        grad_a, grad_w1, grad_b1 = _convolution_backward(grad, narrow_a, w1)
        if max_input is not None:  # the derivative of the bounded input, by its value
            grad_a = grad_a * (1 - (narrow_a / max_input).square())
        flat = torch.cat([grad_z[:, :half] + grad_a, grad_u], dim=1).view(*x.shape[:2], -1)
        grad_matrix = torch.bmm(flat, x.flatten(2).mT).sum(0)
        grad_x = torch.bmm(matrix.mT.expand(len(x), -1, -1), flat).view(x.shape)
        of_convolutions = (grad_w1, grad_b1, grad_w2, grad_b2, grad_w3, grad_b3)
        return grad_x, grad_shift, None, grad_matrix, flat.sum((0, 2)), *of_convolutions


def _convolution_backward(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of input, weight and bias of a convolution that keeps the size."""
    outputs, padding = weight.shape[0], [weight.shape[-1] // 2] * 2
    return torch.ops.aten.convolution_backward.default(
        grad, x, weight, [outputs], [1, 1], padding, [1, 1], False, [0, 0], 1, [True, True, True]
    )
