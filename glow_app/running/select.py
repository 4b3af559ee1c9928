"""The choice of a runner for each level."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from glow_app.bijections import Chain
from glow_app.flows import Level, MultiscaleFlow, Runner
from glow_app.running.checkpointed import run_checkpointed
from glow_app.running.compiled import check_compilation, run_compiled
from glow_app.running.fused import run_fused
from glow_app.running.reversible import ReversibleRunner

__all__ = ["Memory", "TrainingRunner", "choose_runners", "fall_back_together", "images_at_a_time"]

Memory = Literal["store", "checkpoint", "reversible"]

# Most images that a CPU decodes at a time, and numbers in a hidden layer of theirs: fewer images cost more each, and
# with more the activations do not stay in the caches, nor their memory with the process.
CPU_IMAGES, CPU_HIDDEN = 64, 2**21


class TrainingRunner:
    """Evaluates a level plainly where no gradient is wanted, and otherwise by ``training``."""

    def __init__(self, training: Runner) -> None:
        self.training = training

    def __call__(self, chain: Chain, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Apply the bijections first to last."""
        run = self.training if torch.is_grad_enabled() else Chain.forward
        return run(chain, x, context)


def choose_runners(flow: MultiscaleFlow, memory: Memory = "store", compiled: bool = False) -> None:
    """Choose how the levels of ``flow`` are evaluated in training.

    ===========  =====================================================  =============================================
    memory       what is kept for the backward pass                     what a training step runs
    ===========  =====================================================  =============================================
    store        every activation                                       forward and backward, fused where possible
    checkpoint   the input of each bijection                            forward twice, backward
    reversible   input and output of the level, whatever its length     forward, inverse and forward in one, backward
    ===========  =====================================================  =============================================

    Args:
        flow: Keeps the runners; a copy of it copies them.
        memory: What is kept for the backward pass.
        compiled: Whether ``torch.compile`` generates the training pass; with ``memory="store"`` only.
    Raises:
        ValueError: If ``memory`` is none of the three, or the levels cannot be compiled.
    """
    if memory not in get_args(Memory):
        raise ValueError(f"memory is {memory!r}; expected one of {', '.join(get_args(Memory))}")
    if compiled:
        check_compilation(memory)
    for level in flow.levels:
        assert isinstance(level, Level)
        if memory == "store":
            level.runner = TrainingRunner(run_compiled if compiled else run_fused)
        else:
            level.runner = TrainingRunner(run_checkpointed if memory == "checkpoint" else ReversibleRunner())


def fall_back_together(flow: MultiscaleFlow, any_rank: Callable[[bool], bool]) -> None:
    """Let all ranks fall back from reversible backpropagation when one of them does.

    Args:
        flow: Whose parameters the ranks hold together.
        any_rank: Returns whether its argument is true on any rank.
    """
    for level in flow.levels:
        runner = level.runner
        if isinstance(runner, TrainingRunner) and isinstance(runner.training, ReversibleRunner):
            runner.training.any_rank = any_rank


def images_at_a_time(hidden_channels: int, image_shape: tuple[int, int, int]) -> int:
    """Return how many images a CPU decodes at a time by conditioners of a width."""
    _, height, width = image_shape
    return max(1, min(CPU_IMAGES, CPU_HIDDEN // (hidden_channels * (height // 2) * (width // 2))))
