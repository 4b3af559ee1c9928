"""Held-out bits/dim over training time: this project's Glow and public implementations, on one thread each.

    python benchmarks/quality.py --source folder --root CIFAR10_FOLDER --shape 3 32 32 --y0ast FOLDER
    python benchmarks/quality.py --seconds 60 --only glow-app normflows

"Same architecture" is that of the others: levels of 8 steps at width 128. The other implementations are trained with
Adamax at 1e-3, which is better in so short a time than the rates in their examples. One of them is also trained with
our recipe, to separate the recipe from the model. The clock is processor time without evaluations. With --only, the
results of the others are kept.
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch
from common import DOCS, IS_SHORT, earlier_results, write_result, write_table
from peers import OURS, Architecture, GlowModel, Ours, add_peer_arguments, peers
from racing import Recipe, add_data_arguments, load_data, race

from lightning_modules.optimizers import Muon

# The best settings found; see docs/speed.md.
SAME = Recipe(Muon, lr=3e-3, warmup=50, decay=0.5, narrow=True)
BEST = replace(SAME, lr=5e-3)
# The others run in float32, because autocast would run more than their conditioners in bfloat16.
PEER, PEER_BY_OURS = Recipe(), replace(SAME, narrow=False)

LOOKS = (30, 60, 100, 150, 200, 300, 450)


def best(architecture: Architecture) -> GlowModel:
    """Return our best architecture: many narrow steps, most of them at high resolution."""
    steps = [12, 8, 4, 4] if architecture.size % 16 == 0 else [12, 8]
    return Ours(Architecture(architecture.size, len(steps), steps, 48, architecture.channels))


def contenders(arguments: argparse.Namespace) -> dict[str, tuple[Callable[[Architecture], GlowModel], Recipe]]:
    """Return the model and the recipe of each contender."""
    others = {name: build for name, build in peers(arguments).items() if name != OURS}
    # One of the others is trained with our recipe too, to separate the effects of recipe and model.
    fairest = "y0ast" if "y0ast" in others else "normflows"
    return {
        f"{OURS}, best": (best, BEST),
        f"{OURS}, same architecture": (Ours, SAME),
        **{name: (build, PEER) for name, build in others.items()},
        f"{fairest}, by our recipe": (others[fairest], PEER_BY_OURS),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser)
    add_peer_arguments(parser)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--only", nargs="+", default=[""], help="train only contenders with these prefixes")
    parser.add_argument("--name", default="quality_fashion_mnist")
    parser.add_argument("--float32", action="store_true", help="train in float32, for processors without bfloat16")
    arguments = parser.parse_args()
    channels, size, _ = arguments.shape
    architecture = Architecture(size, 3 if size % 8 == 0 else 2, 8, 128, channels)
    data = load_data(arguments)
    results = earlier_results(arguments.name) if arguments.only != [""] else {}
    for name, (build, recipe) in contenders(arguments).items():
        if name.startswith(tuple(arguments.only)):
            torch.manual_seed(0)
            looks = [look for look in LOOKS if look < arguments.seconds]
            recipe = replace(recipe, narrow=recipe.narrow and not arguments.float32)
            found = race(build(architecture), recipe, data, arguments.seconds, looks)
            results[name] = asdict(found)
            print(f"{name:<30} {found.bits_per_dim:.3f} after {found.steps} steps", flush=True)
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
    write_table(name, header, rows, page="speed.md")
    if not IS_SHORT:
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
