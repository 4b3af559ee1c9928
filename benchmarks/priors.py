"""Which prior to choose: test bits/dim after equal training time, and what a step and a sample cost, on one thread.

    python benchmarks/priors.py                                          # 5 priors x 2 seeds x 300 s
    python benchmarks/priors.py --priors iaf cnf                         # the figures of the others stay

The model is that of configs/CONFIG.yaml, the priors are those of configs/prior/. The time of a step is measured first,
in turns, while nothing else should run; the time of training over it is the number of steps, which other work on the
machine does not change any more. Warm-up and cosine are those of the configuration; what is evaluated are averaged
weights, as in `glow fit`. Writes results/priors_CONFIG.json and the table of docs/priors.md; with --priors, the figures
of the others stay.
"""

import argparse
import json
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from common import RESULTS, plot_bars, write_result, write_table
from torch.optim.swa_utils import AveragedModel

from glow_app.bijections import Bijection, record_solves
from glow_app.data import ImageSet, Split, load_split, train_loader
from glow_app.flows import Glow
from glow_app.models.image_model import ImageModel
from glow_app.seeding import step_generator

ROOT = Path(__file__).parents[1]
PRIORS = ("gaussian", "planar", "maf", "iaf", "cnf")
NUM_SAMPLES = 16


def prior_of(name: str) -> Callable[[tuple[int, int, int], int], Bijection]:
    """Return the prior of an overlay."""
    overlay = yaml.safe_load((ROOT / "configs" / "prior" / f"{name}.yaml").read_text())
    return class_of(overlay["model"]["flow"]["init_args"]["prior"])


def class_of(spec: dict[str, Any]) -> Callable[..., Any]:
    """Return the class that a configuration names, with its arguments."""
    module, _, name = spec["class_path"].rpartition(".")
    return partial(getattr(import_module(module), name), **spec.get("init_args", {}))


def build(name: str, config: dict[str, Any], seed: int) -> ImageModel:
    """Return the untrained model with a prior."""
    torch.manual_seed(seed)
    flow = Glow(**config["model"]["flow"]["init_args"], prior=prior_of(name))
    return ImageModel(flow, config["model"]["num_bits"])


def load(config: dict[str, Any], split: Split, seed: int) -> ImageSet:
    shape = tuple(config["model"]["flow"]["init_args"]["image_shape"])
    return load_split(config["data"]["source"], split, shape, seed=seed)


def steps_of(
    model: ImageModel, images: ImageSet, config: dict[str, Any], num_steps: int, seed: int
) -> Iterator[AveragedModel]:
    """Train for so many steps; yield the averaged model after each."""
    loader = train_loader(images, config["data"]["batch_size"], seed=seed)
    model.initialize(*next(iter(loader)), step_generator(seed, 0, "cpu", "initialize"))
    averaged = AveragedModel(model, avg_fn=_average)
    optimizer = class_of(config["model"]["optimizer"])(model.parameters())
    scheduler = class_of(config["model"]["lr_scheduler"])(optimizer, total_steps=num_steps)
    for step, batch in enumerate(islice(chain.from_iterable(repeat(loader)), num_steps)):
        generator = step_generator(seed, step, "cpu", "train")
        optimizer.zero_grad()
        with record_solves(generator) as solves:
            loss = model(*batch, generator=generator)
        (loss + solves.penalty).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 100.0)
        optimizer.step()
        scheduler.step()
        averaged.update_parameters(model)
        yield averaged


def train(model: ImageModel, images: ImageSet, config: dict[str, Any], num_steps: int, seed: int) -> ImageModel:
    """Train for so many steps; return the averaged model."""
    (averaged,) = deque(steps_of(model, images, config, num_steps, seed), maxlen=1)
    return cast(ImageModel, averaged.module)


