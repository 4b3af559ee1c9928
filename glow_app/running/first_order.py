"""Backward passes that have no derivatives of their own."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch


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
