"""Masked linear layers of an autoregressive network."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Degrees:
    r"""The degrees of a layer's units: unit k of the n has degree

    .. math:: \text{first} + \lfloor \lfloor k m / n \rfloor \cdot \text{num} / m \rfloor

    Sorted and evenly spread, so units of equal degree are adjacent.

    Args:
        num_units: Units :math:`n` of the layer.
        first: The smallest degree.
        num: Number of available degrees, from ``first`` on.
        max_distinct: Most degrees in use, :math:`m`; the number of units if None.
    """

    num_units: int
    first: int
    num: int
    max_distinct: int | None = None

    @property
    def num_distinct(self) -> int:
        """Most distinct degrees in use, :math:`m`; all that are available are in use if they are fewer."""
        return min(self.max_distinct or self.num_units, self.num_units)

    def of_units(self, device: torch.device | None = None) -> Tensor:
        """Return the degree of every unit, int64 (n,)."""
        return torch.tensor(self._degrees(), device=device)

    def counts(self) -> list[int]:
        """Return how many units have degree 0, 1, and so on up to the largest."""
        # Without torch: models are also built on the meta device, where tensors have no values.
        counts = [0] * (self.first + self.num)
        for degree in self._degrees():
            counts[degree] += 1
        return counts

    def _degrees(self) -> list[int]:
        distinct = self.num_distinct
        places = (unit * distinct // self.num_units for unit in range(self.num_units))
        return [self.first + place * self.num // distinct for place in places]


class MaskedLinear(nn.Module):
    r"""A linear layer in which a unit sees only units of its own or a smaller degree.

    .. math:: y_i = b_i + \sum_{j:\, d_j \le d_i} w_{ij} x_j

    Args:
        scale: Factor on the usual initial weights; 0 starts as the constant zero.
    Shape:
        x: (B, inputs.num_units); output: (B, outputs.num_units).
    References:
        MADE, Germain et al. 2015, arXiv:1502.03509, section 4.
    """

    def __init__(self, inputs: Degrees, outputs: Degrees, scale: float = 1.0) -> None:
        super().__init__()
        self.inputs = inputs
        self.outputs = outputs
        linear = nn.Linear(inputs.num_units, outputs.num_units)
        self.weight, self.bias = linear.weight, linear.bias
        if not self.weight.is_meta:  # arithmetic on the meta device takes seconds to import
            with torch.no_grad():
                self.weight.mul_(scale)
                self.bias.mul_(scale)
        # Not a buffer: it is determined by the sizes, and is not stored in model files.
        self._mask: Tensor | None = None

    def masked_weight(self) -> Tensor:
        """Return the weights, zero where an output may not see an input: (outputs, inputs)."""
        if self._mask is None or self._mask.device != self.weight.device:
            device = self.weight.device
            self._mask = self.outputs.of_units(device)[:, None] >= self.inputs.of_units(device)[None, :]
        return self.weight * self._mask

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs for ``x``."""
        return F.linear(x, self.masked_weight(), self.bias)
