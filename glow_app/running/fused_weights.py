"""The weights of the fused training pass, computed for all steps of a level at once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from glow_app.bijections import ActNorm, AffineCoupling, InvertibleConv1x1, full_precision
from glow_app.bijections.conv1x1 import lu_product
from glow_app.nn import ConvConditioner
from glow_app.nn.precision import conditioner_dtype
from glow_app.running.first_order import first_order_only


class StepParts(NamedTuple):
    """The parts of a step that can be fused."""

    norm: ActNorm
    mixing: InvertibleConv1x1
    coupling: AffineCoupling
    conditioner: ConvConditioner


class StepWeights(NamedTuple):
    """The weights of one step.

    Args:
        matrix: Product of actnorm and 1x1 convolution, (C, C).
        offset: Offset of both, (C,).
        log_abs_det: Log-determinant of both, a scalar, nats per pixel.
        convolutions: Weight and bias of each convolution of the conditioner, in its dtype.
    """

    matrix: Tensor
    offset: Tensor
    log_abs_det: Tensor
    convolutions: list[Tensor]


def step_weights(steps: Sequence[StepParts], x: Tensor) -> list[StepWeights]:
    r"""Return the weights of steps of one shape.

    .. math:: A = W\,\mathrm{diag}(e^s), \qquad c = A b, \qquad w' = w\, e^{g s'}, \qquad b' = b\, e^{g s'}

    Args:
        steps: Steps with equal numbers of channels and conditioners of one width.
        x: Input of the steps; with the autocast state it determines the dtype of the conditioners.
    """
    dtype = conditioner_dtype(x)
    with full_precision(steps[0].mixing.lower.device):
        mixings = [step.mixing for step in steps]
        lower, upper, log_abs, sign, permutation = (
            torch.stack([getattr(mixing, name) for mixing in mixings])
            for name in ("lower", "upper", "log_abs", "sign", "permutation")
        )
        biases, log_scales = zip(*[step.norm.bias_and_log_scale() for step in steps], strict=True)
        log_scale = torch.stack(log_scales)
        matrices = lu_product(lower, upper, log_abs, sign, permutation) * log_scale.exp()[:, None, :]
        offsets = (matrices @ torch.stack(biases)[:, :, None])[:, :, 0]
        log_abs_dets = log_abs.sum(1) + log_scale.sum(1)
        convolutions = _convolutions([step.conditioner for step in steps], dtype)
    parts = (matrices.unbind(), offsets.unbind(), log_abs_dets.unbind(), convolutions)
    return [StepWeights(*of_step) for of_step in zip(*parts, strict=True)]


def _convolutions(conditioners: Sequence[ConvConditioner], dtype: torch.dtype) -> list[list[Tensor]]:
    """Return weight, bias, weight, bias, ... of each conditioner's convolutions."""
    convolutions: list[list[Tensor]] = [[] for _ in conditioners]
    for layers in zip(*[(net.first, net.second, net.last) for net in conditioners], strict=True):
        weights, biases, log_scales = zip(*[layer.weight_bias_and_log_scale() for layer in layers], strict=True)
        scales = (layers[0].gain * torch.stack(log_scales)).exp()
        shifted = (torch.stack(biases) * scales).to(dtype).unbind()
        for tensors, weight, bias in zip(convolutions, _Scaled.apply(scales, dtype, *weights), shifted, strict=True):
            tensors += weight, bias
    return convolutions


class _Scaled(Function):
    """Weights times a scale per output, in another dtype: one node of the graph for all steps, without copies."""

    @staticmethod
    def forward(ctx: Any, scales: Tensor, dtype: torch.dtype, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(scales, *weights)
        return _cast(torch._foreach_mul(weights, _for_each_weight(scales)), dtype)

    @staticmethod
    @first_order_only
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        scales, *weights = ctx.saved_tensors
        grads = _cast(grads, scales.dtype)
        of_scales = torch.stack([product.sum((1, 2, 3)) for product in torch._foreach_mul(grads, weights)])
        return of_scales, None, *torch._foreach_mul(grads, _for_each_weight(scales))


def _for_each_weight(scales: Tensor) -> tuple[Tensor, ...]:
    return scales[:, :, None, None, None].unbind()


def _cast(tensors: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    tensors = tuple(tensors)
    if tensors[0].dtype == dtype:
        return tensors
    copies = tuple(torch.empty_like(tensor, dtype=dtype) for tensor in tensors)
    torch._foreach_copy_(copies, tensors)
    return copies
