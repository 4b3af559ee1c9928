"""Which prior to choose: test bits/dim after equal processor time, and what a step and a sample cost, on one thread.

    python benchmarks/priors.py                                          # digits: 5 priors x 3 seeds x 60 s
    python benchmarks/priors.py --config fashion_mnist --seconds 300 --seeds 1

The model is that of configs/CONFIG.yaml, the priors are those of configs/prior/. The clock is processor time, so other
work on the machine does not change the comparison. The learning rate follows the same warm-up and cosine, over the
time instead of the steps; what is evaluated are averaged weights, as in `glow fit`. Writes results/priors_CONFIG.json
and the table of docs/priors.md.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import yaml
from common import write_result, write_table
from torch.optim.swa_utils import AveragedModel

from glow_app.bijections import Bijection
from glow_app.data import ImageSet, load_split, train_loader
from glow_app.flows import Glow
from glow_app.model import ImageModel
from glow_app.seeding import step_generator

ROOT = Path(__file__).parents[1]
PRIORS = ("gaussian", "planar", "maf", "iaf", "cnf")
NUM_SAMPLES = 16


def prior_of(name: str) -> Callable[[tuple[int, int, int], int], Bijection]:
    """Return the prior of an overlay."""
    overlay = yaml.safe_load((ROOT / "configs" / "prior" / f"{name}.yaml").read_text())
    spec = overlay["model"]["flow"]["init_args"]["prior"]
    module, _, cls = spec["class_path"].rpartition(".")
    return partial(getattr(import_module(module), cls), **spec.get("init_args", {}))


def train(model: ImageModel, images: ImageSet, config: dict[str, Any], seconds: float, seed: int) -> tuple[Any, int]:
    """Train for so many seconds of processor time; return the averaged model and the number of steps."""
    loader = train_loader(images, config["data"]["batch_size"], seed=seed)
    model.initialize(*next(iter(loader)), step_generator(seed, 0, 0, "cpu", "initialize"))
    averaged = AveragedModel(model, avg_fn=_average)
    lr = config["model"]["optimizer"]["init_args"]["lr"]
    warmup = config["model"]["lr_scheduler"]["init_args"]["warmup_steps"]
    optimizer = torch.optim.Adamax(model.parameters(), lr=lr)
    start, step = time.process_time(), 0
    while True:
        for batch in loader:
            progress = (time.process_time() - start) / seconds
            if progress >= 1:
                return averaged.module, step
            for group in optimizer.param_groups:
                group["lr"] = lr * min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * progress))
            optimizer.zero_grad()
            model(*batch, generator=step_generator(seed, step, 0, "cpu", "train")).mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 100.0)
            optimizer.step()
            averaged.update_parameters(model)
            step += 1


def _average(averaged: torch.Tensor, current: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
    decay = min(0.999, (1 + float(count)) / (10 + float(count)))
    return torch.lerp(averaged, current, 1 - decay)


def measure(name: str, config: dict[str, Any], seconds: float, seed: int) -> dict[str, float]:
    """Train with one prior and one seed, then evaluate and sample."""
    arguments = config["model"]["flow"]["init_args"]
    shape = tuple(arguments["image_shape"])
    train_set, test_set = (load_split(config["data"]["source"], split, shape, seed=seed) for split in ("train", "test"))
    torch.manual_seed(seed)
    model = ImageModel(Glow(**arguments, prior=prior_of(name)), config["model"]["num_bits"])
    averaged, steps = train(model, train_set, config, seconds, seed)
    averaged.eval()
    images, labels = torch.from_numpy(test_set.images[:2000]), test_set.labels[:2000]
    generator = step_generator(seed, 0, 0, "cpu", "test")
    parts = zip(images.split(100), labels.split(100), strict=True)
    bits = torch.cat([averaged.bits_per_dim(part, label, 1, generator) for part, label in parts])
    times = []
    for _ in range(3):
        start = time.process_time()
        averaged.sample(NUM_SAMPLES, 1.0, seed, torch.arange(NUM_SAMPLES) % 10)
        times.append(time.process_time() - start)
    return {
        "bits_per_dim": float(bits.mean()),
        "steps": steps,
        "step_ms": 1000 * seconds / steps,
        "sample_ms": 1000 * min(times) / NUM_SAMPLES,
        "prior_parameters": sum(p.numel() for p in averaged.flow.prior.parameters()),
    }


def cells(name: str, runs: list[dict[str, float]]) -> list[str]:
    """Return a prior's row of the table."""
    bits = [run["bits_per_dim"] for run in runs]
    spread = f" ± {statistics.stdev(bits):.3f}" if len(bits) > 1 else ""
    step, sample = (statistics.median(run[key] for run in runs) for key in ("step_ms", "sample_ms"))
    times = [f"{step:.0f} ms", f"{sample:.1f} ms"]
    return [name, f"{statistics.mean(bits):.3f}{spread}", *times, f"{runs[0]['prior_parameters']:,.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="digits")
    parser.add_argument("--priors", nargs="*", default=list(PRIORS), choices=PRIORS)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = yaml.safe_load((ROOT / "configs" / f"{arguments.config}.yaml").read_text())
    results: dict[str, list[dict[str, float]]] = {name: [] for name in arguments.priors}
    for seed in range(arguments.seeds):
        for name, runs in results.items():
            runs.append(measure(name, config, arguments.seconds, seed))
            print(f"seed {seed} {name:<10} {runs[-1]}", flush=True)
    write_result(f"priors_{arguments.config}", {"arguments": vars(arguments), "results": results})
    header = ["prior", "bits/dim", "a training step", "an image", "parameters of the prior"]
    write_table(f"priors {arguments.config}", header, [cells(name, runs) for name, runs in results.items()])


if __name__ == "__main__":
    main()
