"""Optimisers that torch does not provide."""

from collections.abc import Callable, Iterable
from itertools import groupby
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Adam, Optimizer

__all__ = ["Muon"]

# From the published code; they bring singular values above about 0.002 of the norm to between 0.68 and 1.2.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NUM_ITERATIONS = 5

# Smallest norm by which an update is divided, as in the published code. The gradients of a dead conditioner are zero,
# and the decaying values in its momentum buffer must not be scaled up to full steps.
TINY_NORM = 1e-7

# The root mean square of Adam's steps, in units of the learning rate.
SIZE = 0.2


class Muon(Optimizer):
    r"""Muon for convolution kernels and Adam for all other parameters.

    .. math:: m_t = \mu\, m_{t-1} + (1 - \mu)\, g_t, \qquad u_t = \mu\, m_t + (1 - \mu)\, g_t, \qquad
              w_t = (1 - \eta \lambda)\, w_{t-1} - 0.2\,\eta \sqrt{\max(a, b)}\; U V^\top
              \quad\text{with}\quad u_t = U \Sigma V^\top

    A kernel of shape (out, in, k, k) is a matrix of a = out rows and b = in k k columns. Few directions dominate its
    gradients and Adam's steps. Muon sets all singular values of a step to about 1; see :func:`orthogonalised`.
    The factor makes steps about as large as Adam's, so one learning rate serves both. Only decay limits the growth of
    kernels. ``torch.optim.Muon`` accepts only matrices and updates them one by one. This class batches the kernels of
    equal shape, of which Glow has many.

    Args:
        params: Parameters; those with four dimensions are kernels.
        lr: Learning rate :math:`\eta` of both.
        betas: Adam's coefficients of the running averages; torch's default is (0.9, 0.999).
        eps: Adam's term in the denominator.
        momentum: Momentum :math:`\mu` of the kernels.
        kernel_decay: Weight decay :math:`\lambda` of the kernels.
        fused: Whether to use the fused implementation of Adam.
    References:
        Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks; the size of a step: Liu et al.
        2025, Muon is scalable for LLM training, arXiv:2502.16982.
    """

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        momentum: float = 0.95,
        kernel_decay: float = 0.3,
        fused: bool = True,
    ) -> None:
        params = list(params)
        kernels = [parameter for parameter in params if parameter.ndim == 4]
        others = [parameter for parameter in params if parameter.ndim != 4]
        adam_groups = Adam([{"params": others}], lr, betas, eps, fused=fused).param_groups
        # Not "weight_decay": a command line that replaces Adam by this class keeps the values of equally named options.
        kernel_group = {"params": kernels, "kernel_decay": kernel_decay}
        super().__init__([*adam_groups, kernel_group], {"lr": lr, "momentum": momentum})
        self._share_with_adam()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform one optimisation step; skip parameters without a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._adam.step()
        group = self.param_groups[1]
        kernels = [parameter for parameter in group["params"] if parameter.grad is not None]
        shape = attrgetter("shape")
        for _, same_shape in groupby(sorted(kernels, key=shape), shape):
            self._step_batch(list(same_shape), group["lr"], group["momentum"], group["kernel_decay"])
        return loss

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share_with_adam()

    def _share_with_adam(self) -> None:
        # Adam shares this optimiser's group and state, so that they are saved, scheduled and loaded here.
        self._adam = Adam(self.param_groups[:1])
        self._adam.state = self.state

    def _step_batch(self, kernels: list[Tensor], lr: float, momentum: float, kernel_decay: float) -> None:
        """Update kernels of equal shape in a batch."""
        grads: Any = [kernel.grad for kernel in kernels]
        for kernel in kernels:
            if not self.state[kernel]:
                self.state[kernel]["momentum_buffer"] = torch.zeros_like(kernel)
        buffers = [self.state[kernel]["momentum_buffer"] for kernel in kernels]
        torch._foreach_lerp_(buffers, grads, 1.0 - momentum)
        updates = torch.stack(torch._foreach_lerp(grads, buffers, momentum)).flatten(2)
        size = SIZE * max(updates.shape[1:]) ** 0.5
        steps = orthogonalised(updates).unflatten(2, kernels[0].shape[1:]).unbind()
        torch._foreach_mul_(kernels, 1.0 - lr * kernel_decay)
        torch._foreach_add_(kernels, steps, alpha=-lr * size)


def orthogonalised(matrices: Tensor) -> Tensor:
    r"""Return about :math:`U V^\top` of matrices :math:`U \Sigma V^\top`, by Newton-Schulz iterations.

    .. math:: X_0 = A / \lVert A \rVert_F, \qquad
              X_{i+1} = a X_i + b\, (X_i X_i^\top) X_i + c\, (X_i X_i^\top)^2 X_i

    Shape:
        matrices: (K, rows, columns).
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonalised(matrices.mT).mT
    a, b, c = COEFFICIENTS
    x = matrices / matrices.flatten(1).norm(dim=1).clamp_min(TINY_NORM)[:, None, None]
    for _ in range(NUM_ITERATIONS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x
