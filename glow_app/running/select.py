"""Selects the runner of each level."""

from typing import Literal, get_args

import torch
from torch import nn

from glow_app.bijections import Chain
from glow_app.flows import Level
from glow_app.nn.shape_checks import require_choice
from glow_app.running.checkpointed import run_checkpointed
from glow_app.running.fused import run_fused

Memory = Literal["store", "checkpoint"]


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
        raise ValueError(f"model.compile: needs model.memory store, got {memory}; leave one of the two out")
    # The plain bijections, since the compiler fuses more than the fused runner. One graph per level.
    stored = torch.compile(Chain.forward, dynamic=False) if compiled else run_fused
    for level in (module for module in flow.modules() if isinstance(module, Level)):
        level.runner = stored if memory == "store" else run_checkpointed
