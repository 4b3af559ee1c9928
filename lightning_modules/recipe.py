"""How a model of a folder learns from a bundled one, by the number of training pictures."""

import math
from typing import NamedTuple

from glow_app.storage.model_folders import bundled_models, read_config

_ARCHITECTURE = ("num_levels", "num_steps", "hidden_channels")


class Recipe(NamedTuple):
    """Settings of a run.

    Attributes:
        rate: Learning rate.
        max_steps: Number of steps, unless the user gives a length.
        batch_size: Largest number of pictures per step.
        average: Decay of the averaged weights.
        kernel_decay: Weight decay of the kernels.
        patience: Validations without a better figure before the run stops, about ten being made in a run.
        frozen_levels: Number of finest levels that are kept as they are.
    """

    rate: float = 3.5e-3
    max_steps: int = 600
    batch_size: int = 32
    average: float = 0.999
    kernel_decay: float = 0.3
    patience: int = 4
    frozen_levels: int = 0

    def options(self, start: str, num_pictures: int) -> list[str]:
        """Return options of ``glow fit``: the architecture of a bundled model, and these settings."""
        model = read_config(bundled_models()[start])["model"]
        return [
            f"--model.num_bits={model['num_bits']}",
            *(f"--model.flow.init_args.{name}={model['flow'][name]}" for name in _ARCHITECTURE),
            f"--model.frozen_levels={self.frozen_levels}",
            f"--model.optimizer.init_args.lr={self.rate}",
            f"--model.optimizer.init_args.kernel_decay={self.kernel_decay}",
            f"--ema.decay={self.average}",
            f"--data.batch_size={max(1, min(self.batch_size, num_pictures // 2))}",
        ]


# By the largest number of training pictures.
_RECIPES = {100: Recipe(), 400: Recipe(), 1500: Recipe(), math.inf: Recipe()}


def recipe_for(num_pictures: int) -> Recipe:
    """Return the recipe for so many training pictures."""
    return next(recipe for largest, recipe in _RECIPES.items() if num_pictures <= largest)


def bundled_start(size: int) -> str | None:
    """Return the name of the bundled model from which models of this size begin."""
    names = ("photos64", "photos32") if size >= 64 and size % 32 == 0 else ("photos32",)
    return next((name for name in names if name in bundled_models()), None)
