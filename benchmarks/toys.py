"""Test log-likelihood of every head on every toy density, with the configurations in configs/toy/.

    python benchmarks/toys.py                       # all: about an hour and a half on one core, half of it for cnf
    python benchmarks/toys.py --heads maf --toys rings

Writes results/toys.json and a table of docs/priors.md. The table reports the excess: the mean log-density of the toy
itself on the test points (minus its entropy, if the density has no closed form) less that of the model. It estimates
the Kullback-Leibler divergence.
"""

import argparse
import tempfile
import time
from typing import Any

import torch
from common import earlier_results, glow, write_result, write_table

from glow_app.data.toys import TOYS, load_points
from glow_app.models.points_model import PointsModel
from glow_app.storage.stored_model import load_density

AFFINE = ["--model.prior.init_args.elementwise", "affine", "--model.prior.init_args.num_layers", "6"]
HEADS: dict[str, list[str]] = {
    "gaussian": ["gaussian"],
    "planar": ["planar"],
    "maf, affine": ["maf", *AFFINE],
    "maf": ["maf"],
    "iaf": ["iaf"],
    "cnf": ["cnf"],
}


def measure(head: str, toy: str) -> dict[str, Any]:
    """Train by `glow fit` in a new process, and evaluate the exported model."""
    config, *options = HEADS[head]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        glow("fit", f"--config=toy/{config}", "--data.source", toy, "--run_dir", f"{folder}/run", *options)
        seconds = time.perf_counter() - start
        model = load_density(f"{folder}/run")
    assert isinstance(model, PointsModel)
    points = load_points(toy, "test").values
    exact = TOYS[toy].log_density(points) if TOYS[toy].density else -TOYS[toy].entropy
    log_prob = torch.cat([model.log_prob(part) for part in points.split(5000)]).double()
    excess = exact - log_prob
    return {
        "log_likelihood": round(float(log_prob.mean()), 4),
        "excess": round(float(excess.mean()), 4),
        "standard_error": round(float(excess.std() / len(excess) ** 0.5), 4),
        "entropy": round(TOYS[toy].entropy, 4),
        "seconds": round(seconds),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def cells(head: str, figures: dict[str, dict[str, Any]]) -> list[str]:
    """Return a head's row of the table."""
    return [head, *(f"{one['excess']:.3f}" if (one := figures.get(f"{head} / {toy}")) else "" for toy in TOYS)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", nargs="*", default=list(HEADS), choices=list(HEADS))
    parser.add_argument("--toys", nargs="*", default=list(TOYS), choices=list(TOYS))
    arguments = parser.parse_args()
    figures = earlier_results("toys", "figures")
    for head in arguments.heads:
        for toy in arguments.toys:
            figures[f"{head} / {toy}"] = measure(head, toy)
            print(f"{head} / {toy}: {figures[f'{head} / {toy}']}", flush=True)
            write_result("toys", {"figures": figures})
    entropies = ["*entropy*", *(f"*{toy.entropy:.3f}*" for toy in TOYS.values())]
    write_table("toys", ["head", *TOYS], [*(cells(head, figures) for head in HEADS), entropies], "priors.md")


if __name__ == "__main__":
    main()
