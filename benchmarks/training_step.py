"""How close a training step is to what no Glow can avoid: its conditioners' convolutions, forward and backward.

    python benchmarks/training_step.py
    python benchmarks/training_step.py --width 128 --precision bf16

Both run in turn in one process, same shapes, same memory format (channels last), same threads; the ratio of the
medians is what counts.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from common import describe_machine, write_result
from torch import Tensor

from glow_app.flows import Glow
from glow_app.flows.multiscale import level_shapes
from glow_app.model import ImageModel


def limit(arguments: argparse.Namespace) -> Callable[[], None]:
    """Return a run of all conditioner convolutions, forward and backward, and nothing else."""
    width, layers = arguments.width, []
    for channels, height, side in level_shapes((3, arguments.size, arguments.size), arguments.levels):
        for _ in range(arguments.steps):
            shapes = [(width, channels // 2, 3, 3), (width, width, 1, 1), (channels, width, 3, 3)]
            weights = [_channels_last(0.05 * torch.randn(shape)).requires_grad_() for shape in shapes]
            biases = [torch.zeros(shape[0], requires_grad=True) for shape in shapes]
            x = _channels_last(torch.randn(arguments.batch_size, channels // 2, height, side)).requires_grad_()
            gradient = _channels_last(torch.randn(arguments.batch_size, channels, height, side))
            layers.append((x, weights, biases, gradient))

    def run() -> None:
        outputs = []
        for x, weights, biases, _ in layers:
            with torch.autocast("cpu", torch.bfloat16, enabled=arguments.precision == "bf16"):
                h = x
                for weight, bias in zip(weights, biases, strict=True):
                    h = F.conv2d(h, weight, bias, padding=weight.shape[-1] // 2)
            outputs.append(h)
        torch.autograd.backward(outputs, [layer[3].to(h.dtype) for layer, h in zip(layers, outputs, strict=True)])
        for x, weights, biases, _ in layers:
            for tensor in (x, *weights, *biases):
                tensor.grad = None

    return run


def step(arguments: argparse.Namespace, with_optimizer: bool) -> Callable[[], None]:
    """Return a training step: forward, backward and, if asked, Adamax."""
    shape = (3, arguments.size, arguments.size)
    model = ImageModel(Glow(shape, arguments.levels, arguments.steps, arguments.width))
    images = torch.randint(0, 256, (arguments.batch_size, *shape), dtype=torch.uint8)
    model.initialize(images)
    optimizer = torch.optim.Adamax(model.parameters(), lr=1e-4)

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.precision == "bf16"):
            loss = model(images).mean()
        loss.backward()
        if with_optimizer:
            optimizer.step()
        optimizer.zero_grad()

    return run


def interleaved_medians(runs: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each run, taken in turn so that a slow moment hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 2):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if repeat >= 2:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--levels", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    runs = {
        "convolutions alone": limit(arguments),
        "forward and backward": step(arguments, with_optimizer=False),
        "whole training step": step(arguments, with_optimizer=True),
    }
    seconds = interleaved_medians(runs, arguments.repeats)
    base = seconds["convolutions alone"]
    ratios = {name: value / base for name, value in seconds.items()}
    print(describe_machine())
    for name, value in seconds.items():
        print(f"{name:<22} {1e3 * value:8.1f} ms   {ratios[name]:.3f} of the convolutions")
    name = f"training_step_w{arguments.width}_{arguments.precision}"
    print(write_result(name, {"arguments": vars(arguments), "seconds": seconds, "ratios": ratios}))


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
