"""Velocity networks of continuous flows: the contract, and a perceptron."""

import math
from abc import ABC, abstractmethod
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glow_app.nn.shape_checks import require_at_least, require_context, require_vector


class Velocity(nn.Module, ABC):
    r"""The right-hand side :math:`v(t, x, h)` of :math:`dx/dt = v`.

    Any network will do that treats the rows of a batch independently (no batch normalisation) and is smooth in
    :math:`x`, since training differentiates its derivative. Its output is zero at initialisation, so that the flow
    starts as the identity.

    Shape:
        t: a scalar tensor; x: (B, ...); context: (B, E) or None; output: as x.
    """

    @abstractmethod
    def forward(self, t: Tensor, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the velocity at ``x`` and time ``t``."""


class MLPVelocity(Velocity):
    r"""A perceptron on vectors, with time and context in every layer.

    With ``num_frequencies`` K the inputs are, for every value x, also :math:`\sin(k \pi x / 2)` and
    :math:`\cos(k \pi x / 2)`, k from 1 to K. A perceptron learns smooth functions first and sharp edges very late;
    with Fourier features it learns edges early, at weights for which the equation stays easy to solve.

    Args:
        num_features: Size :math:`D` of the vectors.
        hidden_features: Width.
        num_layers: Hidden layers.
        context_features: Size :math:`E` of the context; 0 for none.
        num_frequencies: Fourier frequencies :math:`K`; 0 for none.
    Shape:
        t: a scalar tensor; x: (B, num_features); context: (B, context_features) or None; output: as x.
    Raises:
        ValueError: If a size is out of its range, or the input or the context has another shape.
    References:
        FFJORD, Grathwohl et al. 2019, arXiv:1810.01367, and its code, rtqichen/ffjord: ``ConcatSquashLinear``.
        Fourier features: Tancik et al. 2020, arXiv:2006.10739.
    """

    def __init__(
        self,
        num_features: int,
        hidden_features: int = 64,
        num_layers: int = 2,
        context_features: int = 0,
        num_frequencies: int = 0,
    ) -> None:
        super().__init__()
        require_at_least(1, hidden_features=hidden_features, num_layers=num_layers)
        require_at_least(0, num_frequencies=num_frequencies)
        self.num_features = num_features
        self.context_features = context_features
        self.num_frequencies = num_frequencies
        widths = pairwise([num_features * (1 + 2 * num_frequencies), *[hidden_features] * num_layers, num_features])
        layers = [nn.Linear(width, out) for width, out in widths]
        self.layers = nn.ModuleList(_ConcatSquash(layer, 1 + context_features) for layer in layers)
        for parameter in (*layers[-1].parameters(), *self.layers[-1].bias.parameters()):  # type: ignore[union-attr]
            nn.init.zeros_(parameter)

    def forward(self, t: Tensor, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the velocity at ``x`` and time ``t``."""
        require_vector("MLPVelocity", x, self.num_features)
        given = t.to(x.dtype).expand(len(x), 1)
        if self.context_features:
            context = require_context("MLPVelocity", context, len(x), self.context_features)
            given = torch.cat([given, context.to(x.dtype)], dim=1)
        if self.num_frequencies:
            frequencies = torch.arange(1, self.num_frequencies + 1, dtype=x.dtype, device=x.device) * (math.pi / 2)
            phases = (x[:, :, None] * frequencies).flatten(1)
            x = torch.cat([x, phases.sin(), phases.cos()], dim=1)
        for layer in self.layers[:-1]:
            # Linear growth lets the flow rescale points far out, which a bounded velocity could not.
            x = F.silu(layer(x, given))
        return self.layers[-1](x, given)


class _ConcatSquash(nn.Module):
    r"""A layer gated and shifted by time and context c: :math:`(W x + b) \odot \sigma(G c + g) + S c`."""

    def __init__(self, layer: nn.Linear, context_features: int) -> None:
        super().__init__()
        self.layer = layer
        self.gate = nn.Linear(context_features, layer.out_features)
        self.bias = nn.Linear(context_features, layer.out_features, bias=False)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.layer(x) * torch.sigmoid(self.gate(context)) + self.bias(context)
