"""Compare the priors: test bits/dim after equal training time, and the time of a step and of a sample, on one thread.

    python benchmarks/priors.py                                # 5 priors x 2 seeds x 300 s

The model is that of configs/CONFIG.yaml, the priors are those of configs/prior/. The times of a step are measured
first, in turns; nothing else should run then. They determine the number of training steps, so that later work on the
machine does not change the results. Averaged weights are evaluated, as in `glow fit`.
"""

import argparse
import statistics
import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from common import class_of, interleaved_medians, write_result, write_table
from torch.optim.swa_utils import AveragedModel

from glow_app.bijections import record_solves
from glow_app.data.image_set import ImageSet
from glow_app.data.loader import train_loader
from glow_app.data.sources import load_split
from glow_app.data.splits import Split
from glow_app.models.image_model import ImageModel
from glow_app.seeding import step_generator

CONFIGS = Path(__file__).parents[1] / "configs"
PRIORS = ("gaussian", "planar", "maf", "iaf", "cnf")
NUM_SAMPLES = 16

Config = dict[str, Any]


def build(name: str, config: Config, seed: int) -> ImageModel:
    """Return the untrained model with a prior."""
    torch.manual_seed(seed)
    overlay = yaml.safe_load((CONFIGS / "prior" / f"{name}.yaml").read_text())
    prior = class_of(overlay["model"]["flow"]["init_args"]["prior"])
    return ImageModel(class_of(config["model"]["flow"])(prior=prior), config["model"]["num_bits"])


def load(config: Config, split: Split, seed: int) -> ImageSet:
    shape = tuple(config["model"]["flow"]["init_args"]["image_shape"])
    return load_split(config["data"]["source"], split, shape, seed=seed)


def train(name: str, config: Config, num_steps: int, seed: int) -> Iterator[AveragedModel]:
    """Train for ``num_steps`` steps; yield the averaged model after each."""
    model = build(name, config, seed)
    loader = train_loader(load(config, "train", seed), config["data"]["batch_size"], seed=seed)
    images, labels = next(iter(loader))
    known = model.conditioning.observe
    model.initialize(images, known(images, labels), step_generator(seed, 0, "cpu", "initialize"))
    averaged = AveragedModel(model, avg_fn=_average)
    optimizer = class_of(config["model"]["optimizer"])(model.parameters())
    scheduler = class_of(config["model"]["lr_scheduler"])(optimizer, total_steps=num_steps)
    for step, (images, labels) in enumerate(islice(chain.from_iterable(repeat(loader)), num_steps)):
        generator = step_generator(seed, step, "cpu", "train")
        optimizer.zero_grad()
        with record_solves(generator) as solves:
            loss = model(images, known(images, labels), generator)
        (loss + solves.penalty).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 100.0)
        optimizer.step()
        scheduler.step()
        averaged.update_parameters(model)
        yield averaged


def _average(averaged: torch.Tensor, current: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
    decay = min(0.999, (1 + float(count)) / (10 + float(count)))
    return torch.lerp(averaged, current, 1 - decay)


def step_times(config: Config, num_steps: int = 60) -> dict[str, float]:
    """Return the median milliseconds of a training step with each prior, taken in turns."""
    runs = {name: partial(next, train(name, config, num_steps, 0)) for name in PRIORS}
    seconds = interleaved_medians(runs, num_steps - 5, warm=5, clock=time.process_time)
    return {name: 1000 * value for name, value in seconds.items()}


def measure(name: str, config: Config, num_steps: int, seed: int) -> dict[str, float]:
    """Train with one prior and one seed, then evaluate and sample."""
    (averaged,) = deque(train(name, config, num_steps, seed), maxlen=1)
    model = cast(ImageModel, averaged.module).eval()
    test = load(config, "test", seed)
    images, labels = torch.from_numpy(test.images[:2000]), test.labels[:2000]
    generator = step_generator(seed, 0, "cpu", "test")
    with record_solves(generator):
        parts = zip(images.split(100), labels.split(100), strict=True)
        known = model.conditioning.observe
        bits = torch.cat([model.bits_per_dim(part, known(part, few), 1, generator) for part, few in parts])
    sample = partial(model.sample, NUM_SAMPLES, 1.0, seed)
    seconds = interleaved_medians({name: sample}, repeats=5, clock=time.process_time)[name]
    return {
        "bits_per_dim": float(bits.mean()),
        "steps": num_steps,
        "sample_ms": 1000 * seconds / NUM_SAMPLES,
        "prior_parameters": sum(p.numel() for p in model.flow.prior.parameters()),
    }


def cells(name: str, results: dict[str, list[dict[str, float]]], step_ms: float) -> list[str]:
    """Return a prior's row of the table."""
    runs = results[name]
    bits, gaussian = ([run["bits_per_dim"] for run in results[one]] for one in (name, "gaussian"))
    differences = [one - other for one, other in zip(bits, gaussian, strict=True)]
    spread = f" ± {statistics.stdev(differences):.3f}" if len(differences) > 1 else ""
    difference = f"{statistics.mean(differences):+.3f}{spread}" if name != "gaussian" else ""
    sample = min(run["sample_ms"] for run in runs)
    times = [f"{step_ms:.0f} ms", f"{sample:.1f} ms"]
    return [name, f"{statistics.mean(bits):.3f}", difference, *times, f"{runs[0]['prior_parameters']:,.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="fashion_mnist")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = yaml.safe_load((CONFIGS / f"{arguments.config}.yaml").read_text())
    times = step_times(config)
    results: dict[str, list[dict[str, float]]] = {name: [] for name in PRIORS}
    for seed in range(arguments.seeds):
        for name, runs in results.items():
            runs.append(measure(name, config, round(1000 * arguments.seconds / times[name]), seed))
            print(f"seed {seed} {name:<10} {runs[-1]}", flush=True)
    settings = {"seconds": arguments.seconds, "seeds": arguments.seeds}
    write_result(f"priors_{arguments.config}", {"arguments": settings, "step_ms": times, "results": results})
    header = ["prior", "bits/dim", "relative to the Gaussian", "training step", "sampled image", "prior parameters"]
    rows = [cells(name, results, times[name]) for name in PRIORS]
    write_table(f"priors {arguments.config}", header, rows, "priors.md")


if __name__ == "__main__":
    main()
