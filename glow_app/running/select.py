"""Selects the runner of each level; the one that keeps only the input of each bijection."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from glow_app.bijections import Chain
from glow_app.flows import Level
from glow_app.nn.shape_checks import require_choice
from glow_app.running.fused import run_fused

Memory = Literal["store", "checkpoint"]


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


def choose_runners(flow: nn.Module, memory: Memory = "store", compiled: bool = False) -> None:
    """Select how the levels of ``flow`` are evaluated in training.

    ==========  ===========================  ==========================================
    memory      kept for the backward pass   run in a training step
    ==========  ===========================  ==========================================
    store       every activation             forward and backward, fused where possible
    checkpoint  the input of each bijection  forward twice, backward
    ==========  ===========================  ==========================================

    Args:
        compiled: Whether to compile the training pass by ``torch.compile``; needs ``memory="store"``.
    Raises:
        ValueError: If ``memory`` is unknown or does not allow compilation.
    """
    require_choice(get_args(Memory), memory=memory)
    if compiled and memory != "store":
        raise ValueError(f"compile needs memory store, got {memory}; leave one of the two out")
    # The plain bijections, since the compiler fuses more than the fused runner. One graph per level.
    stored = torch.compile(Chain.forward, dynamic=False) if compiled else run_fused
    for level in (module for module in flow.modules() if isinstance(module, Level)):
        level.runner = stored if memory == "store" else run_checkpointed
