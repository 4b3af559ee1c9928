"""Everything this project promises on a GPU, checked and measured by one command, within 25 minutes on one H100.

    python benchmarks/gpu.py --checkout y0ast=FOLDER --source folder --root FOLDER
    python benchmarks/gpu.py --device cpu --short    # in two minutes, to see that it runs; results are not kept

A part whose result of this card, torch and commit is in results/gpu.json is not run again, so that the command can be
stopped and goes on; --only PART runs that one again. Tables go to docs/gpu.md. All implementations are measured in
turns, and the ratio to the convolutions alone, which no Glow can avoid, tells what is left to gain.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property, partial
from itertools import islice
from typing import Any, get_args

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from common import RESULTS, describe_machine, interleaved_medians, write_result, write_table
from peers import OURS, Architecture, Ours, add_peer_arguments, peers
from racing import Data, Recipe, add_data_arguments, load_data, race
from speed import BF16, COMPILED, LIMIT, bytes_of_a_step, conditioner_layers, convolutions, initialized
from speed import training as training_step
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile

from glow_app.data import train_loader
from glow_app.running import Memory
from lightning_modules.optimizers import Muon

Table = tuple[list[str], list[list[str]]]
Run = Callable[[], object]

BF16_LIMIT = f"{LIMIT}, bf16"


class Bench:
    """What the parts share.

    Args:
        arguments: Of the command line.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.short = arguments, arguments.short
        self.device = torch.device(arguments.device)
        self.is_cuda = self.device.type == "cuda"
        self.builds = peers(arguments)
        # The paper's CIFAR-10 configuration, and the same at 64x64; (architecture, batch).
        steps, width = (2, 16) if self.short else (32, 512)
        self.cases = [(Architecture(32, 3, steps, width), 4 if self.short else 64)]
        self.cases += [] if self.short else [(Architecture(64, 4, steps, width), 16)]

    @cached_property
    def data(self) -> Data:
        """Training images, and held-out ones."""
        return load_data(self.arguments, 100 if self.short else 1000)

    @cached_property
    def rates(self) -> dict[str, float]:
        """Operations per second of a wide 3x3 convolution, by type."""
        width, size, batch = (32, 8, 2) if self.short else (512, 32, 64)
        runs: dict[str, Run] = {}
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.randn(batch, width, size, size, device=self.device, dtype=dtype)
            weight = torch.randn(width, width, 3, 3, device=self.device, dtype=dtype)
            x, weight = (one.contiguous(memory_format=torch.channels_last) for one in (x, weight))
            runs[str(dtype)[6:]] = partial(nn.functional.conv2d, x, weight, padding=1)
        return {name: 2 * batch * (3 * width * size) ** 2 / one for name, one in self.medians(runs).items()}

    def medians(self, runs: dict[str, Run]) -> dict[str, float]:
        """Return the median seconds of each run, the device's work included."""

        def waited(run: Run) -> None:
            run()
            if self.is_cuda:
                torch.cuda.synchronize()

        repeats, warm = (1, 1) if self.short else (9, 3)
        return interleaved_medians({name: partial(waited, run) for name, run in runs.items()}, repeats, warm)


