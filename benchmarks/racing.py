"""Training for a fixed time: held-out bits/dim after a number of seconds of processor time on one thread.

The clock is processor time, so other work on the machine changes little. Evaluations are not counted.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from glow_app.data.image_set import ImageSet
from glow_app.data.loader import first_examples, train_loader
from glow_app.data.sources import load_split

if TYPE_CHECKING:
    from peers import GlowModel

Data = tuple[ImageSet, Tensor]


@dataclass(frozen=True)
class Recipe:
    """Settings of a training.

    Args:
        optimizer: Called with the parameters and ``lr``.
        lr: Highest learning rate.
        batch_size: Images per step.
        warmup: Steps until the highest learning rate.
        decay: Share of the time, at the end, in which the learning rate falls to 0 along a cosine; 0 for none.
        narrow: Whether conditioners run in bfloat16.
        clip: Largest norm of the gradient.
    """

    optimizer: Callable[..., Optimizer] = torch.optim.Adamax
    lr: float = 1e-3
    batch_size: int = 32
    warmup: int = 200
    decay: float = 0.0
    narrow: bool = False
    clip: float = 100.0

    def factor(self, step: int, elapsed: float) -> float:
        """Return the factor of the learning rate at a step and an elapsed share of the time."""
        left = 1.0 - elapsed
        falling = 1.0 if left > self.decay else 0.5 - 0.5 * math.cos(math.pi * max(left, 0.0) / self.decay)
        return min(1.0, (step + 1) / self.warmup) * falling


@dataclass
class Race:
    """The result of a training.

    Args:
        curve: Pairs of seconds and held-out bits/dim.
        steps: Number of optimiser steps.
        parameters: Number of parameters of the model.
    """

    curve: list[tuple[float, float]]
    steps: int
    parameters: int

    @property
    def bits_per_dim(self) -> float:
        """Held-out bits/dim at the end."""
        return self.curve[-1][1]


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that select the images."""
    parser.add_argument("--source", default="fashion_mnist")
    parser.add_argument("--root", default=None, help="folder of images, or of the data set's files")
    parser.add_argument("--shape", type=int, nargs=3, default=[1, 28, 28])


def load_data(arguments: argparse.Namespace, held_out: int = 1000) -> Data:
    """Return the training images and ``held_out`` validation images."""
    shape = cast(tuple[int, int, int], tuple(arguments.shape))
    training = load_split(arguments.source, "train", shape, root=arguments.root)
    validation = load_split(arguments.source, "validation", shape, root=arguments.root, limit=held_out)
    return training, torch.from_numpy(validation.images[:])


def race(
    model: "GlowModel",
    recipe: Recipe,
    data: Data,
    seconds: float,
    looks: Iterable[float] = (),
) -> Race:
    """Train on one thread and return the result.

    Args:
        model: The model to train.
        recipe: Settings of the training.
        data: The result of :func:`load_data`.
        seconds: Processor time to train for.
        looks: Further times at which held-out bits/dim are measured.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as `glow fit` does
    torch.manual_seed(0)
    training, held_out = data
    loader = train_loader(training, recipe.batch_size, seed=0)
    model.initialize(first_examples(loader)[0])
    optimizer = recipe.optimizer(model.parameters(), lr=recipe.lr)
    curve, ahead = [], [*sorted(looks), seconds]
    spent, step, start = 0.0, 0, time.process_time()
    while ahead:
        for images, _ in loader:
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * recipe.factor(step, spent / seconds)
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.narrow):
                loss = model(images).mean()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            if bool(norm.isfinite()):
                optimizer.step()
            step += 1
            spent += time.process_time() - start
            if spent >= ahead[0]:
                curve.append((ahead.pop(0), bits_per_dim(model, held_out, recipe.narrow)))
            start = time.process_time()
            if not ahead:
                break
    return Race(curve, step, sum(parameter.numel() for parameter in model.parameters()))


@torch.no_grad()
def bits_per_dim(model: "GlowModel", images: Tensor, narrow: bool) -> float:
    """Return the mean bits/dim of one draw, always with the same noise."""
    state: Any = torch.get_rng_state()
    torch.manual_seed(1234)
    model.eval()
    with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
        parts = [model(part).double() for part in images.split(100)]
    model.train()
    torch.set_rng_state(state)
    return float(torch.cat(parts).mean())
