"""The weights that Glow's steps compute with in training, worked out for all steps of a level at once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from glow_app.bijections import ActNorm, AffineCoupling, InvertibleConv1x1, PixelwiseChain, full_precision
from glow_app.bijections.conv1x1 import lu_product
from glow_app.bijections.precision import conditioner_dtype
from glow_app.nn import ConvConditioner

__all__ = ["StepParts", "StepWeights", "step_weights"]


class StepParts(NamedTuple):
    """The parts of a step that the fused pass knows."""

    chain: PixelwiseChain
    norm: ActNorm
    mixing: InvertibleConv1x1
    coupling: AffineCoupling
    conditioner: ConvConditioner


class StepWeights(NamedTuple):
    """What a step computes with.

    Args:
        matrix: Of actnorm and 1x1 convolution together, (C, C).
        offset: Likewise, (C,).
        log_abs_det: Likewise, a scalar, nats a pixel.
        convolutions: Weight and bias of each of the conditioner's, in the type that it runs in.
        shift: Of the first convolution's output by the context, (B, width), or None.
    """

    matrix: Tensor
    offset: Tensor
    log_abs_det: Tensor
    convolutions: list[Tensor]
    shift: Tensor | None


def step_weights(steps: Sequence[StepParts], x: Tensor, context: Tensor | None) -> list[StepWeights]:
    r"""Return the weights of steps of one shape, worked out together.

    .. math:: A = W\,\mathrm{diag}(e^s), \qquad c = A b, \qquad w' = w\, e^{g s'}, \qquad b' = b\, e^{g s'}

    Args:
        steps: With the same number of channels.
        x: What they will see; the autocast state says in which type its conditioners run.
        context: (B, E) or None.
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
        shifts = [step.conditioner.context_shift(context) for step in steps]
    parts = (matrices.unbind(), offsets.unbind(), log_abs_dets.unbind(), convolutions, shifts)
    return [StepWeights(*one) for one in zip(*parts, strict=True)]


def _convolutions(conditioners: Sequence[ConvConditioner], dtype: torch.dtype) -> list[list[Tensor]]:
    layers = [layer for one in conditioners for layer in (one.first, one.second, one.last)]
    weights, biases, log_scales = zip(*[layer.weight_bias_and_log_scale() for layer in layers], strict=True)
    flat = _Scaled.apply(dtype, *weights, *biases, *log_scales)
    scaled, shifted = flat[: len(layers)], flat[len(layers) :]
    pairs = [tensor for pair in zip(scaled, shifted, strict=True) for tensor in pair]
    return [pairs[start : start + 6] for start in range(0, len(pairs), 6)]


class _Scaled(Function):
    """Weights and biases times their scales, in another type, as one node of the graph for all layers."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
        weights, biases, log_scales = _thirds(tensors)
        scales = torch._foreach_exp(log_scales)
        ctx.save_for_backward(*weights, *biases, *scales)
        scaled = torch._foreach_mul([*weights, *biases], [*map(_for_each_output, scales), *scales])
        return _cast(scaled, dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        weights, biases, scales = _thirds(ctx.saved_tensors)
        grads = _cast(grads, scales[0].dtype)
        unscaled = torch._foreach_mul(grads, [*map(_for_each_output, scales), *scales])
        # d(w e^s) / ds = w e^s, and the gradient of w holds e^s already.
        products = torch._foreach_mul(unscaled, [*weights, *biases])
        of_scales = [product.sum((1, 2, 3)) for product in products[: len(scales)]]
        torch._foreach_add_(of_scales, products[len(scales) :])
        return None, *unscaled, *of_scales


def _thirds(tensors: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
    third = len(tensors) // 3
    return [tensors[start : start + third] for start in range(0, len(tensors), third)]


def _for_each_output(scale: Tensor) -> Tensor:
    return scale[:, None, None, None]


def _cast(tensors: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    tensors = tuple(tensors)
    if tensors[0].dtype == dtype:
        return tensors
    found = tuple(torch.empty_like(tensor, dtype=dtype) for tensor in tensors)
    torch._foreach_copy_(found, tensors)
    return found