def correctness(bench: Bench) -> tuple[Any, Table]:
    """Run the tests of the marker ``gpu``."""
    which = [] if not bench.short else ["-k", "whitened or memory_mode or resumes"]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *which]
    environment = {**os.environ, "GLOW_GPU_TESTS_ON": str(bench.device)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return {"summary": lines[-1], "failed": failed}, (["tests of the marker `gpu`"], [[lines[-1].strip("= ")]])


def convolution_rate(bench: Bench) -> tuple[Any, Table]:
    """Measure what the card makes of a wide 3x3 convolution."""
    rows = [[name, f"{rate / 1e12:.2f}"] for name, rate in bench.rates.items()]
    return bench.rates, (["", "TFLOP/s"], rows)


def training(bench: Bench) -> tuple[Any, Table]:
    """Measure a training step, ours in several ways, the others', and the convolutions alone."""
    results, rows = [], []
    device = bench.device
    for a, batch in bench.cases:
        runs = {LIMIT: convolutions(a, batch, device=device), BF16_LIMIT: convolutions(a, batch, True, device)}
        runs |= {name: training_step(build, a, batch, device=device) for name, build in bench.builds.items()}
        ours = partial(training_step, Ours, a, batch, True, device=device)
        runs |= {BF16: ours(), f"{BF16}, reversible": ours(memory="reversible")}
        if not bench.short:
            runs[COMPILED] = ours(compiled=True)
        seconds = bench.medians(runs)
        results.append({"size": a.size, "batch": batch, "seconds": seconds})
        operations = (
            3
            * sum(  # forward, and two passes backward
                2 * x.shape[0] * x.shape[2:].numel() * sum(weight.numel() for weight in weights)
                for x, weights, _, _ in conditioner_layers(a, batch)
            )
        )
        for name, value in seconds.items():
            limit, rate = (BF16_LIMIT, "bfloat16") if "bf16" in name else (LIMIT, "float32")
            share = operations / value / bench.rates[rate]
            figures = [f"{batch / value:,.1f}", f"{value / seconds[limit]:.2f}", f"{share:.2f}"]
            rows.append([f"{a.size}x{a.size}", name, *figures])
    return results, (["images", "", "images/s", f"against {LIMIT}", "share of the rate of a convolution"], rows)


def kernels(bench: Bench) -> tuple[Any, Table]:
    """Count what a training step asks of the device: kernels, waits for it, and how busy it is."""
    a, batch = bench.cases[0]
    step = training_step(Ours, a, batch, narrow=True, device=bench.device)
    for _ in range(3):
        step()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if bench.is_cuda else [])]
    with profile(activities=activities) as found:
        start = time.perf_counter()
        step()
        if bench.is_cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    events = found.events() or []
    on_device = [event for event in events if event.device_type == torch.autograd.DeviceType.CUDA]
    waits = [event for event in events if event.name in ("cudaStreamSynchronize", "cudaMemcpyAsync")]
    counts = {
        "operations of torch": sum(event.name.startswith("aten::") for event in events),
        "kernels": len(on_device),
        "waits and copies": len(waits),
        "device busy": sum(event.time_range.elapsed_us() for event in on_device) / 1e6 / seconds,
    }
    return counts, (list(counts), [[f"{value:,.4g}" for value in counts.values()]])


def sampling(bench: Bench) -> tuple[Any, Table]:
    """Measure drawing, with and without CUDA graphs."""
    results, rows = [], []
    for a, _ in bench.cases:
        for count in (1, 4 if bench.short else 64):
            runs: dict[str, Run] = {}
            for name, build in bench.builds.items():
                model, _ = initialized(build, a, 4, bench.device)
                model.prepare()
                runs[name] = torch.inference_mode()(partial(model.sample, count))
                if name == OURS and bench.is_cuda:
                    runs[f"{OURS}, CUDA graph"] = _graphed(model.model, count)
            seconds = bench.medians(runs)
            results.append({"size": a.size, "count": count, "seconds": seconds})
            rows += [
                [f"{a.size}x{a.size}", str(count), name, f"{count / value:,.1f}"] for name, value in seconds.items()
            ]
    return results, (["images", "at a time", "", "images/s"], rows)


def _graphed(model: Any, count: int) -> Run:
    latents = model.base_noise(range(count))
    with torch.no_grad():
        model.fastest_flow.decode(latents)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            model.fastest_flow.decode(latents)

    def run() -> None:
        for latent, noise in zip(latents, model.base_noise(range(count)), strict=True):
            latent.copy_(noise)
        graph.replay()

    return run


def memory(bench: Bench) -> tuple[Any, Table]:
    """Measure what a step needs at its peak in each memory mode."""
    a, batch = bench.cases[0]
    peaks = {mode: bytes_of_a_step(Ours, a, batch, mode, bench.device) for mode in get_args(Memory)}
    rows = [[f"`{mode}`", f"{value / 1e6:,.0f} MB"] for mode, value in peaks.items()]
    return peaks, (["`model.memory`", "peak beyond weights and gradients"], rows)


def loading(bench: Bench) -> tuple[Any, Table]:
    """Measure the training loader with as many workers as cores, and without."""
    training_set, _ = bench.data
    found = {}
    for num_workers in dict.fromkeys((0, 1 if bench.short else min(16, os.cpu_count() or 1))):
        loader = train_loader(training_set, 8 if bench.short else 64, num_workers=num_workers)
        next(iter(loader))
        start, count = time.perf_counter(), 0
        for images, _ in islice(loader, 5 if bench.short else 500):
            count += len(images.to(bench.device))
        found[num_workers] = count / (time.perf_counter() - start)
    return found, (["workers", "images/s"], [[str(workers), f"{rate:,.0f}"] for workers, rate in found.items()])


def processes(bench: Bench) -> tuple[Any, Table]:
    """Compare the gradients of two processes on one card with those of one; by NCCL where there are two cards."""
    is_nccl = bench.is_cuda and torch.cuda.device_count() > 1
    backend = "nccl" if is_nccl else "gloo"
    devices = [f"cuda:{rank}" for rank in range(2)] if is_nccl else [str(bench.device)] * 2
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as scratch:  # a file to meet at, as a port may be taken
        multiprocessing.spawn(_one_of_two, (f"file://{scratch}/store", backend, devices, queue), nprocs=2)
    found = {"backend": backend, "difference": queue.get()}
    return found, (list(found), [[backend, f"{found['difference']:.1e}"]])


