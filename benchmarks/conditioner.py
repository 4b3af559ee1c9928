"""Which conditioner is the default: held-out bits/dim after equal processor time, on one thread.

    python benchmarks/conditioner.py --source fashion_mnist --seconds 300
    python benchmarks/conditioner.py --source folder --root CIFAR10_FOLDER --shape 3 32 32

The clock is processor time, so other work on the machine does not change the comparison.
"""

import argparse
import time
from typing import cast

import torch
from common import write_result

from glow_app.data import load_split, train_loader
from glow_app.flows import Glow
from glow_app.model import ImageModel
from glow_app.nn import ConvConditioner, GatedResidualConditioner
from glow_app.seeding import step_generator

VARIANTS = {
    "convolutional, width 128": (ConvConditioner, 128),
    "convolutional, width 64": (ConvConditioner, 64),
    "gated residual, width 64": (GatedResidualConditioner, 64),
    "gated residual, width 32": (GatedResidualConditioner, 32),
}


def train(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    conditioner, width = VARIANTS[name]
    shape = cast(tuple[int, int, int], tuple(arguments.shape))
    torch.manual_seed(0)
    model = ImageModel(Glow(shape, arguments.levels, arguments.steps, width, conditioner=conditioner))
    loader = train_loader(load_split(arguments.source, "train", shape, root=arguments.root), 32)
    validation = load_split(arguments.source, "validation", shape, root=arguments.root, limit=1000)
    model.initialize(next(iter(loader))[0], generator=step_generator(0, 0, "cpu", "initialize"))
    optimizer = torch.optim.Adamax(model.parameters(), lr=arguments.lr)
    start, step, done = time.process_time(), 0, False
    while not done:
        for images, _ in loader:
            for group in optimizer.param_groups:
                group["lr"] = arguments.lr * min(1.0, (step + 1) / 200)
            optimizer.zero_grad()
            model(images, generator=step_generator(0, step, "cpu", "train")).mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 100.0)
            optimizer.step()
            step += 1
            if time.process_time() - start > arguments.seconds:
                done = True
                break
    images = torch.from_numpy(validation.images[:])
    parts = [model.bits_per_dim(part, generator=step_generator(0, 0, "cpu", "val")) for part in images.split(100)]
    parameters = sum(p.numel() for p in model.parameters())
    return {"bits_per_dim": float(torch.cat(parts).mean()), "steps": step, "parameters": parameters}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="fashion_mnist")
    parser.add_argument("--root", default=None)
    parser.add_argument("--shape", type=int, nargs=3, default=[1, 28, 28])
    parser.add_argument("--levels", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--name", default="conditioner")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for name in VARIANTS:
        results[name] = train(name, arguments)
        print(f"{name:<28} {results[name]}", flush=True)
    options = {key: value for key, value in vars(arguments).items() if key != "root"}
    print(write_result(arguments.name, {"arguments": options, "results": results}))


if __name__ == "__main__":
    main()
