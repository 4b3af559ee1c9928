"""The masked autoregressive network, in one pass or sequentially."""

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glow_app.nn.masked import Degrees, MaskedLinear
from glow_app.nn.shape_checks import require_at_least, require_context


class MADE(nn.Module):
    r"""A network whose outputs for feature i see only the features before i, and the context.

    .. math:: \theta_i = g_i(x_{<i}, h), \qquad i = 1, \ldots, D

    :meth:`forward` computes all D outputs in one pass; :meth:`unroll` computes them sequentially, for callers that
    obtain :math:`x_i` from :math:`\theta_i`. The output is zero at initialisation.

    Args:
        num_features: Features :math:`D`.
        hidden_features: Width of the hidden layers.
        num_parameters: Outputs :math:`P` per feature.
        context_features: Size :math:`E` of the context, which every feature sees; 0 for none.
        num_blocks: Hidden blocks after the first layer, each of two masked layers with a skip connection.
        max_groups: Upper bound on the number of groups of features, each of which sees those before it, at least 2;
            limited by the width alone if None. Fewer groups unroll faster and model less dependence.
    Attributes:
        num_groups: Number of :attr:`groups`: at most the number of features, and of hidden units plus one.
    Shape:
        x: (B, D); context: (B, E) or None; output: (B, D, P).
    Raises:
        ValueError: If a size is below 1, or the context is missing or of another shape.
    References:
        MADE, Germain et al. 2015, arXiv:1502.03509; residual blocks as in Neural Spline Flows, arXiv:1906.04032.
    """

    def __init__(
        self,
        num_features: int,
        hidden_features: int,
        num_parameters: int,
        context_features: int = 0,
        num_blocks: int = 1,
        max_groups: int | None = None,
    ) -> None:
        super().__init__()
        require_at_least(1, num_features=num_features, hidden_features=hidden_features, num_parameters=num_parameters)
        require_at_least(0, num_blocks=num_blocks)
        if max_groups is not None and max_groups < 2:
            raise ValueError(f"max_groups is {max_groups}; expected at least 2: a single group would see nothing")
        self.num_features = num_features
        self.num_parameters = num_parameters
        self.context_features = context_features
        # A unit of degree d sees d features. Degree 0 is useful only with a context, or with a single feature.
        first = 0 if context_features or num_features == 1 else 1
        features = Degrees(num_features, 1, num_features)
        # The features before the smallest degree above 0 are a group of their own.
        max_distinct = None if max_groups is None else max_groups - first
        hidden = Degrees(hidden_features, first, num_features - first, max_distinct)
        outputs = Degrees(num_features * num_parameters, 0, num_features)
        self.first = MaskedLinear(features, hidden)
        self.from_context = nn.Linear(context_features, hidden_features, bias=False) if context_features else None
        self.blocks = nn.ModuleList(
            # Close to the identity but not equal to it: gradients must reach the first layer.
            nn.ModuleList([MaskedLinear(hidden, hidden), MaskedLinear(hidden, hidden, scale=0.01)])
            for _ in range(num_blocks)
        )
        self.last = MaskedLinear(hidden, outputs, scale=0.0)
        self.num_groups = first + min(hidden.num_distinct, hidden.num)
        self._hidden = hidden

    @cached_property
    def groups(self) -> list[slice]:
        """Consecutive features that see the same hidden units, and so are computed in the same step."""
        # Not at construction: a model file may ask for any width, and its weights are compared only afterwards.
        edges = [degree for degree in range(1, self.num_features) if self._counts[degree]]
        return [slice(*edge) for edge in pairwise([0, *edges, self.num_features])]

    @cached_property
    def _counts(self) -> list[int]:
        return self._hidden.counts()

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the parameters of all features in one pass."""
        h = self.first(x)
        if (shift := self._shift(x.shape[0], context)) is not None:
            h = h + shift
        for block in self.blocks:
            r = h
            for layer in block:  # type: ignore[attr-defined]
                r = layer(F.relu(r))
            h = h + r
        return self.last(F.relu(h)).unflatten(1, (self.num_features, self.num_parameters))

    def unroll(self, step: Callable[[slice, Tensor], Tensor], num: int, context: Tensor | None = None) -> None:
        r"""Call ``step(features, parameters)`` for each of the :attr:`groups` in turn; it returns the features' values.

        Every hidden unit is computed once, as soon as the features that it sees are known, and its contribution to
        later units is kept. All steps together cost about as many multiplications as one :meth:`forward`.

        Args:
            step: Receives the features and their parameters (B, n, P); returns their values, (B, n).
            num: Batch size B.
        """
        groups = self.groups
        features = [group.stop - group.start for group in groups]
        hidden = [self._counts[group.start] for group in groups]
        first = _UnrolledLayer(self.first, num, features, hidden)
        last = _UnrolledLayer(self.last, num, hidden, [self.num_parameters * count for count in features])
        blocks = [[_UnrolledLayer(layer, num, hidden, hidden) for layer in block] for block in self.blocks]  # type: ignore[attr-defined]
        if (shift := self._shift(num, context)) is not None:
            first.pending = first.pending + shift
        for index, group in enumerate(groups):
            if hidden[index]:
                h = first.take(index)
                for block in blocks:
                    r = h
                    for layer in block:
                        layer.add(index, F.relu(r))
                        r = layer.take(index)
                    h = h + r
                last.add(index, F.relu(h))
            values = step(group, last.take(index).unflatten(1, (-1, self.num_parameters)))
            if index + 1 < len(groups):
                first.add(index, values)

    def _shift(self, num: int, context: Tensor | None) -> Tensor | None:
        if self.from_context is None:
            return None
        context = require_context("a masked network", context, num, self.context_features)
        return self.from_context(context.to(self.first.weight.dtype))


class _UnrolledLayer:
    """A masked layer during :meth:`MADE.unroll`: the outputs not yet taken, summed over the inputs known so far."""

    def __init__(self, layer: MaskedLinear, num: int, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        # Split once: a slice per group would cost autograd a matrix of zeros each.
        self.rows = layer.masked_weight().t().split(list(inputs), dim=0)
        self.counts = outputs
        self.pending = layer.bias.expand(num, -1)
        self.taken = 0

    def add(self, group: int, values: Tensor) -> None:
        """Add the contribution of the group's inputs to the outputs not yet taken."""
        self.pending = torch.addmm(self.pending, values, self.rows[group][:, self.taken :])

    def take(self, group: int) -> Tensor:
        """Return the outputs of the group, which are complete."""
        count = self.counts[group]
        self.taken += count
        done, self.pending = self.pending.split([count, self.pending.shape[1] - count], dim=1)
        return done
