"""A model that draws and does nothing else: what is exported as a program."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from glow_app.bijections import ContinuousFlow, FixedAffine, Inverse, MaskedAutoregressive, PixelwiseAffine, Planar
from glow_app.flows.glow import extrapolate
from glow_app.likelihood import to_uint8
from glow_app.model import ImageModel
from glow_app.nn import ActNormConv2d, MaskedLinear, ZeroConv2d

__all__ = ["MAX_STEPS", "Sampler"]

# Of an autoregressive prior, all of which stand in the graph; these take minutes to export.
MAX_STEPS = 256


class Sampler(nn.Module):
    r"""The way from whitened latents to images, with all that follows from the weights alone worked out before.

    .. math:: z \mapsto \mathrm{uint8}(f^{-1}(z)), \qquad z_l = T_l\, \epsilon_l, \quad \epsilon_l \sim \mathcal N(0, I)

    Actnorm and 1x1 convolution of a step are one matrix, which is inverted here and not in each call; the scales of the
    conditioners' convolutions are multiplied into their weights. The images are those of
    :meth:`ImageModel.decode <glow_app.model.ImageModel.decode>`. No step depends on values, so that
    ``torch.export`` finds one graph for every input and batch size.

    Args:
        model: On the CPU; is left as it is.
    Shape:
        latents: One (B, C_l, H_l, W_l) a level; labels: (B,), int64, from 0 to ``num_classes - 1``, or None for an
        unconditional model; guidance: (B,), of the latents' type, 1 if None, as of
        :meth:`Glow.embed <glow_app.flows.Glow.embed>`; images: (B, C, H, W), uint8.
    Raises:
        ValueError: If the prior's way to the data is found by iteration, or has too many steps.
    """

    mean: Tensor

    def __init__(self, model: ImageModel) -> None:
        super().__init__()
        _require_one_graph(model)
        self.flow = copy.deepcopy(model.flow)
        self.num_bits = model.num_bits
        if model.flow.embedding is not None:
            self.register_buffer("mean", model.flow.embedding.weight.detach().mean(0))
        self.flow.thaw()
        _work_out(self.flow)
        self.eval().requires_grad_(False)

    def forward(
        self, latents: Sequence[Tensor], labels: Tensor | None = None, guidance: Tensor | None = None
    ) -> Tensor:
        """Return the images of ``latents``."""
        # Not by Glow.embed, which looks at the values of labels and guidance.
        context = None if self.flow.embedding is None else self.flow.embedding(labels)
        if context is not None and guidance is not None:
            context = extrapolate(context, self.mean, guidance)
        return to_uint8(self.flow.decode(latents, context), self.num_bits)


def _require_one_graph(model: ImageModel) -> None:
    prior = model.flow.prior
    if any(isinstance(part, (ContinuousFlow, Planar)) for part in prior.modules()):
        raise ValueError(
            f"{type(prior).__name__} is inverted by iteration, which no graph holds; use glow sample, or train with a "
            "Gaussian, MAF or IAF prior"
        )
    quick = {part.bijection for part in prior.modules() if isinstance(part, Inverse)}
    slow = [part for part in prior.modules() if isinstance(part, MaskedAutoregressive) and part not in quick]
    if (num_steps := sum(part.num_steps for part in slow)) > MAX_STEPS:
        raise ValueError(
            f"{type(prior).__name__} draws in {num_steps} steps, and a graph holds at most {MAX_STEPS}; use glow "
            "sample, or train with fewer max_groups or an IAF prior"
        )


@torch.no_grad()
def _work_out(module: nn.Module) -> None:
    """Replace the parts whose numbers follow from the weights alone by these numbers."""
    for name, part in module.named_children():
        if isinstance(part, PixelwiseAffine):
            setattr(module, name, FixedAffine(part))
        elif isinstance(part, (ActNormConv2d, ZeroConv2d)):
            setattr(module, name, _plain_convolution(part))
        elif isinstance(part, MaskedLinear):
            setattr(module, name, _FixedLinear(part))
        else:
            _work_out(part)


def _plain_convolution(part: ActNormConv2d | ZeroConv2d) -> nn.Conv2d:
    weight, bias = part.weight_and_bias()
    out_channels, in_channels, kernel_size, _ = weight.shape
    plain = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, device="meta")
    plain.weight, plain.bias = nn.Parameter(weight), nn.Parameter(bias)
    return plain


class _FixedLinear(nn.Linear):
    """A masked layer with its mask in its weights."""

    def __init__(self, part: MaskedLinear) -> None:
        super().__init__(part.inputs.num_units, part.outputs.num_units, device="meta")
        self.weight, self.bias = nn.Parameter(part.masked_weight()), nn.Parameter(part.bias)

    def masked_weight(self) -> Tensor:
        """Return the weights."""
        return self.weight
