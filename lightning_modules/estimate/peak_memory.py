"""How much memory a piece of work needs at its peak."""

import os
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile


def peak_memory(run: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """Run something and return the most bytes that tensors held during it, beyond what they held before.

    Counted by torch's allocator, so exact and repeatable: what the interpreter, the libraries' workspaces on a CPU and
    the fragmentation of a GPU's memory take comes on top.

    Raises:
        ValueError: If the device is neither a CPU nor a CUDA device.
    """
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu":
        raise ValueError(f"memory can be measured on cpu and cuda, not on {device.type}")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler reports its own beginning and end
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    events = (event for event in record.profiler.kineto_results.events() if event.name() == "[memory]")
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
