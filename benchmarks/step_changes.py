"""What each change to a training step was predicted to bring, and brings.

    python benchmarks/step_changes.py

The changes begin with a step as one would write it down first and end with the product's. Each is measured against the
one before it, all in turns in one process. The predictions were written down before the measurement, from the profile
(`step_profile.py`), the bytes that are moved and the operations that go.
"""

import argparse
from functools import partial
from typing import NamedTuple

import torch
from common import describe_machine, interleaved_medians, plot_bars, write_result, write_table
from peers import Architecture, Ours
from plain import LaidOutConditioner, PlainConditioner, set_apart
from speed import LIMIT, Build, Run, convolutions, training
from torch.optim import Adam, Optimizer
from variants import Parts

from glow_app.nn import ConvConditioner

BATCH_SIZE = 16
# (width, steps a level, threads)
CASES = [(512, 4, 2), (128, 8, 1)]


class PlainGlow(Ours):
    """This project's Glow, but trained by Adam as it is by default.

    Args:
        architecture: What is built.
        conditioner: Of its couplings.
        apart: Whether the actnorm and the 1x1 convolution of each step are applied one after the other.
    """

    def __init__(self, architecture: Architecture, conditioner: type[ConvConditioner], apart: bool = False) -> None:
        super().__init__(architecture, conditioner=conditioner)
        if apart:
            set_apart(self.model.flow)

    def optimizer(self, lr: float) -> Optimizer:
        """Return Adam, tensor by tensor."""
        return Adam(self.parameters(), lr=lr)


class Change(NamedTuple):
    """A change to the step.

    Args:
        name: In words.
        seen: What was seen before it.
        predicted: The part of the time that is left, for each case.
        build: The model with it and all before it.
        narrow: Whether conditioners are in bfloat16.
        compiled: Whether the compiler makes the levels' code.
    """

    name: str
    seen: str
    predicted: tuple[float, ...]
    build: Build
    narrow: bool = False
    compiled: bool = False


FIRST = "as written down first"
CHANGES = [
    Change(FIRST, "", (1.0, 1.0), partial(PlainGlow, conditioner=PlainConditioner, apart=True)),
    Change(
        "channels of a pixel side by side",
        "convolutions lay their input out anew, those of few channels worst",
        (0.85, 0.80),
        partial(PlainGlow, conditioner=LaidOutConditioner, apart=True),
    ),
    Change(
        "conditioners' actnorms multiplied into their weights",
        "eleven passes over the hidden layers: 1.0 and 0.5 GB",
        (0.85, 0.87),
        partial(PlainGlow, conditioner=Parts, apart=True),
    ),
    Change(
        "actnorm and 1x1 convolution as one matrix product",
        "a convolution of so few channels takes five times as long as the product; a dozen small operations",
        (0.985, 0.955),
        partial(PlainGlow, conditioner=Parts),
    ),
    Change(
        "a step as one node of the graph, the weights of a level together",
        "about 1 ms of small operations for each step, forward and backward",
        (0.97, 0.90),
        partial(PlainGlow, conditioner=ConvConditioner),
    ),
    Change(
        "Adam in one pass",
        "a dozen operations for each of 168 and 336 tensors, which pass over the weights 20 times and not 7",
        (0.95, 0.94),
        Ours,
    ),
    Change(
        "conditioners in bfloat16",
        "the convolutions alone take 0.56 and 0.50 of the time in it",
        (0.62, 0.60),
        Ours,
        narrow=True,
    ),
    Change(
        "compiled, where asked for",
        "half of what is neither convolutions nor Adam",
        (0.93, 0.92),
        Ours,
        narrow=True,
        compiled=True,
    ),
]


def measure(case: tuple[int, int, int], repeats: int) -> dict[str, float]:
    """Return the median seconds of a step after each change, and of its convolutions alone."""
    width, steps, threads = case
    a = Architecture(32, 3, steps, width)
    torch.set_num_threads(threads)
    torch.compiler.reset()  # it keeps the graphs of eight shapes at most
    runs: dict[str, Run] = {
        change.name: training(change.build, a, BATCH_SIZE, change.narrow, change.compiled) for change in CHANGES
    }
    runs |= {LIMIT: convolutions(a, BATCH_SIZE), f"{LIMIT}, bf16": convolutions(a, BATCH_SIZE, narrow=True)}
    return interleaved_medians(runs, repeats)


def row(number: int, times: list[dict[str, float]]) -> list[str]:
    """Return the line of a change in the table."""
    change = CHANGES[number]
    cells = [change.name, change.seen]
    for predicted, found in zip(change.predicted, times, strict=True):
        left = found[change.name] / found[CHANGES[max(0, number - 1)].name]
        cells += ["", f"{1e3 * found[FIRST]:.0f} ms"] if number == 0 else [f"{predicted:.2f}", f"{left:.2f}"]
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    times = [measure(case, repeats) for case in CASES]
    print(describe_machine())
    write_result("step_changes", {"cases": list(zip(CASES, times, strict=True))})
    columns = [f"{word}, width {width}" for width, _, _ in CASES for word in ("predicted", "left")]
    rows = [row(number, times) for number in range(len(CHANGES))]
    write_table("step_changes", ["change", "seen before it", *columns], rows, page="speed.md")
    bars = {name: value / times[1][FIRST] for name, value in times[1].items()}
    plot_bars("step_changes", bars, "time at width 128, first = 1")


if __name__ == "__main__":
    main()
