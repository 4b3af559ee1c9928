"""Runners that recompute activations in the backward pass: from inputs that are kept, or by the inverse."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import singledispatch, wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint

from glow_app.bijections import Bijection, Chain, Coupling
from glow_app.nn.precision import conditioner_dtype

# Largest relative error of a recomputed input before a level falls back, by the narrowest dtype in use: about the error
# of gradients by rounding.
MAX_DRIFT = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 2e-2}

# Passes by checkpointing after the first drift; their number doubles with each further one. The first training steps
# can be ill-conditioned although later ones are not.
FIRST_FALLBACK = 100

Gradients = dict[Tensor, Tensor]


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


def run_checkpointed(chain: Chain, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """Apply the bijections first to last, keeping the input of each; gradients equal those of the plain chain.

    References:
        Training Deep Nets with Sublinear Memory Cost, Chen et al. 2016, arXiv:1604.06174.
    """
    log_det = x.new_zeros(x.shape[0])
    for bijection in chain.bijections:
        # Nothing in a level draws random numbers, so no generator state needs to be kept.
        x, term = checkpoint(bijection, x, context, use_reentrant=False, preserve_rng_state=False)
        log_det = log_det + term
    return x, log_det


class ReversibleRunner:
    """Evaluates a level as one node of the graph, which keeps only the level's input and output.

    Gradients are as accurate as the inverses of the bijections. Each backward pass measures the relative distance of
    the recomputed input from the kept one. Above ``MAX_DRIFT`` the pass is repeated with checkpointing, as are the next
    hundred passes (then two hundred, and so on), with a warning the first time.

    Attributes:
        drift: Relative error of the last recomputed input, for the worst image of the batch; None before the first.
        fallback: Passes by checkpointing that are left.
    References:
        The Reversible Residual Network, Gomez et al. 2017, arXiv:1707.04585.
    """

    def __init__(self) -> None:
        self.drift: float | None = None
        self.fallback = 0
        self._next_fallback = FIRST_FALLBACK

    def __call__(self, chain: Chain, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Apply the bijections first to last."""
        if self.fallback:
            self.fallback -= 1
            return run_checkpointed(chain, x, context)
        return _Reversible.apply(self, chain, x, context, *chain.parameters())

    def gradients(
        self, chain: Chain, x: Tensor, context: Tensor | None, z: Tensor, grad_outputs: tuple[Tensor, Tensor]
    ) -> Gradients:
        """Return the gradients of the input, the context and the parameters.

        Args:
            chain: The level.
            x: Its input.
            context: Of the bijections, or None.
            z: Its output.
            grad_outputs: Gradients of the output and of the log-determinant.
        """
        gradients, recomputed = _by_inverse(chain, x, context, z, *grad_outputs)
        difference, size = (recomputed - x).flatten(1).norm(dim=1), x.flatten(1).norm(dim=1)
        self.drift = float((difference / size.clamp_min(torch.finfo(size.dtype).tiny)).max())
        limit = MAX_DRIFT[conditioner_dtype(x)]
        # A non-finite output makes the gradients non-finite, and says nothing about the inverse.
        if self.drift <= limit or not torch.isfinite(z).all():
            return gradients
        if self._next_fallback == FIRST_FALLBACK:
            warnings.warn(
                f"memory: reversible recomputed the input {tuple(x.shape[1:])} of {len(chain.bijections)} bijections "
                f"with a relative error of {self.drift:.1e}, above {limit:.0e}: their inverse is ill-conditioned. They "
                f"are checkpointed now, which needs more memory, and tried again after {FIRST_FALLBACK} steps",
                stacklevel=2,
            )
        self.fallback, self._next_fallback = self._next_fallback, 2 * self._next_fallback
        del gradients
        return _by_checkpoints(chain, x, context, *grad_outputs)


@singledispatch
def recompute(bijection: Bijection, z: Tensor, context: Tensor | None) -> tuple[list[Tensor], Tensor, Tensor]:
    """Invert ``bijection`` at its output ``z`` and run it forward again.

    Register an implementation for a class whose two directions share work.

    Returns:
        The parts of the input (concatenated along the channels: ``x``) as leaves of a new graph, and the output and
        log-determinant of ``bijection(x, context)`` in that graph.
    """
    with torch.no_grad():
        x, _ = bijection.inverse(z, context)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return [x], *bijection(x, context)