def step_times(names: Sequence[str], config: dict[str, Any], num_steps: int = 60) -> dict[str, float]:
    """Return the milliseconds of a training step with each prior: of some that are taken in turns, the lower quartile.

    In turns step by step, so that a slow moment of the machine hits all of them, and low, where there was none.
    """
    images = load(config, "train", 0)
    runs = {name: steps_of(build(name, config, 0), images, config, num_steps, 0) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(num_steps):
        for name, run in runs.items():
            start = time.process_time()
            next(run)
            times[name].append(1000 * (time.process_time() - start))
    return {name: statistics.quantiles(found[5:], n=4)[0] for name, found in times.items()}


def _average(averaged: torch.Tensor, current: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
    decay = min(0.999, (1 + float(count)) / (10 + float(count)))
    return torch.lerp(averaged, current, 1 - decay)


def measure(name: str, config: dict[str, Any], num_steps: int, seed: int) -> dict[str, float]:
    """Train with one prior and one seed, then evaluate and sample."""
    model = train(build(name, config, seed), load(config, "train", seed), config, num_steps, seed).eval()
    test = load(config, "test", seed)
    images, labels = torch.from_numpy(test.images[:2000]), test.labels[:2000]
    generator = step_generator(seed, 0, "cpu", "test")
    with record_solves(generator):
        parts = zip(images.split(100), labels.split(100), strict=True)
        bits = torch.cat([model.bits_per_dim(part, label, 1, generator) for part, label in parts])
    times = []
    for _ in range(5):
        start = time.process_time()
        model.sample(NUM_SAMPLES, 1.0, seed, torch.arange(NUM_SAMPLES) % 10)
        times.append(time.process_time() - start)
    return {
        "bits_per_dim": float(bits.mean()),
        "steps": num_steps,
        "sample_ms": 1000 * min(times) / NUM_SAMPLES,
        "prior_parameters": sum(p.numel() for p in model.flow.prior.parameters()),
    }


def cells(name: str, runs: list[dict[str, float]], gaussian: list[dict[str, float]], step_ms: float) -> list[str]:
    """Return a prior's row of the table."""
    bits = [run["bits_per_dim"] for run in runs]
    differences = [run["bits_per_dim"] - other["bits_per_dim"] for run, other in zip(runs, gaussian, strict=False)]
    spread = f" ± {statistics.stdev(differences):.3f}" if len(differences) > 1 else ""
    difference = f"{statistics.mean(differences):+.3f}{spread}" if name != "gaussian" and differences else ""
    sample = min(run["sample_ms"] for run in runs)
    times = [f"{step_ms:.0f} ms", f"{sample:.1f} ms"]
    return [name, f"{statistics.mean(bits):.3f}", difference, *times, f"{runs[0]['prior_parameters']:,.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="fashion_mnist")
    parser.add_argument("--priors", nargs="*", default=list(PRIORS), choices=PRIORS)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = yaml.safe_load((ROOT / "configs" / f"{arguments.config}.yaml").read_text())
    file = RESULTS / f"priors_{arguments.config}.json"
    settings = {"seconds": arguments.seconds, "seeds": arguments.seeds}
    earlier = json.loads(file.read_text()) if file.exists() else {"arguments": {}}
    if any(earlier["arguments"].get(name) != value for name, value in settings.items()):
        earlier = {"step_ms": {}, "results": {}}  # other settings do not compare
    # What is measured on another day is compared through the Gaussian.
    times = step_times(list(dict.fromkeys(["gaussian", *arguments.priors])), config)
    then = earlier["step_ms"].get("gaussian", times["gaussian"])
    times = {name: value * then / times["gaussian"] for name, value in times.items()}
    print({name: f"{value:.1f} ms" for name, value in times.items()}, flush=True)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in arguments.priors}
    for seed in range(arguments.seeds):
        for name, runs in found.items():
            runs.append(measure(name, config, round(1000 * arguments.seconds / times[name]), seed))
            print(f"seed {seed} {name:<10} {runs[-1]}", flush=True)
    times, results = earlier["step_ms"] | times, earlier["results"] | found
    write_result(file.stem, {"arguments": settings, "step_ms": times, "results": results})
    header = ["prior", "bits/dim", "against the Gaussian", "a training step", "an image", "parameters of the prior"]
    gaussian = results.get("gaussian", [])
    rows = [cells(name, results[name], gaussian, times[name]) for name in PRIORS if name in results]
    write_table(f"priors {arguments.config}", header, rows)
    means = {name: statistics.mean(run["bits_per_dim"] for run in results[name]) for name in PRIORS if name in results}
    plot_bars(file.stem, means, "bits/dim of test images", start=min(means.values()) - 0.02)


if __name__ == "__main__":
    main()
