"""Held-out bits/dim over training time: this project's Glow and public implementations, on one thread each.

    python benchmarks/quality.py --source folder --root CIFAR10_FOLDER --shape 3 32 32 --y0ast FOLDER
    python benchmarks/quality.py --seconds 60 --only glow-app normflows

"Same architecture" is that of the others: levels of 8 steps at width 128. The other implementations are trained with
Adamax at 1e-3, which is better in so short a time than the rates in their examples. One of them is also trained with
our recipe, to separate the recipe from the model. The clock is processor time without evaluations, so other work on the
machine changes little. With --only, the results of the others are kept.
"""

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from common import DOCS, IS_SHORT, earlier_results, write_result, write_table
from peers import OURS, Architecture, GlowModel, Ours, add_peer_arguments, peers
from torch import Tensor, nn
from torch.optim import Optimizer

from glow_app.data.image_set import ImageSet
from glow_app.data.sources import load_split
from glow_app.flows import Glow, WaveletFlow
from lightning_modules.optimizers import Muon
from lightning_modules.resumable_data import first_examples, train_loader

LOOKS = (30, 60, 100, 150, 200, 300, 450)  # seconds at which held-out bits/dim are measured
NUM_HELD_OUT, BATCH_SIZE, MAX_NORM = 1000, 32, 100.0


@dataclass(frozen=True)
class Recipe:
    """Settings of a training."""

    optimizer: Callable[..., Optimizer] = torch.optim.Adamax
    lr: float = 1e-3  # the highest
    warmup: int = 200  # steps until the highest learning rate
    decay: float = 0.0  # share of the time, at the end, in which the learning rate falls to 0 along a cosine
    narrow: bool = False  # whether conditioners run in bfloat16

    def lr_at(self, step: int, elapsed: float) -> float:
        """Return the learning rate at a step and an elapsed share of the time."""
        left = 1.0 - elapsed
        falling = 1.0 if left > self.decay else 0.5 - 0.5 * math.cos(math.pi * max(left, 0.0) / self.decay)
        return self.lr * (min(1.0, (step + 1) / self.warmup) * falling)


# The best settings found; see docs/speed.md.
SAME = Recipe(Muon, lr=3e-3, warmup=50, decay=0.5, narrow=True)
BEST = replace(SAME, lr=5e-3)
# The others run in float32, because autocast would run more than their conditioners in bfloat16.
PEER, PEER_BY_OURS = Recipe(), replace(SAME, narrow=False)


def best(architecture: Architecture) -> GlowModel:
    """Return our best architecture: many narrow steps, most of them at high resolution."""
    steps = [12, 8, 4, 4] if architecture.size % 16 == 0 else [12, 8]
    return Ours(architecture, Glow(architecture.shape, len(steps), steps, 48))


def wavelet(architecture: Architecture) -> GlowModel:
    """Return a wavelet flow that takes as long for a step: a Glow of the 8x8 means, and levels of 8 and 6 steps."""
    details = architecture.size.bit_length() - 4
    return Ours(architecture, WaveletFlow(architecture.shape, 2, 4, 48, [8] * (details - 1) + [6], 48, 48, 4))


def contenders(arguments: argparse.Namespace) -> dict[str, tuple[Callable[[Architecture], GlowModel], Recipe]]:
    """Return the model and the recipe of each contender."""
    others = {name: build for name, build in peers(arguments).items() if name != OURS}
    # One of the others is trained with our recipe too, to separate the effects of recipe and model.
    fairest = next((name for name in ("y0ast", "normflows") if name in others), None)
    return {
        f"{OURS}, best": (best, BEST),
        **({f"{OURS}, wavelet": (wavelet, BEST)} if arguments.shape[1] in (16, 32, 64) else {}),
        f"{OURS}, same architecture": (Ours, SAME),
        **{name: (build, PEER) for name, build in others.items()},
        **({f"{fairest}, by our recipe": (others[fairest], PEER_BY_OURS)} if fairest else {}),
    }