@recompute.register
def _(coupling: Coupling, z: Tensor, context: Tensor | None) -> tuple[list[Tensor], Tensor, Tensor]:
    # Both directions run the conditioner on the same half.
    z_a, z_b = coupling.halves(z)
    with torch.enable_grad():
        x_a = z_a.detach().requires_grad_()
        theta = coupling.parameters_of(x_a, context)
        with torch.no_grad():
            x_b, _ = coupling.inverse_transform(z_b, *theta)
        x_b.requires_grad_()
        z_b, log_det = coupling.transform(x_b, *theta)
        return [x_a, x_b], torch.cat([x_a, z_b], dim=1), log_det


class _Reversible(Function):
    """A level as one node of the graph, with all differentiable tensors as inputs."""

    @staticmethod
    def forward(
        ctx: Any, runner: ReversibleRunner, chain: Chain, x: Tensor, context: Tensor | None, *parameters: nn.Parameter
    ) -> tuple[Tensor, Tensor]:
        z, log_det = Chain.forward(chain, x, context)
        ctx.runner, ctx.chain, ctx.parameters = runner, chain, parameters
        ctx.autocast = torch.is_autocast_enabled(x.device.type), torch.get_autocast_dtype(x.device.type)
        ctx.save_for_backward(x, context, z)
        return z, log_det

    @staticmethod
    @first_order_only
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, context, z = ctx.saved_tensors
        enabled, dtype = ctx.autocast
        # As in the forward pass, but without the cache, whose copies belong to the graph of the forward pass.
        with torch.autocast(x.device.type, dtype, enabled, cache_enabled=False):
            gradients = ctx.runner.gradients(ctx.chain, x, context, z, grad_outputs)
        inputs = (x, context, *ctx.parameters)
        return None, None, *(None if tensor is None else gradients.get(tensor) for tensor in inputs)


def _by_inverse(
    chain: Chain, x: Tensor, context: Tensor | None, z: Tensor, grad_z: Tensor, grad_log_det: Tensor
) -> tuple[Gradients, Tensor]:
    """Return the gradients, and the recomputed input."""
    gradients: Gradients = {}
    leaf = None if context is None else context.detach().requires_grad_()
    for bijection in reversed(list(_flat(chain))):
        parts, *outputs = recompute(bijection, z, leaf)
        shared = [*([] if leaf is None else [leaf]), *(p for p in bijection.parameters() if p.requires_grad)]
        terms = _gradients(outputs, [*parts, *shared], [grad_z, grad_log_det])
        grad_z = torch.cat(terms[: len(parts)], dim=1)
        z = torch.cat([part.detach() for part in parts], dim=1)
        for tensor, term in zip(shared, terms[len(parts) :], strict=True):
            key = context if context is not None and tensor is leaf else tensor
            gradients[key] = gradients[key] + term if key in gradients else term
    return {**gradients, x: grad_z}, z


def _by_checkpoints(chain: Chain, x: Tensor, context: Tensor | None, grad_z: Tensor, grad_log_det: Tensor) -> Gradients:
    inputs = [tensor for tensor in (x, context) if tensor is not None]
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    parameters = [parameter for parameter in chain.parameters() if parameter.requires_grad]
    with torch.enable_grad():
        outputs = run_checkpointed(chain, leaves[0], leaves[1] if context is not None else None)
    gradients = _gradients(outputs, [*leaves, *parameters], [grad_z, grad_log_det])
    return dict(zip([*inputs, *parameters], gradients, strict=True))


def _flat(chain: Chain) -> Iterator[Bijection]:
    for bijection in chain.bijections:
        if isinstance(bijection, Chain):
            yield from _flat(bijection)
        else:
            assert isinstance(bijection, Bijection)
            yield bijection


def _gradients(outputs: Sequence[Tensor], inputs: Sequence[Tensor], factors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    # A log-determinant may be constant, and an input may not influence any output.
    pairs = [(output, factor) for output, factor in zip(outputs, factors, strict=True) if output.requires_grad]
    outputs, factors = zip(*pairs, strict=True)
    return torch.autograd.grad(outputs, inputs, factors, allow_unused=True, materialize_grads=True)
