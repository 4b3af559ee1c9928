"""Peak memory of a training step in the three memory modes, by depth: the table of docs/training.md.

    python benchmarks/memory.py
    python benchmarks/memory.py --width 128 --batch-size 4

Measures forward and backward pass of one batch, beyond parameters, gradients and optimiser state, as counted by
torch's allocator. The times are those of forward and backward pass; the modes take turns.
"""

import argparse
from functools import partial
from typing import get_args

import torch
from common import interleaved_medians, peak_memory, write_result, write_table

from glow_app.flows import Glow
from glow_app.models.image_model import ImageModel
from glow_app.running import Memory

MODES: tuple[Memory, ...] = get_args(Memory)


def measure(num_steps: int, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return peak bytes and seconds of each mode at one depth."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (arguments.batch_size, 3, 32, 32), dtype=torch.uint8)
    model = ImageModel(Glow((3, 32, 32), 3, num_steps, arguments.width))
    model.initialize(images)
    parameter_bytes = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())

    def run(mode: Memory) -> None:
        model.set_runners(mode)
        model.zero_grad()
        model(images).mean().backward()

    seconds = interleaved_medians({mode: partial(run, mode) for mode in MODES}, repeats=3, warm=1)
    found: dict[str, dict[str, float]] = {}
    for mode in MODES:
        model.zero_grad()
        found[mode] = {"bytes": peak_memory(partial(run, mode)) - parameter_bytes, "seconds": seconds[mode]}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--steps", type=int, nargs="*", default=[4, 16, 64])
    parser.add_argument("--batch-size", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = {num_steps: measure(num_steps, arguments) for num_steps in arguments.steps}
    write_result("memory", {"arguments": vars(arguments), "results": results})
    first, last = results[arguments.steps[0]], results[arguments.steps[-1]]
    rows = [
        [
            f"`{mode}`",
            *(f"{found[mode]['bytes'] / 1e6:,.0f} MB" for found in results.values()),
            f"{last[mode]['bytes'] / first[mode]['bytes']:.2f}",
            f"{last[mode]['seconds'] / last['store']['seconds']:.2f}",
        ]
        for mode in MODES
    ]
    depths = [f"{num_steps} steps per level" for num_steps in results]
    header = ["`model.memory`", *depths, "growth", "time at the largest depth, relative to `store`"]
    write_table("memory", header, rows, page="training.md")


if __name__ == "__main__":
    main()
