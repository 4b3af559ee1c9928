import math
from itertools import pairwise

import pytest
import torch

from lightning_modules.schedules import LinearWarmupCosine


def rates(num: int, total: float, warmup: int = 1000) -> list[float]:
    """Return the factor of the first steps, at a learning rate of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=1.0)
    schedule = LinearWarmupCosine(optimizer, total, warmup_steps=warmup)
    found = []
    for _ in range(num):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_key_steps() -> None:
    found = rates(150, total=110, warmup=10)
    assert found[:11] == pytest.approx([*(0.1 * step for step in range(1, 11)), 1.0])
    assert found[35] == pytest.approx(0.5 * (1 + math.sqrt(0.5)))
    assert found[60] == pytest.approx(0.5)
    assert 0 < found[109] < 0.001
    assert found[110:] == pytest.approx([0.0] * 40)
    assert all(a >= b for a, b in pairwise(found[10:]))


def test_at_most_half_of_a_run_is_warm_up() -> None:
    found = rates(21, total=20, warmup=1000)
    assert found[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert found[15] == pytest.approx(0.5)
    assert found[20] == pytest.approx(0.0)


@pytest.mark.parametrize("total", [1, 2, 3, 5, 7])
def test_the_shortest_runs_learn(total: int) -> None:
    found = rates(total, total=total)
    assert all(0 < rate <= 1 for rate in found)
    assert max(found) == 1.0


def test_the_rate_is_constant_until_the_decay() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=1.0)
    schedule = LinearWarmupCosine(optimizer, 100, warmup_steps=10, decay_fraction=0.4)
    found = [schedule.lr_lambdas[0](step) for step in range(101)]
    assert found[9:61] == [1.0] * 52
    assert found[80] == pytest.approx(0.5)
    assert found[100] == pytest.approx(0.0)
