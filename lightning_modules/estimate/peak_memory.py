"""Measurement of peak memory."""

import os
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile


def peak_memory(run: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """Call ``run`` and return the peak bytes of tensors during the call, minus their bytes before it.

    The numbers are those of torch's allocator, and thus exact and repeatable. They do not include the interpreter,
    libraries' workspaces on a CPU, and fragmentation of a GPU's memory.

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
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # otherwise the profiler logs its start and end
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    events = (event for event in record.profiler.kineto_results.events() if event.name() == "[memory]")
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
