"""A server under load, with and without batches across requests: images/s, latency, memory.

    python benchmarks/serving.py [--checkpoint PATH] [--seconds 60] [--clients 64]

Each client asks for one image after another, each of its own seed and class, for so long. Without batches an image is
drawn by itself (`--batch-size 1`); with them, up to 16, whose images are compared with those of `glow sample`.
Writes results/serving.json and the table of docs/serving.md.
"""

import argparse
import asyncio
import base64
import io
import os
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from common import plot_bars, write_result, write_table
from PIL import Image

from glow_app.checkpoint import load_model
from glow_app.generation import sample_batches
from glow_app.model import ImageModel
from glow_app.places import DEFAULT_MODEL


def resident(process: int) -> float:
    """Return megabytes that a process holds."""
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1e3


async def client(address: str, number: int, end: float, found: list[tuple[int, float]]) -> None:
    """Ask until the end."""
    seed = number * 1_000_000
    async with httpx.AsyncClient(base_url=address, timeout=60) as http:
        while (begun := time.perf_counter()) < end:
            answer = await http.post("/v1/sample", json={"seed": seed})
            found.append((answer.status_code, time.perf_counter() - begun))
            assert answer.status_code != 200 or answer.json()["images"][0]["seed"] == seed
            seed += 1


async def load(address: str, clients: int, seconds: float, process: int) -> tuple[list[tuple[int, float]], list[float]]:
    found: list[tuple[int, float]] = []
    held = []
    end = time.perf_counter() + seconds
    tasks = [asyncio.create_task(client(address, number, end, found)) for number in range(clients)]
    while time.perf_counter() < end:
        held.append(resident(process))
        await asyncio.sleep(0.5)
    await asyncio.gather(*tasks)
    return found, held


def check(address: str, model: ImageModel) -> None:
    """Compare images with those of `glow sample`."""
    for seed, expected in sample_batches(model, 16, 0.7, 100):
        answer = httpx.post(f"{address}/v1/sample", json={"seed": seed}, timeout=60).json()
        with Image.open(io.BytesIO(base64.b64decode(answer["images"][0]["image"]))) as picture:
            pixels = np.asarray(picture).reshape(expected.permute(1, 2, 0).shape)
        assert (pixels == expected.permute(1, 2, 0).numpy()).all(), seed


def measure(checkpoint: str, batch_size: int, clients: int, seconds: float) -> dict[str, Any]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = [f"--port={port}", f"--batch-size={batch_size}", f"--max-queue={clients}"]
    command = [sys.executable, "-m", "glow_app.cli", "serve", "--checkpoint", checkpoint, *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "5000"}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                httpx.get(f"{address}/healthz")
                break
            except httpx.TransportError:
                assert server.poll() is None
                time.sleep(0.1)
        if batch_size > 1:
            check(address, load_model(checkpoint))
        before = resident(server.pid)
        found, held = asyncio.run(load(address, clients, seconds, server.pid))
    finally:
        server.terminate()
        server.wait()
    latencies = [latency for status, latency in found if status == 200]
    return {
        "batch_size": batch_size,
        "answers": {str(status): number for status, number in Counter(status for status, _ in found).items()},
        "images_per_second": len(latencies) / seconds,
        "p50_seconds": statistics.median(latencies),
        "p99_seconds": statistics.quantiles(latencies, n=100)[98],
        "megabytes_before": before,
        "megabytes_first_half": max(held[: len(held) // 2]),
        "megabytes_second_half": max(held[len(held) // 2 :]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=DEFAULT_MODEL)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=64)
    arguments = parser.parse_args()
    rows = []
    results = []
    for batch_size in (1, 16):
        one = measure(arguments.checkpoint, batch_size, arguments.clients, arguments.seconds)
        print(one, flush=True)
        results.append(one)
        rate = f"{one['images_per_second']:.0f} ({one['images_per_second'] / results[0]['images_per_second']:.2f})"
        latency = [f"{one[name]:.2f} s" for name in ("p50_seconds", "p99_seconds")]
        memory = f"{one['megabytes_first_half']:.0f}, {one['megabytes_second_half']:.0f} MB"
        answers = ", ".join(f"{number:,} of {status}" for status, number in one["answers"].items())
        rows.append([str(batch_size), rate, *latency, answers, memory])
    settings = {
        "clients": arguments.clients,
        "seconds": arguments.seconds,
        "checkpoint": Path(arguments.checkpoint).name,
    }
    write_result("serving", {**settings, "results": results})
    header = ["images a batch, up to", "images/s (ratio)", "p50", "p99", "answers", "most memory in each half"]
    write_table("serving", header, rows, page="serving.md")
    rates = {f"batches of up to {one['batch_size']}": one["images_per_second"] for one in results}
    plot_bars("serving", rates, "images/s")


if __name__ == "__main__":
    main()