def race(model: GlowModel, recipe: Recipe, training: ImageSet, held_out: Tensor, seconds: float) -> dict[str, Any]:
    """Train on one thread for a processor time, and return steps, parameters and the curve of held-out bits/dim."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as `glow fit` does
    torch.manual_seed(0)
    loader = train_loader(training, BATCH_SIZE, seed=0)
    model.initialize(first_examples(loader)[0])
    optimizer = recipe.optimizer(model.parameters(), lr=recipe.lr)
    curve, ahead = [], [*(look for look in LOOKS if look < seconds), seconds]
    spent, step, start = 0.0, 0, time.process_time()
    while ahead:
        for images, _ in loader:
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr_at(step, spent / seconds)
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.narrow):
                loss = model(images).mean()
            loss.backward()
            if bool(nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM).isfinite()):
                optimizer.step()
            step += 1
            spent += time.process_time() - start
            if spent >= ahead[0]:
                curve.append((ahead.pop(0), bits_per_dim(model, held_out, recipe.narrow)))
            start = time.process_time()
            if not ahead:
                break
    return {"curve": curve, "steps": step, "parameters": sum(parameter.numel() for parameter in model.parameters())}


@torch.no_grad()
def bits_per_dim(model: GlowModel, images: Tensor, narrow: bool) -> float:
    """Return the mean bits/dim of one draw, always with the same noise."""
    state: Any = torch.get_rng_state()
    torch.manual_seed(1234)
    model.eval()
    with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
        parts = [model(part).double() for part in images.split(100)]
    model.train()
    torch.set_rng_state(state)
    return float(torch.cat(parts).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="fashion_mnist")
    parser.add_argument("--root", default=None, help="folder of images, or of the data set's files")
    parser.add_argument("--shape", type=int, nargs=3, default=[1, 28, 28])
    add_peer_arguments(parser)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--only", nargs="+", default=[""], help="train only contenders with these prefixes")
    parser.add_argument("--name", default="quality_fashion_mnist")
    parser.add_argument("--float32", action="store_true", help="train in float32, for processors without bfloat16")
    arguments = parser.parse_args()
    shape = cast(tuple[int, int, int], tuple(arguments.shape))
    architecture = Architecture(shape[1], 3 if shape[1] % 8 == 0 else 2, 8, 128, shape[0])
    training = load_split(arguments.source, "train", shape, root=arguments.root)
    validation = load_split(arguments.source, "validation", shape, root=arguments.root, limit=NUM_HELD_OUT)
    held_out = torch.from_numpy(validation.images[:])
    results = earlier_results(arguments.name) if arguments.only != [""] else {}
    for name, (build, recipe) in contenders(arguments).items():
        if name.startswith(tuple(arguments.only)):
            torch.manual_seed(0)
            recipe = replace(recipe, narrow=recipe.narrow and not arguments.float32)
            results[name] = race(build(architecture), recipe, training, held_out, arguments.seconds)
            bits, steps = results[name]["curve"][-1][1], results[name]["steps"]
            print(f"{name:<30} {bits:.3f} after {steps} steps", flush=True)
    options = {key: value for key, value in vars(arguments).items() if key in ("source", "shape", "seconds", "float32")}
    write_result(arguments.name, {"arguments": options, "results": results})
    document(arguments.name, results)


def document(name: str, results: dict[str, dict[str, Any]]) -> None:
    """Write the table and draw the curves."""
    curves = {one: dict(result["curve"]) for one, result in results.items()}
    times = sorted({seconds for curve in curves.values() for seconds in curve})
    header = ["", "parameters", "steps", *(f"{seconds:g} s" for seconds in times)]
    rows = []
    for one, result in sorted(results.items(), key=lambda pair: pair[1]["curve"][-1][1]):
        values = [f"{curves[one][seconds]:.3f}" if seconds in curves[one] else "" for seconds in times]
        rows.append([one, f"{result['parameters']:,}", f"{result['steps']:,}", *values])
    is_documented = name.startswith("quality")
    write_table(name, header, rows, page="speed.md" if is_documented else None)
    if is_documented and not IS_SHORT:
        plot(name, curves)


def plot(name: str, curves: dict[str, dict[float, float]]) -> None:
    """Plot the curves into docs/images/."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5))
    for one, curve in curves.items():
        axes.plot(list(curve), list(curve.values()), marker="o", markersize=3, label=one)
    axes.set_xlabel("seconds of processor time, one thread")
    axes.set_ylabel("held-out bits/dim")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(DOCS / "images" / f"{name}.png", dpi=90)


if __name__ == "__main__":
    main()
