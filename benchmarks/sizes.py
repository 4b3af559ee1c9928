"""Time and memory of a training step by the size of the images, of a wavelet flow and of a Glow.

    python benchmarks/sizes.py

Both have affine couplings of width 48 and Gaussian priors. The wavelet flow has the 8x8 means and levels of 8 steps (6
the coarsest) above them, of which training sees windows of 16x16 details; the Glow has levels of 12, 8 and then 4 steps
down to 2x2 pixels, as in ``configs/cifar10_cpu.yaml``. Time is that of the processor, on one thread with networks in
bfloat16, for each of 16 images (of the Glow, fewer from 512x512 on); memory is what a step takes for one more image.
"""

import time
from functools import partial
from typing import Any

import torch
from common import IS_SHORT, peak_memory, write_result, write_table

from glow_app.flows import Glow, WaveletFlow
from glow_app.models.image_model import ImageModel
from lightning_modules.optimizers import Muon

SIZES = (32, 64) if IS_SHORT else (32, 64, 128, 256, 512, 1024)
BATCH_SIZE, NUM_STEPS = 16, 3
GLOW_PIXELS = 2**20  # at most, in a batch of the Glow, whose memory grows with them


def wavelet(size: int) -> WaveletFlow:
    """Return a wavelet flow of square images."""
    num_details = size.bit_length() - 4
    return WaveletFlow((3, size, size), 2, 4, 48, [8] * (num_details - 1) + [6], 48, 48, 4)


def glow(size: int) -> Glow:
    """Return a Glow of square images."""
    steps = [12, 8, *[4] * (size.bit_length() - 4)]
    return Glow((3, size, size), len(steps), steps, 48)


def measure(flow: Glow | WaveletFlow, batch_size: int) -> dict[str, Any]:
    """Return the seconds of a step for each image, the bytes that each image adds, and the number of parameters."""
    model = ImageModel(flow, 5)
    images = torch.randint(0, 256, (max(2, batch_size), *flow.image_shape), dtype=torch.uint8)
    model.initialize(images)
    model.set_runners()
    optimizer = Muon(model.parameters(), lr=1e-3)

    def step(num: int) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(images[:num]).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)

    step(1)
    times = []
    for _ in range(NUM_STEPS):
        start = time.process_time()
        step(batch_size)
        times.append(time.process_time() - start)
    few = max(1, batch_size // 2)
    peaks = [peak_memory(partial(step, num)) for num in (few, 2 * few)]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"seconds": min(times) / batch_size, "bytes": (peaks[1] - peaks[0]) / few, "parameters": parameters}


def main() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    results: dict[int, dict[str, Any]] = {}
    for size in SIZES:
        of_glow = max(1, min(BATCH_SIZE, GLOW_PIXELS // size**2))
        results[size] = {"wavelet flow": measure(wavelet(size), BATCH_SIZE), "Glow": measure(glow(size), of_glow)}
        print(size, results[size], flush=True)
    write_result("sizes", {"batch_size": BATCH_SIZE, "results": results})
    rows = [
        [
            f"{size}x{size}",
            *(f"{1000 * one['seconds']:,.0f} ms" for one in kinds.values()),
            *(f"{one['bytes'] / 1e6:,.1f} MB" for one in kinds.values()),
            *(f"{one['parameters'] / 1e6:.2f}M" for one in kinds.values()),
        ]
        for size, kinds in results.items()
    ]
    names = [f"{what}, {kind}" for what in ("time", "memory", "parameters") for kind in ("wavelet flow", "Glow")]
    write_table("sizes", ["image", *names], rows, page="presets.md")


if __name__ == "__main__":
    main()
