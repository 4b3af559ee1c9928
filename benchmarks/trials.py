"""One trial of an architecture and a recipe against the clock; kept or not, it joins the table of docs/speed.md.

    python benchmarks/trials.py "wider" --source folder --root FOLDER --shape 3 32 32 --width 48

One thread, conditioners in bfloat16, float32 with --float32; the clock is processor time. What takes no time of its own
is better told apart at equal steps, --equal-steps. Variants are those of benchmarks/variants.py.
"""

import argparse
import fcntl
import json
import os
import re
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import torch
from common import RESULTS, describe_machine, write_result, write_table
from peers import Architecture
from racing import Recipe, add_data_arguments, load_data, race
from torch.optim import Optimizer
from variants import VARIANTS

from lightning_modules.optimizers import Muon

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamax": torch.optim.Adamax,
    "muon": Muon,
}
# Columns of the table, and how a value is shown.
SHOWN = {
    "what is tried": "",
    "steps a level": "",
    "width": "",
    "optimiser": "",
    "lr": "g",
    "batch": "",
    "decay": "g",
    "init": "",
    "seed": "",
    "seconds": "g",
    "steps": ",",
    "bits/dim": ".3f",
    "cpu": "",
}
# What trials had before they recorded it.
DEFAULTS = {"init": "rotation", "seed": 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", help="is tried, for the table")
    add_data_arguments(parser)
    parser.add_argument("--variant", choices=VARIANTS, default="whole")
    parser.add_argument("--steps", type=int, nargs="+", default=[16, 8, 4])
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adam")
    parser.add_argument("--betas", type=float, nargs=2, default=[0.9, 0.99])
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument("--decay", type=float, default=0.5)
    parser.add_argument("--average", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=200)
    parser.add_argument("--equal-steps", type=int, default=None, help="in the place of --seconds")
    parser.add_argument("--init", choices=("whiten", "rotation"), default="whiten")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--float32", action="store_true")
    arguments = parser.parse_args()
    channels, size, _ = arguments.shape
    torch.manual_seed(arguments.seed)
    architecture = Architecture(size, len(arguments.steps), arguments.steps, arguments.width, channels)
    model = VARIANTS[arguments.variant](architecture, init=arguments.init)
    optimizer = partial(OPTIMIZERS[arguments.optimizer], betas=tuple(arguments.betas))
    recipe = Recipe(
        optimizer,
        arguments.lr,
        arguments.batch_size,
        arguments.warmup,
        decay=arguments.decay,
        narrow=not arguments.float32,
        averaged=arguments.average,
    )
    data, seed = load_data(arguments), arguments.seed
    if arguments.equal_steps is None:
        found = race(model, recipe, data, arguments.seconds, seed=seed)
    else:
        found = race(model, recipe, data, arguments.equal_steps, seed=seed, clock=count().__next__)
    machine = describe_machine()
    trial = {
        "what is tried": arguments.what,
        "steps a level": ", ".join(map(str, arguments.steps)),
        "width": arguments.width,
        "optimiser": f"{arguments.optimizer} {arguments.betas[0]:g}, {arguments.betas[1]:g}",
        "lr": arguments.lr,
        "batch": arguments.batch_size,
        "decay": arguments.decay,
        "init": arguments.init,
        "seed": seed,
        "seconds": arguments.seconds if arguments.equal_steps is None else None,
        "steps": found.steps,
        "bits/dim": round(found.bits_per_dim, 3),
        "cpu": re.sub(r"\(R\)| Processor", "", machine["cpu"]),
        "commit": machine["commit"],
    }
    keep(trial)


def keep(trial: dict[str, object]) -> None:
    """Add a trial to the others and to the table; trials that run side by side wait for each other."""
    path = RESULTS / "trials.json"
    folder = os.open(RESULTS, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    trials = [*(json.loads(path.read_text())["trials"] if path.exists() else []), trial]
    write_result("trials", {"trials": trials})
    rows = [[_shown(one.get(name, DEFAULTS.get(name)), how) for name, how in SHOWN.items()] for one in trials]
    write_table("trials", list(SHOWN), rows, page="speed.md")
    os.close(folder)


def _shown(value: Any, how: str) -> str:
    return "" if value is None else format(value, how)


if __name__ == "__main__":
    main()
