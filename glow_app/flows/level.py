"""A level of a multiscale flow."""

from collections.abc import Callable

import torch
from torch import Tensor

from glow_app.bijections import Bijection, Chain
from glow_app.nn.convolutions import inside_torch_func

Runner = Callable[[Chain, Tensor, Tensor | None], tuple[Tensor, Tensor]]


class Level(Chain):
    """The chain of a squeeze and the steps after it, with a runner that evaluates the forward direction in training.

    Args:
        bijections: In the order of the data-to-latent direction.
    Attributes:
        runner: Called, if gradients are enabled, with the level, the input and the context; returns the same as
            :class:`Chain`, up to rounding. ``Chain.forward`` by default, and under transforms of ``torch.func``, which
            other runners do not support; :mod:`glow_app.running` chooses others.
    Shape:
        As the bijections.
    """

    def __init__(self, *bijections: Bijection) -> None:
        super().__init__(*bijections)
        self.runner: Runner = Chain.forward

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the bijections first to last."""
        unfused = not torch.is_grad_enabled() or inside_torch_func()
        return (Chain.forward if unfused else self.runner)(self, x, context)
