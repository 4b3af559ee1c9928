"""Training step, sampling, encoding and memory against public Glow implementations, and against what no Glow can avoid.

    python benchmarks/speed.py --checkout y0ast=FOLDER
    python benchmarks/speed.py --short --only sampling

What no Glow can avoid are its conditioners' convolutions alone: forward and backward in training, forward in use.
Within a row of the tables all run in turns in one process: same shapes, same threads, warm; the ratio of the medians is
what counts.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from common import describe_machine, interleaved_medians, plot_ratios, write_result, write_table
from peers import OURS, Architecture, GlowModel, add_peer_arguments, peers
from torch import Tensor

from glow_app.flows.multiscale import level_shapes
from glow_app.running import Memory, images_at_a_time
from lightning_modules.estimate.peak_memory import peak_memory

Run = Callable[[], object]
Build = Callable[[Architecture], GlowModel]
Layer = tuple[Tensor, list[Tensor], list[Tensor], Tensor]

CPU = torch.device("cpu")
LIMIT = "convolutions alone"
BF16 = f"{OURS}, bf16"
COMPILED = f"{OURS}, bf16, compiled"

# (width, size, steps a level, batch, threads); the first of each is what --short measures.
TRAINING = [(512, 32, 4, 16, 2), (128, 32, 8, 16, 2), (512, 32, 4, 16, 1), (128, 32, 8, 16, 1), (128, 64, 8, 8, 2)]
SHORT_TRAINING = TRAINING[:2]
# (width, size, steps a level, images, threads)
SAMPLING = [(512, 32, 8, 64, 2), (512, 64, 8, 1, 2), (128, 32, 8, 64, 2), (128, 64, 8, 1, 2), (128, 32, 8, 64, 1)]
SHORT_SAMPLING = SAMPLING[2:4]
MEMORY = [(512, 32, 32, 16, 2)]
SHORT_MEMORY = [(128, 32, 32, 16, 2)]


def conditioner_layers(a: Architecture, batch_size: int, device: torch.device = CPU) -> list[Layer]:
    """Return the input, weights, biases and gradient of the output of each step's conditioner."""

    def laid(x: Tensor) -> Tensor:
        return x.to(device, memory_format=torch.channels_last)

    layers = []
    for channels, height, side in level_shapes(a.shape, a.levels):
        for _ in range(cast(int, a.steps)):
            shapes = [(a.width, channels // 2, 3, 3), (a.width, a.width, 1, 1), (channels, a.width, 3, 3)]
            weights = [laid(0.05 * torch.randn(shape)).requires_grad_() for shape in shapes]
            biases = [torch.zeros(shape[0], device=device, requires_grad=True) for shape in shapes]
            x = laid(torch.randn(batch_size, channels // 2, height, side)).requires_grad_()
            gradient = laid(torch.randn(batch_size, channels, height, side))
            layers.append((x, weights, biases, gradient))

    return layers


def condition(layer: Layer) -> Tensor:
    """Return what the convolutions of a conditioner make of its input."""
    h, weights, biases, _ = layer
    for weight, bias in zip(weights, biases, strict=True):
        h = F.conv2d(h, weight, bias, padding=weight.shape[-1] // 2)
    return h


def convolutions(a: Architecture, batch_size: int, narrow: bool = False, device: torch.device = CPU) -> Run:
    """Return a run of all conditioner convolutions, forward and backward, and nothing else."""
    layers = conditioner_layers(a, batch_size, device)

    def run() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=narrow):
            outputs = [condition(layer) for layer in layers]
        gradients = [layer[3].to(h.dtype) for layer, h in zip(layers, outputs, strict=True)]
        torch.autograd.backward(outputs, gradients)
        for x, weights, biases, _ in layers:
            for tensor in (x, *weights, *biases):
                tensor.grad = None

    return run


def forward_convolutions(a: Architecture, count: int) -> Run:
    """Return a run of all conditioner convolutions forward, a part of the images after another, as we decode."""
    size = min(count, images_at_a_time(a.width, a.shape))
    layers = conditioner_layers(a, size)

    @torch.inference_mode()
    def run() -> None:
        for _ in range(count // size):
            for layer in layers:
                condition(layer)

    return run


def initialized(build: Build, a: Architecture, batch_size: int, device: torch.device = CPU) -> tuple[GlowModel, Tensor]:
    """Return a model with its actnorms set, and the batch that set them."""
    torch.manual_seed(0)
    model = build(a).to(device)
    images = torch.randint(0, 256, (batch_size, *a.shape), dtype=torch.uint8).to(device)
    model.initialize(images)
    return model, images


def training(
    build: Build,
    a: Architecture,
    batch_size: int,
    narrow: bool = False,
    compiled: bool = False,
    memory: Memory = "store",
    device: torch.device = CPU,
) -> Run:
    """Return a training step: forward, backward and Adam."""
    model, images = initialized(build, a, batch_size, device)
    optimizer = model.optimizer(lr=1e-4)
    if compiled:
        model.model.set_runners(compiled=True)  # type: ignore[operator, union-attr]
    if memory != "store":
        model.model.set_runners(memory)  # type: ignore[operator, union-attr]

    def run() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=narrow):
            loss = model(images).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def sampling(build: Build, a: Architecture, count: int) -> Run:
    """Return the drawing of some images."""
    model, _ = initialized(build, a, 16)
    model.prepare()
    return torch.inference_mode()(partial(model.sample, count))


def encoding(build: Build, a: Architecture, count: int) -> Run:
    """Return the encoding of some images, with their bits/dim."""
    model, images = initialized(build, a, count)
    model.prepare()
    return torch.inference_mode()(partial(model, images))


def bytes_of_a_step(
    build: Build, a: Architecture, batch_size: int, memory: Memory = "store", device: torch.device = CPU
) -> int:
    """Return what forward and backward need at their peak beyond parameters and gradients."""
    model, images = initialized(build, a, batch_size, device)
    if memory != "store":
        model.model.set_runners(memory)  # type: ignore[operator, union-attr]

    def run() -> None:
        model(images).mean().backward()

    run()  # the gradients are there from now on
    return peak_memory(run, device)


def measure_training(case: tuple[int, ...], builds: dict[str, Build], repeats: int, compiled: bool) -> dict[str, float]:
    """Return seconds of each."""
    width, size, steps, batch_size, threads = case
    torch.set_num_threads(threads)
    a = Architecture(size, 3, steps, width)
    runs: dict[str, Run] = {LIMIT: convolutions(a, batch_size), f"{LIMIT}, bf16": convolutions(a, batch_size, True)}
    runs |= {name: training(build, a, batch_size) for name, build in builds.items()}
    runs[BF16] = training(builds[OURS], a, batch_size, narrow=True)
    if compiled:
        torch.compiler.reset()  # it keeps the graphs of eight shapes at most
        runs[COMPILED] = training(builds[OURS], a, batch_size, narrow=True, compiled=True)
    return interleaved_medians(runs, repeats)


def measure_inference(kind: str, case: tuple[int, ...], builds: dict[str, Build], repeats: int) -> dict[str, float]:
    """Return seconds of each for sampling or encoding."""
    width, size, steps, count, threads = case
    torch.set_num_threads(threads)
    a = Architecture(size, 3, steps, width)
    make = sampling if kind == "sampling" else encoding
    runs: dict[str, Run] = {LIMIT: forward_convolutions(a, count)}
    runs |= {name: make(build, a, count) for name, build in builds.items()}
    return interleaved_medians(runs, repeats)


def measure_memory(case: tuple[int, ...], builds: dict[str, Build]) -> dict[str, float]:
    """Return bytes of each."""
    width, size, steps, batch_size, threads = case
    torch.set_num_threads(threads)
    a = Architecture(size, 3, steps, width)
    found = {f"{OURS}, reversible": bytes_of_a_step(builds[OURS], a, batch_size, "reversible")}
    found |= {name: bytes_of_a_step(build, a, batch_size) for name, build in builds.items()}
    return {name: float(value) for name, value in found.items()}


def report(kind: str, case: tuple[int, ...], values: dict[str, float], builds: dict[str, Build]) -> dict[str, Any]:
    """Print the values of a case with their ratios to the best peer, and return both."""
    rivals = {name: values[name] for name in builds if name != OURS}
    fastest = min(rivals, key=lambda name: rivals[name])
    width, size, steps, batch_size, threads = case
    title = f"{kind}: width {width}, {size}x{size}, 3x{steps} steps, {batch_size} images, {threads} threads"
    print(title)
    for name, value in values.items():
        shown = f"{value / 1e6:9.1f} MB" if kind == "memory" else f"{1e3 * value:9.1f} ms"
        of_limit = f"   {value / values[LIMIT]:6.2f} of the convolutions" if LIMIT in values else ""
        print(f"  {name:<28} {shown}   {value / rivals[fastest]:6.3f} of {fastest}{of_limit}", flush=True)
    return {"kind": kind, "title": title, "best peer": fastest, "values": values}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = ["training", "sampling", "encoding", "memory"]
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--short", action="store_true", help="fewer cases and repeats, nothing compiled")
    parser.add_argument("--repeats", type=int, default=None)
    parser.add_argument("--name", default="speed", help="of the results and the table")
    add_peer_arguments(parser)
    arguments = parser.parse_args()
    short, builds = arguments.short, peers(arguments)
    repeats = arguments.repeats or (5 if short else 11)
    results = []
    if "training" in arguments.only:
        for case in SHORT_TRAINING if short else TRAINING:
            values = measure_training(case, builds, repeats, compiled=not short)
            results.append(report("training step", case, values, builds))
    for kind in ("sampling", "encoding"):
        if kind in arguments.only:
            for case in SHORT_SAMPLING if short else SAMPLING:
                results.append(report(kind, case, measure_inference(kind, case, builds, repeats), builds))
    if "memory" in arguments.only:
        for case in SHORT_MEMORY if short else MEMORY:
            results.append(report("memory", case, measure_memory(case, builds), builds))
    print(describe_machine())
    if arguments.only == kinds:
        write_result(arguments.name, {"results": results})
        header = ["", OURS, BF16, COMPILED, f"{OURS}, reversible", *list(builds)[1:], LIMIT]
        write_table(arguments.name, header, [_row(result, header[1:]) for result in results], page="speed.md")
        plot_ratios(arguments.name, {result["title"]: _ratios(result) for result in results})


def _ratios(result: dict[str, Any]) -> dict[str, float]:
    return {name: value / result["values"][result["best peer"]] for name, value in result["values"].items()}


def _row(result: dict[str, Any], names: list[str]) -> list[str]:
    ratios = _ratios(result)
    return [result["title"], *(f"{ratios[name]:.2f}" if name in ratios else "" for name in names)]


if __name__ == "__main__":
    main()
