"""Backpropagation through a chain that forgets its activations: checkpointed, or recomputed from the outputs."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from glow_app.bijections.base import Bijection, Chain
from glow_app.bijections.precision import conditioner_dtype

__all__ = ["Memory", "ReversibleChain"]

Memory = Literal["store", "checkpoint", "reversible"]

# Largest relative error of a recomputed input before a chain falls back, by the width of the narrowest arithmetic: what
# the gradients may lose then is about what rounding costs them anyway.
MAX_DRIFT = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 2e-2}

# Backward passes by checkpointing after the first that had drifted; each further one doubles them. The first steps of a
# training can be ill-conditioned that is well-conditioned later.
FIRST_REST = 100


class ReversibleChain(Chain):
    r"""A chain that need not keep its activations for the backward pass.

    ===========  =====================================================  =============================================
    memory       what is kept                                           what a training step runs
    ===========  =====================================================  =============================================
    store        every activation                                       forward and backward
    checkpoint   the input of each bijection                            forward twice, backward
    reversible   input and output of the chain, whatever its length     forward, inverse and forward in one, backward
    ===========  =====================================================  =============================================

    The gradients are those of :class:`Chain`: in "checkpoint" to the last bit, in "reversible" as exact as the inverses
    are. Their error is measured at each backward pass, as the relative distance of the recomputed input from the one
    that was kept. Where it is above ``MAX_DRIFT`` for the arithmetic in use, that backward pass is done again by
    checkpointing, and so are the next hundred (then two hundred, and so on), with a warning the first time.

    Args:
        bijections: In the order of the data-to-latent direction; at least one. Those after which the input cannot be
            told from the output, up to rounding, do not belong here.
        memory: One of the three.
    Attributes:
        drift: Relative error of the input recomputed last, of the worst image of the batch; None before there is one.
        any_rank: Whether any process has come to a decision. Those that hold the parameters together set it: they must
            fall back together.
    Shape:
        As the bijections.
    Raises:
        ValueError: If ``memory`` is none of the three.
    References:
        The Reversible Residual Network, Gomez et al. 2017, arXiv:1707.04585; checkpointing: Chen et al. 2016,
        arXiv:1604.06174.
    """

    def __init__(self, *bijections: Bijection, memory: Memory = "store") -> None:
        super().__init__(*bijections)
        self.memory = memory
        self.drift: float | None = None
        self.any_rank: Callable[[bool], bool] = bool
        self._rest = 0
        self._next_rest = FIRST_REST

    @property
    def memory(self) -> Memory:
        """What is kept for the backward pass."""
        return self._memory

    @memory.setter
    def memory(self, memory: Memory) -> None:
        if memory not in get_args(Memory):
            raise ValueError(f"memory is {memory!r}; expected one of {', '.join(get_args(Memory))}")
        self._memory: Memory = memory

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the bijections first to last."""
        if not torch.is_grad_enabled():
            return super().forward(x, context)
        if self.memory == "store":
            return self.stored(x, context)
        if self.memory == "checkpoint" or self._rest:
            self._rest = max(0, self._rest - 1)
            return self._checkpointed(x, context)
        return _Reversible.apply(self, x, context, *self.parameters())

    def stored(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Apply the bijections first to last and keep what the backward pass needs; a subclass may do it faster."""
        return super().forward(x, context)

    def _checkpointed(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_det = x.new_zeros(x.shape[0])
        for bijection in self.bijections:
            # Nothing in a chain draws random numbers, whose state would have to be kept.
            x, term = checkpoint(bijection, x, context, use_reentrant=False, preserve_rng_state=False)
            log_det = log_det + term
        return x, log_det

    def gradients(
        self, x: Tensor, context: Tensor | None, z: Tensor, grad_z: Tensor, grad_log_det: Tensor
    ) -> dict[Tensor, Tensor]:
        """Return the gradients of the input, the context and the parameters, without stored activations.

        Args:
            x: The input.
            context: Of the bijections, or None.
            z: The output.
            grad_z: Gradient of the output.
            grad_log_det: Gradient of the log-determinant.
        """
        found, recomputed = self._by_inverse(x, context, z, grad_z, grad_log_det)
        self.drift = float(_relative_distance(recomputed, x))
        limit = MAX_DRIFT[conditioner_dtype(x)]
        # Where something is not finite, the gradients are not either, and nothing is learnt about the inverse.
        drifted = not self.drift <= limit and bool(torch.isfinite(z).all())
        if not self.any_rank(drifted):
            return found
        if drifted and self._next_rest == FIRST_REST:
            warnings.warn(
                f"memory: reversible recomputed the input {tuple(x.shape[1:])} of {len(self.bijections)} bijections "
                f"with a relative error of {self.drift:.1e}, above {limit:.0e}: their inverse is ill-conditioned. They "
                f"are checkpointed now, which needs more memory, and tried again after {FIRST_REST} steps",
                stacklevel=2,
            )
        self._rest, self._next_rest = self._next_rest, 2 * self._next_rest
        del found
        return self._by_checkpoints(x, context, grad_z, grad_log_det)

    def _by_inverse(
        self, x: Tensor, context: Tensor | None, z: Tensor, grad_z: Tensor, grad_log_det: Tensor
    ) -> tuple[dict[Tensor, Tensor], Tensor]:
        found: dict[Tensor, Tensor] = {}
        leaf = None if context is None else context.detach().requires_grad_()
        for bijection in reversed(list(_flat(self))):
            parts, *outputs = bijection.retrace(z, leaf)
            shared = [*([] if leaf is None else [leaf]), *(p for p in bijection.parameters() if p.requires_grad)]
            gradients = _gradients(outputs, [*parts, *shared], [grad_z, grad_log_det])
            grad_z = torch.cat(gradients[: len(parts)], dim=1)
            z = torch.cat([part.detach() for part in parts], dim=1)
            for tensor, gradient in zip(shared, gradients[len(parts) :], strict=True):
                key = context if context is not None and tensor is leaf else tensor
                found[key] = found[key] + gradient if key in found else gradient
        return {**found, x: grad_z}, z

    def _by_checkpoints(
        self, x: Tensor, context: Tensor | None, grad_z: Tensor, grad_log_det: Tensor
    ) -> dict[Tensor, Tensor]:
        inputs = [tensor for tensor in (x, context) if tensor is not None]
        leaves = [tensor.detach().requires_grad_() for tensor in inputs]
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        with torch.enable_grad():
            outputs = self._checkpointed(leaves[0], leaves[1] if context is not None else None)
        found = _gradients(outputs, [*leaves, *parameters], [grad_z, grad_log_det])
        return dict(zip([*inputs, *parameters], found, strict=True))


class _Reversible(Function):
    """:class:`ReversibleChain` as one node of the graph, whose inputs are all that has a gradient."""

    @staticmethod
    def forward(
        ctx: Any, chain: ReversibleChain, x: Tensor, context: Tensor | None, *parameters: nn.Parameter
    ) -> tuple[Tensor, Tensor]:
        z, log_det = Chain.forward(chain, x, context)
        ctx.chain, ctx.parameters = chain, parameters
        ctx.autocast = torch.is_autocast_enabled(x.device.type), torch.get_autocast_dtype(x.device.type)
        ctx.save_for_backward(x, context, z)
        return z, log_det

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_log_det: Tensor) -> tuple[Tensor | None, ...]:
        x, context, z = ctx.saved_tensors
        enabled, dtype = ctx.autocast
        # As in the forward pass; without the cache, whose copies would know nothing of the other pass's graph.
        with torch.autocast(x.device.type, dtype, enabled, cache_enabled=False):
            found = ctx.chain.gradients(x, context, z, grad_z, grad_log_det)
        return (None, *(None if one is None else found.get(one) for one in (x, context, *ctx.parameters)))


def _flat(chain: Chain) -> Iterator[Bijection]:
    for bijection in chain.bijections:
        if isinstance(bijection, Chain):
            yield from _flat(bijection)
        else:
            assert isinstance(bijection, Bijection)
            yield bijection


def _relative_distance(found: Tensor, expected: Tensor) -> Tensor:
    difference, size = (found - expected).flatten(1).norm(dim=1), expected.flatten(1).norm(dim=1)
    return (difference / size.clamp_min(torch.finfo(size.dtype).tiny)).max()


def _gradients(outputs: Sequence[Tensor], inputs: Sequence[Tensor], factors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    # A log-determinant may be a constant, and an input may reach no output.
    pairs = [(output, factor) for output, factor in zip(outputs, factors, strict=True) if output.requires_grad]
    outputs, factors = zip(*pairs, strict=True)
    return torch.autograd.grad(outputs, inputs, factors, allow_unused=True, materialize_grads=True)
