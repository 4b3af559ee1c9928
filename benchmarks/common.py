"""Shared parts of the benchmarks: timing, peak memory, the machine, classifiers, `glow`, results and tables."""

import json
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

# Set by `make bench`: results of such short runs are printed, not kept.
IS_SHORT = "GLOW_BENCH_SHORT" in os.environ
RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs"


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, threads, versions and commit."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "not measured on a GPU",
        "torch": torch.__version__,
        "commit": commit.stdout.strip(),
    }


def interleaved_medians(runs: Mapping[str, Callable[[], object]], repeats: int, warm: int = 2) -> dict[str, float]:
    """Return the median seconds of each run; the runs take turns, so that a slow moment affects all of them."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + warm):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if repeat >= warm:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def peak_memory(run: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """Return the peak bytes of tensors during a call beyond those before it, as counted by torch's allocator."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # otherwise the profiler logs its start and end
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    held = peak = 0
    events = (event for event in record.profiler.kineto_results.events() if event.name() == "[memory]")
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def train_classifier(
    network: nn.Module,
    loss_of: Callable[[Tensor], Tensor],
    num_images: int,
    num_epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
) -> None:
    """Train with AdamW and a one-cycle learning rate; ``loss_of`` returns the loss of the images with some indices.

    Each epoch drops an incomplete last batch, of random images.
    """
    num_batches = num_images // batch_size
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=num_epochs * num_batches)
    network.train()
    for epoch in range(num_epochs):
        total = 0.0
        for rows in torch.randperm(num_images)[: num_batches * batch_size].split(batch_size):
            loss = loss_of(rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() / num_batches
        print(f"epoch {epoch + 1} of {num_epochs}: loss {total:.4f}", flush=True)


def glow(*arguments: str) -> None:
    """Run ``glow`` on one thread; raise CalledProcessError if it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "glow_app", *arguments], env=environment, check=True)


@contextmanager
def serving(checkpoint: str, *options: str, threads: int = 1) -> Iterator[tuple[int, int]]:
    """Run ``glow serve`` on some threads; yield its process number and port."""
    import httpx

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "glow_app", "serve", f"--port={port}", "--checkpoint", checkpoint, *options]
    server = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/healthz")
                break
            except httpx.TransportError:
                assert server.poll() is None
                time.sleep(0.1)
        yield server.pid, port
    finally:
        server.terminate()
        server.wait()


def write_result(name: str, result: Mapping[str, Any]) -> Path:
    """Write the machine and the figures to ``results/NAME.json``, or to a temporary folder in a short run."""
    folder = Path(tempfile.gettempdir()) if IS_SHORT else RESULTS
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"machine": describe_machine(), **result}, indent=2) + "\n")
    return path


def earlier_results(name: str, key: str = "results") -> dict[str, Any]:
    """Return the figures under ``key`` in ``results/NAME.json``, or an empty dictionary if there are none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()).get(key, {}) if path.exists() else {}


def write_table(name: str, header: Sequence[str], rows: Sequence[Sequence[str]], page: str | None) -> None:
    """Print a table and write it into a page of docs/, if any, between the comments with its name."""
    lines = [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
    print(*lines, sep="\n")
    if IS_SHORT or page is None:
        return
    block = "\n".join([f"<!-- {name} -->", *lines, f"<!-- /{name} -->"])
    file = DOCS / page
    text = file.read_text(encoding="utf-8")
    text, count = re.subn(rf"<!-- {name} -->.*<!-- /{name} -->", lambda _: block, text, flags=re.DOTALL)
    assert count == 1, f"{file} has {count} pairs of comments for {name}; expected one"
    file.write_text(text, encoding="utf-8")
