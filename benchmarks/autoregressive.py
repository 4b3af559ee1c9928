"""What sampling from a masked autoregressive flow costs: value by value, against a whole pass for each value.

    python benchmarks/autoregressive.py

The sizes are the last latents of the shipped configurations: digits, Fashion-MNIST, CIFAR-10, folder. One thread,
processor time, a batch of 16, float32, one layer of width 64 with one residual block. Writes
results/autoregressive.json and the table of docs/priors.md.
"""

import time
from collections.abc import Callable

import torch
from common import write_result, write_table
from torch import Tensor

from glow_app.bijections import MaskedAutoregressive

SIZES = (32, 392, 768, 1536)
BATCH = 16


def milliseconds(function: Callable[[], object], repeats: int) -> float:
    function()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return 1000 * min(times)


@torch.no_grad()
def by_whole_passes(flow: MaskedAutoregressive, z: Tensor) -> Tensor:
    """Invert the plain way: after each pass one more value is right."""
    x = torch.zeros_like(z)
    for index in range(flow.num_features):
        parameters = flow.network(x[:, flow.order])
        x[:, index] = flow.elementwise.inverse(z, parameters)[0][:, index]
    return x


def training_step(flow: MaskedAutoregressive, z: Tensor) -> None:
    x, log_det = flow.inverse(z)
    (x.square().sum() - log_det.sum()).backward()


def cells(row: dict[str, float]) -> list[str]:
    times = [f"{row['pass']:.2f} ms", f"{row['inverse']:.1f} ms", f"{row['inverse_by_passes']:.0f} ms"]
    return [f"{row['D']:.0f}", *times, f"{row['inverse_by_passes'] / row['inverse']:.1f}", f"{row['iaf_step']:.0f} ms"]


def main() -> None:
    torch.set_num_threads(1)
    results: list[dict[str, float]] = []
    for size in SIZES:
        torch.manual_seed(0)
        flow = MaskedAutoregressive(size, 64)
        torch.nn.init.normal_(flow.network.last.weight, std=0.05)
        z = torch.randn(BATCH, size)
        with torch.no_grad():
            assert torch.allclose(flow.inverse(z)[0], by_whole_passes(flow, z), atol=1e-3)
            one = milliseconds(lambda flow=flow, z=z: flow(z), 20)  # type: ignore[misc]
            new = milliseconds(lambda flow=flow, z=z: flow.inverse(z), 5)  # type: ignore[misc]
            old = milliseconds(lambda flow=flow, z=z: by_whole_passes(flow, z), 2)  # type: ignore[misc]
        gradient = milliseconds(lambda flow=flow, z=z: training_step(flow, z), 3)  # type: ignore[misc]
        figures = {"D": size, "pass": one, "inverse": new, "inverse_by_passes": old, "iaf_step": gradient}
        results.append({key: round(value, 2) for key, value in figures.items()})
        print(results[-1], flush=True)
    write_result("autoregressive", {"batch": BATCH, "results": results})
    header = ["D", "density of MAF", "sampling of MAF", "by whole passes", "ratio", "training step of IAF"]
    write_table("autoregressive", header, [cells(row) for row in results])


if __name__ == "__main__":
    main()