def _one_of_two(rank: int, store: str, backend: str, devices: list[str], queue: Any) -> None:
    dist.init_process_group(backend, store, rank=rank, world_size=2)
    device = torch.device(devices[rank])
    torch.manual_seed(0)
    model = Ours(Architecture(8, 2, 2, 8)).double().to(device)
    images = torch.randint(0, 256, (16, 3, 8, 8), dtype=torch.uint8).to(device)
    noise = torch.rand(16, 3, 8, 8, dtype=torch.float64).to(device)
    model.model.flow.initialize((images[rank::2] + noise[rank::2]) / 256 - 0.5)
    with torch.no_grad():  # or the gradients of all but the conditioners' last layers would be zero
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, dtype=torch.float64).to(device))
    y = (images + noise) / 256 - 0.5
    alone = -model.log_prob(y).mean()
    expected = torch.autograd.grad(alone, list(model.parameters()))
    together = DistributedDataParallel(_LogProb(model))
    (-together(y[rank::2]).mean()).backward()
    worst = max(
        float((parameter.grad - one).norm() / one.norm())
        for parameter, one in zip(model.parameters(), expected, strict=True)
        if parameter.grad is not None
    )
    if rank == 0:
        queue.put(worst)
    dist.barrier()  # or one could wait for the other, which has gone
    dist.destroy_process_group()


class _LogProb(nn.Module):
    def __init__(self, model: Ours) -> None:
        super().__init__()
        self.model = model

    def forward(self, y: Tensor) -> Tensor:
        return self.model.log_prob(y)


def curve(bench: Bench) -> tuple[Any, Table]:
    """Train for ten minutes at the paper's configuration, and our small one for as long."""
    small = Architecture(32, 4, [16, 8, 4, 4], 32)
    shape = bench.arguments.shape
    contenders: dict[str, tuple[Architecture, Callable[..., Any], float, int]] = {
        "paper's configuration, Adamax": (bench.cases[0][0], torch.optim.Adamax, 1e-3, 64),
        "16, 8, 4, 4 steps of width 32, Muon": (small, Muon, 5e-3, 64),
    }
    if bench.short:
        contenders = {"digits": (Architecture(shape[1], 2, 2, 8, shape[0]), Muon, 5e-3, 16)}
    budget = 2.0 if bench.short else 600.0

    def clock() -> float:
        if bench.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    results = {}
    for name, (a, optimizer, lr, batch) in contenders.items():
        torch.manual_seed(0)
        recipe = Recipe(optimizer, lr, batch, warmup=50, decay=0.5, narrow=True)
        looks = [budget * share for share in (0.1, 0.25, 0.5)]
        results[name] = asdict(race(Ours(a).to(bench.device), recipe, bench.data, budget, looks, clock=clock))
    times = [seconds for seconds, _ in next(iter(results.values()))["curve"]]
    rows = [[name, f"{one['steps']:,}", *(f"{bits:.3f}" for _, bits in one["curve"])] for name, one in results.items()]
    return results, (["", "steps", *(f"{seconds:g} s" for seconds in times)], rows)


PARTS: dict[str, Callable[[Bench], tuple[Any, Table]]] = {
    one.__name__: one
    for one in (correctness, convolution_rate, training, kernels, sampling, memory, loading, processes, curve)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=None)
    parser.add_argument("--short", action="store_true", help="tiny models, a few steps, results not kept")
    add_data_arguments(parser)
    add_peer_arguments(parser)
    arguments = parser.parse_args()
    if arguments.short:
        arguments.source, arguments.shape = "digits", [1, 8, 8]
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU; expected one, or --device cpu --short to try the script")
    bench, machine = Bench(arguments), describe_machine()
    path = RESULTS / "gpu.json"
    before = json.loads(path.read_text()) if path.exists() and not arguments.short else {}
    done = before.get("parts", {}) if before.get("machine") == machine else {}
    for name in arguments.only or [part for part in PARTS if part not in done]:
        start = time.perf_counter()
        result, table = PARTS[name](bench)
        done[name] = {"seconds": time.perf_counter() - start, "result": result}
        print(f"{name}: {done[name]['seconds']:.0f} s")
        if arguments.short:
            print(json.dumps(result))
            continue
        write_result("gpu", {"parts": done})
        write_table(f"gpu_{name}", *table, page="gpu.md")


if __name__ == "__main__":
    main()
