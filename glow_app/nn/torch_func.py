"""Whether a module runs inside a transform of ``torch.func``."""

import torch


def inside_torch_func() -> bool:
    """Return whether ``torch.func.vmap``, ``grad``, ``jacrev`` or the like transforms the current computation.

    They support neither memory formats nor the autograd functions of this project, so both are left out inside.
    """
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()
