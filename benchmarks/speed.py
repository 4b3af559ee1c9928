"""Time and memory of training, sampling and encoding, compared with public Glow implementations and the physical limit.

    python benchmarks/speed.py --y0ast FOLDER
    python benchmarks/speed.py --only sampling
    python benchmarks/speed.py --device cuda

The physical limit of training is the time of the conditioners' convolutions alone, forward and backward. The entries of
a table row are measured in turns in one process, with the same shapes and threads, after a warm-up; compare the ratios
of their medians. Results are kept only if all cases were run on a CPU, with other implementations. `make bench` runs
fewer, without compilation.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from common import IS_SHORT, describe_machine, interleaved_medians, peak_memory, write_result, write_table
from peers import OURS, Architecture, GlowModel, add_peer_arguments, peers
from torch import Tensor

from glow_app.flows.glow import level_shapes
from glow_app.messages import pluralise

Run = Callable[[], object]
Build = Callable[[Architecture], GlowModel]

LIMIT = "convolutions alone"
BF16, COMPILED, CHECKPOINT = f"{OURS}, bf16", f"{OURS}, bf16, compiled", f"{OURS}, checkpoint"


class Case(NamedTuple):
    """One row of the table; the models have three levels of ``steps`` steps."""

    kind: str
    width: int
    size: int
    steps: int
    images: int
    threads: int
    is_short: bool = False

    @property
    def architecture(self) -> Architecture:
        """The architecture of the models."""
        return Architecture(self.size, 3, self.steps, self.width)

    @property
    def title(self) -> str:
        """The name of the row."""
        load = f"{pluralise(self.images, 'image')}, {pluralise(self.threads, 'thread')}"
        return f"{self.kind}: width {self.width}, {self.size}x{self.size}, 3x{self.steps} steps, {load}"


CASES = [
    Case("training step", 512, 32, 4, 16, 2, is_short=True),
    Case("training step", 128, 32, 8, 16, 2, is_short=True),
    Case("training step", 128, 32, 8, 16, 1),
    Case("training step", 128, 64, 8, 8, 2),
    Case("sampling", 512, 32, 8, 64, 2),
    Case("sampling", 128, 32, 8, 64, 2, is_short=True),
    Case("sampling", 128, 64, 8, 1, 2, is_short=True),
    Case("encoding", 512, 32, 8, 64, 2),
    Case("encoding", 128, 32, 8, 64, 2, is_short=True),
    Case("encoding", 128, 64, 8, 1, 2),
    Case("memory", 512, 32, 32, 16, 2),
]


class Bench:
    """Measures cases on one device."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.builds: dict[str, Build] = peers(arguments)
        self.device = torch.device(arguments.device)
        self.repeats = 5 if IS_SHORT else 11

    def measure(self, case: Case) -> dict[str, float]:
        """Return the seconds or bytes of each implementation."""
        torch.set_num_threads(case.threads)
        if case.kind == "training step":
            return interleaved_medians(self.training_steps(case), self.repeats)
        if case.kind == "memory":
            sizes = {name: self.bytes_of_a_step(build, case) for name, build in self.builds.items()}
            return sizes | {CHECKPOINT: self.bytes_of_a_step(self.builds[OURS], case, memory="checkpoint")}
        runs: dict[str, Run] = {}
        for name, build in self.builds.items():
            model, images = self.initialized(build, case)
            model.prepare()
            run = partial(model.sample, case.images) if case.kind == "sampling" else partial(model, images)
            runs[name] = torch.inference_mode()(run)
        return interleaved_medians(runs, self.repeats)

    def training_steps(self, case: Case) -> dict[str, Run]:
        """Return the training step of each implementation, and the convolutions alone."""
        runs = {LIMIT: self.convolutions(case)}
        runs |= {name: self.training_step(build, case) for name, build in self.builds.items()}
        runs[BF16] = self.training_step(self.builds[OURS], case, narrow=True)
        if not IS_SHORT:
            torch.compiler.reset()  # the compiler keeps graphs for at most eight shapes
            runs[COMPILED] = self.training_step(self.builds[OURS], case, narrow=True, compiled=True)
        return runs

    def initialized(self, build: Build, case: Case, **runners: Any) -> tuple[GlowModel, Tensor]:
        """Return an initialised model, and a batch of images."""
        torch.manual_seed(0)
        a = case.architecture
        model = build(a).to(self.device)
        images = torch.randint(0, 256, (case.images, *a.shape), dtype=torch.uint8).to(self.device)
        model.initialize(images if case.images > 1 else images.expand(16, *a.shape))
        if runners:
            model.model.set_runners(**runners)  # type: ignore[operator, union-attr]
        return model, images

    def training_step(self, build: Build, case: Case, narrow: bool = False, **runners: Any) -> Run:
        """Return a training step: forward, backward and Adam."""
        model, images = self.initialized(build, case, **runners)
        optimizer = model.optimizer(lr=1e-4)

        def run() -> None:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=narrow):
                loss = model(images).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return run

    def bytes_of_a_step(self, build: Build, case: Case, **runners: Any) -> float:
        """Return the peak bytes of forward and backward pass beyond parameters and gradients."""
        model, images = self.initialized(build, case, **runners)

        def run() -> None:
            model(images).mean().backward()

        run()  # allocates the gradients
        return float(peak_memory(run, self.device))

    def convolutions(self, case: Case) -> Run:
        """Return a run of all conditioner convolutions alone, forward and backward."""

        def laid(*shape: int) -> Tensor:
            return torch.randn(shape).to(self.device, memory_format=torch.channels_last)

        width, layers = case.width, []
        for channels, height, side in level_shapes(case.architecture.shape, 3):
            for _ in range(case.steps):
                shapes = [(width, channels // 2, 3, 3), (width, width, 1, 1), (channels, width, 3, 3)]
                weights = [(0.05 * laid(*shape)).requires_grad_() for shape in shapes]
                biases = [torch.zeros(shape[0], device=self.device, requires_grad=True) for shape in shapes]
                x = laid(case.images, channels // 2, height, side).requires_grad_()
                layers.append((x, weights, biases, laid(case.images, channels, height, side)))

        def run() -> None:
            outputs = [condition(x, weights, biases) for x, weights, biases, _ in layers]
            torch.autograd.backward(outputs, [gradient for *_, gradient in layers])
            for x, weights, biases, _ in layers:
                for tensor in (x, *weights, *biases):
                    tensor.grad = None

        return run


def condition(h: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
    """Return the output of a conditioner's convolutions."""
    for weight, bias in zip(weights, biases, strict=True):
        h = F.conv2d(h, weight, bias, padding=weight.shape[-1] // 2)
    return h


def ratios(case: Case, values: dict[str, float], builds: dict[str, Build]) -> dict[str, float]:
    """Return the ratios of the values to the best of the other implementations, or to ours, and print them."""
    best = min(list(builds)[1:] or [OURS], key=lambda name: values[name])
    relative = {name: value / values[best] for name, value in values.items()}
    print(case.title)
    for name, value in values.items():
        shown = f"{value / 1e6:9.1f} MB" if case.kind == "memory" else f"{1e3 * value:9.1f} ms"
        print(f"  {name:<28} {shown}   {relative[name]:6.3f} of {best}", flush=True)
    return relative


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = sorted({case.kind for case in CASES})
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--device", default="cpu")
    add_peer_arguments(parser)
    arguments = parser.parse_args()
    bench = Bench(arguments)
    results, rows = [], []
    header = ["", OURS, BF16, COMPILED, CHECKPOINT, *list(bench.builds)[1:], LIMIT]
    for case in CASES:
        if case.kind in arguments.only and (case.is_short or not IS_SHORT):
            values = bench.measure(case)
            relative = ratios(case, values, bench.builds)
            results.append({"title": case.title, "values": values})
            rows.append([case.title, *(f"{relative[name]:.2f}" if name in relative else "" for name in header[1:])])
    print(describe_machine())
    if len(results) == len(CASES) and arguments.device == "cpu" and len(bench.builds) > 1:
        write_result("speed", {"results": results})
        write_table("speed", header, rows, page="speed.md")


if __name__ == "__main__":
    main()
