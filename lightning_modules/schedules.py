"""Learning-rate schedules."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

__all__ = ["LinearWarmupCosine"]


class LinearWarmupCosine(LambdaLR):
    r"""Linear warm-up, the full rate, then half a cosine, all counted in optimiser steps.

    .. math:: \eta_t = \eta \cdot \begin{cases} (t + 1) / w & t < w \\ 1 & w \le t < v \\
              \tfrac12 \left(1 + \cos \pi \tfrac{t - v}{T - v}\right) & t \ge v \end{cases},
              \qquad v = \max(w, (1 - d)\,T)

    Args:
        total_steps: Steps T of the whole run; infinite for a run limited only by time, which stays at the full rate.
        warmup_steps: Steps w of the warm-up, limited to half of the run, so that short trial runs learn too.
        decay_fraction: Final fraction d of the run in which the rate decays; 1 to decay from the end of the warm-up.
        full_rate_steps: Steps below which the rate of a whole run is smaller, in proportion.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: float,
        warmup_steps: int = 1000,
        decay_fraction: float = 1.0,
        full_rate_steps: int = 1,
    ) -> None:
        peak = min(1.0, total_steps / full_rate_steps)
        warmup = max(1, min(warmup_steps, total_steps / 2))
        decay_start = warmup if math.isinf(total_steps) else max(warmup, (1 - decay_fraction) * total_steps)

        def factor(step: int) -> float:
            if step < warmup:
                return peak * ((step + 1) / warmup if step + 1 < warmup else 1.0)
            if math.isinf(total_steps):
                return peak
            progress = min(1.0, max(0.0, step - decay_start) / max(1.0, total_steps - decay_start))
            return peak * 0.5 * (1 + math.cos(math.pi * progress))

        super().__init__(optimizer, factor)
