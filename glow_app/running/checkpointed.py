"""The runner that keeps the input of each bijection and recomputes the rest in the backward pass."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from glow_app.bijections import Chain


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
