"""What a process needs where weights are sharded, over the number of processes: the second table of docs/training.md.

    python benchmarks/sharded_memory.py

One process stands for all: its collectives copy its own part instead of waiting for others, so that torch's allocator
sees every byte, of which gloo's threads free some behind its back. The numbers that come out mean nothing, their places
in memory do. Fixed are weights, gradients, Adamax's moments and averages; a step is forward and backward pass.
"""

import argparse
from typing import get_args

import torch
import torch.distributed as dist
from common import write_result, write_table
from torch import Tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from glow_app.flows import Glow
from glow_app.models.image_model import ImageModel
from glow_app.running import Memory
from lightning_modules import sharding
from lightning_modules.estimate.peak_memory import peak_memory

MODES: tuple[Memory, ...] = get_args(Memory)


def copy_own_part(whole: Tensor, part: Tensor) -> None:
    """Stand for the collective that gathers parts."""
    whole.view(-1, part.numel()).copy_(part.view(1, -1).expand(dist.get_world_size(), -1))


def keep_own_part(part: Tensor, whole: Tensor) -> None:
    """Stand for the collective that adds parts."""
    part.copy_(whole[: part.numel()])


def measure(world_size: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Return the fixed bytes, and those of a step in each mode at its peak, of one of ``world_size`` processes."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (arguments.batch_size, 3, 32, 32), dtype=torch.uint8)
    model = ImageModel(Glow((3, 32, 32), 3, arguments.steps, arguments.width))
    model.initialize(images)
    if world_size > 1:
        dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=world_size)
        sharding.shard(model, torch.device("cpu"))
    optimizer = torch.optim.Adamax(model.parameters(), lr=0.0)

    def run() -> None:
        optimizer.zero_grad()
        model(images).mean().backward()

    run()
    optimizer.step()
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    moments = [value for state in optimizer.state.values() for value in state.values()]
    found = {"fixed": 3.0 * weights + sum(tensor.numel() * tensor.element_size() for tensor in moments)}
    for mode in MODES:
        model.set_runners(mode)
        optimizer.zero_grad()
        found[mode] = peak_memory(run) - weights
    if world_size > 1:
        dist.destroy_process_group()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2, 8])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sharding._gather_into, sharding._reduce_scatter_into = copy_own_part, keep_own_part
    results = {}
    for world_size in arguments.processes:
        results[world_size] = measure(world_size, arguments)
        print(world_size, results[world_size], flush=True)
    write_result("sharded_memory", {"arguments": vars(arguments), "results": results})
    rows = [
        [name, *(f"{results[world_size][key] / 1e6:,.0f} MB" for world_size in arguments.processes)]
        for key, name in [("fixed", "fixed"), *((mode, f"a step, `{mode}`") for mode in MODES)]
    ]
    header = ["", *(f"{n} processes" if n > 1 else "not sharded" for n in arguments.processes)]
    write_table("sharded_memory", header, rows, page="training.md")


if __name__ == "__main__":
    main()
