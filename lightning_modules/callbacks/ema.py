"""Exponential moving average of the weights."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor, nn

from lightning_modules.runs.state import RunState


class EMA(WeightAveraging):
    r"""Averages weights for validation, sampling, checkpoints and export; training continues with the current weights.

    .. math:: \bar\theta \leftarrow d_n \bar\theta + (1 - d_n)\,\theta, \qquad
              d_n = \min\left(d, \tfrac{1 + n}{10 + n}\right)

    The first update, n = 0, copies. The decay grows to its final value, so that the first steps do not dominate short
    runs. Buffers are copied, since the average of two permutations is not a permutation.

    Args:
        decay: The final decay d, in [0, 1).
    """

    def __init__(self, decay: float = 0.999) -> None:
        def average(averaged: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Any) -> None:
            n = float(self.average.n_averaged)  # type: ignore[arg-type] # not ``num_averaged``, on the device
            weight = 1 - min(decay, (1 + n) / (10 + n))
            torch._foreach_lerp_(list(averaged), list(current), weight)

        super().__init__(use_buffers=False, multi_avg_fn=average)

    def begin_anew(self) -> None:
        """Let the next update copy the weights."""
        self.average.n_averaged.zero_()  # type: ignore[operator]

    @property
    def average(self) -> nn.Module:
        """The averaged module; available after :meth:`setup`."""
        assert self._average_model is not None  # Lightning offers no other access
        return self._average_model

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Copy the module in the precision and on the device of the run."""
        RunState.of(trainer).average = self
        # Lightning moves the module later. The copy would stay on the CPU, and every step on a GPU would copy weights.
        module = trainer.precision_plugin.convert_module(pl_module).to(trainer.strategy.root_device)
        super().setup(trainer, module, stage)  # type: ignore[arg-type]
        if stage == "fit":  # the number of updates is read in every step; on a GPU this would wait for the device
            self.average.n_averaged = torch.zeros((), dtype=torch.int64)
