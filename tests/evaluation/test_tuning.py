"""The search for settings, on features whose best settings are known."""

import torch
from torch import Tensor

from glow_app.evaluation import Trial, tune
from glow_app.models.generation_settings import GenerationSettings


def points(seed: int, spread: float = 1.0) -> Tensor:
    return spread * torch.randn(300, 4, generator=torch.Generator().manual_seed(seed))


def temperatures(settings: GenerationSettings) -> list[float]:
    values = settings.temperature
    return list(values) if isinstance(values, tuple) else [values] * 2


def test_the_best_settings_are_found_between_those_of_the_grid() -> None:
    def draw(settings: GenerationSettings) -> Tensor:
        first, second = temperatures(settings)
        offset = abs(first - 0.85) + abs(second - 0.95) + abs(settings.guidance - 1.35)
        return points(1) + offset

    shown: list[Trial] = []
    found = tune(draw, points(0), 2, True, shown.append)
    assert found.best.settings == GenerationSettings((0.85, 0.95), 1.35)
    assert found.trials == shown
    assert found.trials[0].settings == GenerationSettings(1.0, 1.0)
    assert len({one.settings for one in found.trials}) == len(found.trials)


def test_recall_bounds_what_a_low_fid_may_cost() -> None:
    real = points(0)

    def draw(settings: GenerationSettings) -> Tensor:
        # The real images themselves, but for how many of them are left: all at 1, ever fewer below.
        temperature = min(temperatures(settings))
        kept = max(8, int(300 * (temperature - 0.65) / 0.35))
        return real[:kept].repeat(-(-300 // kept), 1)[:300] + (0.5 if temperature > 0.95 else 0)

    found = tune(draw, real, 2, False)
    own, best = found.trials[0], found.best
    assert best.recall >= 0.9 * own.recall
    assert {one.settings.guidance for one in found.trials} == {1.0}
    assert best.fid <= 1.01 * min(one.fid for one in found.trials if one.recall >= 0.9 * own.recall)


def test_settings_nearer_to_the_grid_go_before_a_difference_that_is_noise() -> None:
    def draw(settings: GenerationSettings) -> Tensor:
        return points(1) + 1.0 + 1e-4 * sum(temperatures(settings))

    assert tune(draw, points(0), 2, True).best.settings == GenerationSettings(1.0, 1.0)
