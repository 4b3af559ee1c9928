"""What a training step needs at its peak in the three memory modes, over the depth: the table of docs/training.md.

    python benchmarks/memory.py
    python benchmarks/memory.py --width 128 --batch-size 4

Forward and backward pass of one batch, beyond parameters, gradients and optimiser state, counted by torch's allocator;
the optimiser's own temporaries are measured too and are smaller. Times are those of forward and backward, in turns.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import get_args

import torch
from common import interleaved_medians, write_result, write_table

from glow_app.flows import Glow
from glow_app.models.image_model import ImageModel
from glow_app.running import Memory
from lightning_modules.estimate.peak_memory import peak_memory

MODES: tuple[Memory, ...] = get_args(Memory)


def model_of(num_steps: int, arguments: argparse.Namespace) -> tuple[ImageModel, torch.Tensor]:
    """Return an initialised model and a batch."""
    torch.manual_seed(0)
    shape = (3, arguments.size, arguments.size)
    images = torch.randint(0, 256, (arguments.batch_size, *shape), dtype=torch.uint8)
    model = ImageModel(Glow(shape, arguments.levels, num_steps, arguments.width))
    model.initialize(images)
    return model, images


def measure(num_steps: int, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return peak bytes and seconds of each mode at one depth."""
    model, images = model_of(num_steps, arguments)
    parameters = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())

    def run() -> None:
        model(images).mean().backward()

    found: dict[str, dict[str, float]] = {}
    for mode in MODES:
        model.set_runners(mode)
        model.zero_grad()
        found[mode] = {"bytes": peak_memory(run) - parameters, "parameter_bytes": parameters}
    optimizer = torch.optim.Adamax(model.parameters(), lr=0.0)
    optimizer.step()
    found["optimizer"] = {"bytes": peak_memory(optimizer.step), "parameter_bytes": parameters}
    for name, seconds in timed(model, run, arguments.repeats).items():
        found[name]["seconds"] = seconds
    return found


def timed(model: ImageModel, run: Callable[[], None], repeats: int) -> dict[str, float]:
    """Return the median seconds of each mode, taken in turns."""

    def in_mode(mode: Memory) -> None:
        model.set_runners(mode)
        model.zero_grad()
        run()

    return interleaved_medians({mode: partial(in_mode, mode) for mode in MODES}, repeats, warm=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--levels", type=int, default=3)
    parser.add_argument("--steps", type=int, nargs="*", default=[4, 16, 64])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = {}
    for num_steps in arguments.steps:
        results[num_steps] = measure(num_steps, arguments)
        print(num_steps, results[num_steps], flush=True)
    write_result("memory", {"arguments": vars(arguments), "results": results})
    first, last = (results[num_steps] for num_steps in (arguments.steps[0], arguments.steps[-1]))
    rows = [
        [
            f"`{mode}`",
            *(f"{results[num_steps][mode]['bytes'] / 1e6:,.0f} MB" for num_steps in arguments.steps),
            f"{last[mode]['bytes'] / first[mode]['bytes']:.2f}",
            f"{last[mode]['seconds'] / last['store']['seconds']:.2f}",
        ]
        for mode in MODES
    ]
    depths = [f"{num_steps} steps a level" for num_steps in arguments.steps]
    header = ["`model.memory`", *depths, "growth", "time of the deepest, against `store`"]
    write_table("memory", header, rows, page="training.md")


if __name__ == "__main__":
    main()
