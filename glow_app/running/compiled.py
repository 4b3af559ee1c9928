"""A level compiled by ``torch.compile`` for training."""

import os
import shutil
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from glow_app.bijections import Chain


def run_compiled(chain: Chain, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """Apply the bijections first to last."""
    return _compiled_chain()(chain, x, context)


@cache
def _compiled_chain() -> Callable[..., tuple[Tensor, Tensor]]:
    # The plain bijections, since the compiler fuses more than the fused runner. One graph per level.
    return torch.compile(Chain.forward, dynamic=False)


def check_compiler(device: torch.device) -> None:
    """Check that there is a C++ compiler, if the device is a CPU.

    Raises:
        ValueError: If there is none.
    """
    compiler = os.environ.get("CXX", "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise ValueError(f"model.compile: there is no C++ compiler {compiler}; install it, or leave the option out")
