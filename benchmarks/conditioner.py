"""Which conditioner is the default: held-out bits/dim after equal processor time, on one thread.

    python benchmarks/conditioner.py --source fashion_mnist --seconds 300
    python benchmarks/conditioner.py --source folder --root CIFAR10_FOLDER --shape 3 32 32

The clock is processor time, so other work on the machine does not change the comparison.
"""

import argparse
from typing import cast

import torch
from common import write_result
from racing import Data, Recipe, add_data_arguments, load_data, race

from glow_app.flows import Glow
from glow_app.models.image_model import ImageModel
from glow_app.nn import ConvConditioner, GatedResidualConditioner

VARIANTS = {
    "convolutional, width 128": (ConvConditioner, 128),
    "convolutional, width 64": (ConvConditioner, 64),
    "gated residual, width 64": (GatedResidualConditioner, 64),
    "gated residual, width 32": (GatedResidualConditioner, 32),
}


def train(name: str, arguments: argparse.Namespace, data: Data) -> dict[str, float]:
    conditioner, width = VARIANTS[name]
    shape = cast(tuple[int, int, int], tuple(arguments.shape))
    torch.manual_seed(0)
    model = ImageModel(Glow(shape, arguments.levels, arguments.steps, width, conditioner=conditioner))
    found = race(model, Recipe(lr=arguments.lr), data, arguments.seconds)
    return {"bits_per_dim": found.bits_per_dim, "steps": found.steps, "parameters": found.parameters}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser)
    parser.add_argument("--levels", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--name", default="conditioner")
    arguments = parser.parse_args()
    data = load_data(arguments)
    results = {}
    for name in VARIANTS:
        results[name] = train(name, arguments, data)
        print(f"{name:<28} {results[name]}", flush=True)
    options = {key: value for key, value in vars(arguments).items() if key != "root"}
    print(write_result(arguments.name, {"arguments": options, "results": results}))


if __name__ == "__main__":
    main()
