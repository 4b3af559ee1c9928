"""Means of figures over all examples of a split, on any number of ranks."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torch.nn import ModuleDict
from torchmetrics import MeanMetric

from glow_app.bijections import SolverError, record_solves
from glow_app.nn.precision import widest_dtype
from lightning_modules.resumable_data import ends_in_repetition


class MeanFigures(ModuleDict):
    """The mean of each figure by name; no part of the state dict, because metric states are not persistent.

    Lightning's mean over ranks is wrong if the number of examples is not divisible by the number of ranks.
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__({name: MeanMetric(nan_strategy="disable") for name in names})

    def begin(self, device: torch.device) -> None:
        """Begin a split; accumulate in the widest type of the device."""
        for mean in self.values():
            mean.set_dtype(widest_dtype(device))  # type: ignore[operator]
            mean.reset()  # type: ignore[operator]  # sums of an earlier validation, in inference mode, cannot be changed


def log_figures(module: Any, batch: Any, batch_idx: int, stage: str, loader: Any) -> None:
    """Evaluate a batch, and log its part of the means.

    A failed ODE solve is an error in the stage "test"; in "val", its figures are infinite.
    """
    num_rows = getattr(loader, "batch_size", None)
    generator = module.generator(batch_idx, stage, num_rows)
    figures: dict[str, Tensor]
    with record_solves(module.generator(batch_idx, f"trace-{stage}", num_rows)) as solves:
        try:
            figures = module.evaluate(batch, generator)
            if ends_in_repetition(loader, batch_idx):
                figures = {name: values[:-1] for name, values in figures.items()}
        except SolverError as error:
            if stage != "val":
                raise
            # Infinite figures are never the best, and training may recover.
            rank_zero_warn(f"validation in epoch {module.current_epoch}: {error}")
            figures = dict.fromkeys(module.figures, torch.full((1,), math.inf, device=module.device))
    for name, values in figures.items():
        mean = module.means[name]
        mean.update(values)
        module.log(f"{stage}/{name}", mean)
    module.log_evaluations(solves.num_evaluations, stage, len(figures[module.metric]))
