"""Reductions over a batch of which each process may hold a part."""

import torch.distributed as dist
from torch import Tensor


def whole_batch_sum(values: Tensor) -> Tensor:
    """Return the sum over all processes, the same on each to the last bit."""
    return _reduced(values, "SUM")


def whole_batch_max(values: Tensor) -> Tensor:
    """Return the maximum over all processes."""
    return _reduced(values, "MAX")


def _reduced(values: Tensor, operation: str) -> Tensor:
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return values
    total = values.clone()
    dist.all_reduce(total, getattr(dist.ReduceOp, operation))
    # Some reductions may differ in the last bit between processes, so all take the first one's result.
    dist.broadcast(total, src=0)
    return total
