"""Where the time of a training step goes.

    python benchmarks/step_profile.py

The clock is read around the functions that make the step up, whose order the table follows.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from common import describe_machine, write_result, write_table
from peers import Architecture, Ours
from speed import training
from step_changes import BATCH_SIZE, CASES
from torch.optim import Adam

from glow_app.running import fused

# Where a function is found, its name there, and its row. What is in a row whose name begins as another's is taken off
# that one.
TIMED: list[tuple[Any, str, str]] = [
    (fused, "step_weights", "matrices, and weights in the conditioners' type, forward"),
    (fused, "step_pass", "couplings, forward"),
    (fused, "mix", "couplings, forward: pixelwise maps"),
    (fused, "condition", "couplings, forward: convolutions and ReLUs"),
    (fused._StepPass, "backward", "couplings and pixelwise maps, backward"),
    (fused, "_convolution_backward", "couplings and pixelwise maps, backward: convolutions"),
    (fused, "_relu_backward", "couplings and pixelwise maps, backward: ReLUs"),
    (Adam, "step", "Adam"),
]
REST = "matrices and weights, backward; split priors, dequantisation, likelihood"
WARM = 3


def profile(case: tuple[int, int, int], narrow: bool, repeats: int) -> dict[str, float]:
    """Return the median seconds of each row."""
    width, steps, threads = case
    torch.set_num_threads(threads)
    run = training(Ours, Architecture(32, 3, steps, width), BATCH_SIZE, narrow)
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(repeats + WARM):
        with timed() as seconds:
            start = time.perf_counter()
            run()
            whole = time.perf_counter() - start
        parts = {name: seconds[name] - within(name, seconds) for _, _, name in TIMED}
        for name, value in (parts | {REST: whole - sum(parts.values())}).items():
            found[name].append(value)
    return {name: statistics.median(values[WARM:]) for name, values in found.items()}


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Give the seconds of each row, which are counted meanwhile."""
    seconds: dict[str, float] = defaultdict(float)

    def with_clock(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments, **options)
            seconds[name] += time.perf_counter() - start
            return result

        return call

    with ExitStack() as patches:
        for place, name, row in TIMED:
            function: Any = with_clock(getattr(place, name), row)
            is_static = isinstance(vars(place).get(name), staticmethod)
            patches.enter_context(mock.patch.object(place, name, staticmethod(function) if is_static else function))
        yield seconds


def within(name: str, seconds: dict[str, float]) -> float:
    """Return what a row has of others' seconds."""
    return sum(value for part, value in seconds.items() if part.startswith(f"{name}: "))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=25)
    repeats = parser.parse_args().repeats
    found = {}
    for case in CASES:
        width, _, threads = case
        for kind in ("float32", "bfloat16"):
            found[f"width {width}, {kind}, {threads} threads"] = profile(case, kind == "bfloat16", repeats)
    print(describe_machine())
    write_result("step_profile", {"cases": found})
    names = next(iter(found.values()))
    rows = [[name, *(f"{1e3 * one[name]:.1f} ms" for one in found.values())] for name in names]
    total = ["together", *(f"{1e3 * sum(one.values()):.1f} ms" for one in found.values())]
    write_table("step_profile", ["", *found], [*rows, total], page="speed.md")


if __name__ == "__main__":
    main()
