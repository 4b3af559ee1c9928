"""Train one architecture by one recipe against the clock, and add the result to results/trials.json.

    python benchmarks/trials.py "wider" --source folder --root FOLDER --shape 3 32 32 --width 48

One thread, conditioners in bfloat16, or float32 with --float32; the clock is processor time. Changes that cost no time
are better compared at equal steps, --equal-steps. docs/speed.md has the conclusions.
"""

import argparse
import fcntl
import json
import os
import re
from collections.abc import Callable
from functools import partial
from itertools import count

import torch
from common import RESULTS, describe_machine, write_result
from peers import Architecture, Ours
from racing import Recipe, add_data_arguments, load_data, race
from torch.optim import Optimizer

from lightning_modules.optimizers import Muon

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamax": torch.optim.Adamax,
    "muon": Muon,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="what the trial tries")
    add_data_arguments(parser)
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
    parser.add_argument("--equal-steps", type=int, default=None, help="instead of --seconds")
    parser.add_argument("--init", choices=("whiten", "rotation"), default="whiten")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--float32", action="store_true")
    arguments = parser.parse_args()
    channels, size, _ = arguments.shape
    torch.manual_seed(arguments.seed)
    architecture = Architecture(size, len(arguments.steps), arguments.steps, arguments.width, channels)
    model = Ours(architecture, init=arguments.init)
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
        result = race(model, recipe, data, arguments.seconds, seed=seed)
    else:
        result = race(model, recipe, data, arguments.equal_steps, seed=seed, clock=count().__next__)
    machine = describe_machine()
    trial = {
        "what is tried": arguments.name,
        "steps a level": ", ".join(map(str, arguments.steps)),
        "width": arguments.width,
        "optimiser": f"{arguments.optimizer} {arguments.betas[0]:g}, {arguments.betas[1]:g}",
        "lr": arguments.lr,
        "batch": arguments.batch_size,
        "decay": arguments.decay,
        "init": arguments.init,
        "seed": seed,
        "seconds": arguments.seconds if arguments.equal_steps is None else None,
        "steps": result.steps,
        "bits/dim": round(result.bits_per_dim, 3),
        "cpu": re.sub(r"\(R\)| Processor", "", machine["cpu"]),
        "commit": machine["commit"],
    }
    print(json.dumps(trial))
    keep(trial)


def keep(trial: dict[str, object]) -> None:
    """Add a trial to the others; trials that run side by side wait for each other."""
    path = RESULTS / "trials.json"
    folder = os.open(RESULTS, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    write_result("trials", {"trials": [*json.loads(path.read_text())["trials"], trial]})
    os.close(folder)


if __name__ == "__main__":
    main()
