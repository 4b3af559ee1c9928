"""Learning-rate schedules."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

__all__ = ["LinearWarmupCosine"]


class LinearWarmupCosine(LambdaLR):
    r"""Linear warm-up, then half a cosine, both counted in optimiser steps.

    .. math:: \eta_t = \eta \cdot \begin{cases} (t + 1) / w & t < w \\
              f + (1 - f)\,\tfrac12 \left(1 + \cos \pi \tfrac{t - w}{T - w}\right) & t \ge w \end{cases}

    Args:
        optimizer: Whose learning rates are scaled.
        total_steps: Steps T of the whole run; infinite for a run bounded by time alone, which stays at the full rate.
        warmup_steps: Steps w; at most half of the run is warm-up, so that a short trial of a long config still learns.
        final_fraction: Fraction f of the learning rate that is left at the end.
    """

    def __init__(
        self, optimizer: Optimizer, total_steps: float, warmup_steps: int = 1000, final_fraction: float = 0.0
    ) -> None:
        warmup = max(1, min(warmup_steps, total_steps / 2))

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup if step + 1 < warmup else 1.0
            if math.isinf(total_steps):
                return 1.0
            progress = min(1.0, (step - warmup) / max(1.0, total_steps - warmup))
            return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))

        super().__init__(optimizer, factor)
