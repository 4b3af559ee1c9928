import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback
from registry import perturb
from tiny_training import same, state_of, tiny_fit, tiny_trainer
from torch import Tensor

from glow_app.bijections import Bijection, SolverError, record_solves
from glow_app.bijections.continuous import flow as continuous
from glow_app.priors import CNFPrior, GaussianPrior, MAFPrior
from lightning_modules import likelihood_module
from lightning_modules.callbacks import NonFiniteGuard
from lightning_modules.points import PointsDataModule, PointsModule

tiny_cnf = partial(CNFPrior, hidden_features=6, num_layers=1, solver="midpoint", num_steps=2, eval_solver="rk4")
hutchinson = partial(tiny_cnf, trace="hutchinson", kinetic_weight=0.1, jacobian_weight=0.1)


def plane_module(prior: Callable[..., Bijection] = tiny_cnf) -> PointsModule:
    """Return the same untrained module every time."""
    torch.manual_seed(0)
    return PointsModule(prior, seed=5, optimizer=partial(torch.optim.Adam, lr=0.01))


def plane_data() -> PointsDataModule:
    """Five training batches of 16 points, and validation batches of which the last is smaller."""
    return PointsDataModule("two_moons", batch_size=16, limit=90, seed=5)


class Log(Callback):
    """Keeps what was logged in every step and every validation."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.validations: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps.append({name: float(value) for name, value in trainer.callback_metrics.items()})

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.validations.append(float(trainer.callback_metrics["val/nats"]))


@pytest.fixture
def noises(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Everything that trace estimates draw."""
    drawn: list[Tensor] = []
    draw = continuous.draw_noise

    def spy(*arguments: Any, **options: Any) -> Tensor:
        drawn.append(draw(*arguments, **options))
        return drawn[-1]

    monkeypatch.setattr(continuous, "draw_noise", spy)
    return drawn


def validated(module: PointsModule, folder: Path) -> Mapping[str, float]:
    (metrics,) = tiny_trainer(folder).validate(module, datamodule=plane_data(), verbose=False)
    return metrics


def test_the_figure_is_the_mean_over_points(tmp_path: Path) -> None:
    module = plane_module(partial(MAFPrior, hidden_features=6))
    tiny_fit(tmp_path, module=module, data=plane_data(), max_epochs=1, limit_val_batches=0)
    before = state_of(module)
    (found,) = validated(module, tmp_path).values()
    points = plane_data().examples("validation").values
    assert len(points) == 90
    assert found == pytest.approx(-float(module.model.log_prob(points).mean()), rel=1e-6)
    assert same(state_of(module), before)


def test_validation_draws_the_same_noise_in_every_epoch(tmp_path: Path, noises: list[Tensor]) -> None:
    module = plane_module(hutchinson)
    module.model.initialize(plane_data().examples("train").values)
    noises.clear()
    tiny_fit(tmp_path, module=module, data=plane_data(), max_epochs=2)
    # Of five training and six validation batches an epoch.
    first, second = noises[5:11], noises[16:22]
    assert len(noises) == 22
    assert all(map(torch.equal, first, second))
    assert not torch.equal(first[0], first[1])
    one = validated(module, tmp_path)
    torch.rand(5)
    assert validated(module, tmp_path) == one


@pytest.mark.parametrize("prior", [GaussianPrior, tiny_cnf])
def test_evaluations_are_counted_where_an_equation_is_solved(tmp_path: Path, prior: Callable[..., Bijection]) -> None:
    log = Log()
    module = plane_module(prior)
    trainer = tiny_fit(tmp_path, [log], module, plane_data(), max_epochs=1)
    metrics = {**log.steps[-1], **{key: float(value) for key, value in trainer.callback_metrics.items()}}
    counted = {key: value for key, value in metrics.items() if key.endswith("/nfe")}
    # Two steps of two evaluations each, and of four.
    expected = {"train/nfe": 4, "val/nfe": 8} if prior is tiny_cnf else {}
    assert counted == expected


def test_penalties_are_in_the_loss_and_not_in_the_logged_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, logged, losses = plane_data().examples("train").values[:16], list[float](), list[float]()
    monkeypatch.setattr(PointsModule, "log", lambda _, name, value: logged.append(float(value)))
    monkeypatch.setattr(PointsModule, "log_evaluations", lambda *_: None)
    for weights in ({}, {"kinetic_weight": 0.3, "jacobian_weight": 0.7}):
        module = perturb(plane_module(partial(tiny_cnf, **weights)))
        module.model.initialize(batch)
        module._trainer = SimpleNamespace(world_size=1, global_rank=0, current_epoch=0)  # type: ignore[assignment]
        losses.append(float(module.training_step(batch, 0)))
    with record_solves() as solves:
        module.model(batch)
    assert logged == pytest.approx([losses[0]] * 2)
    assert losses[1] - losses[0] == pytest.approx(float(solves.penalty.mean()), rel=1e-4)  # type: ignore[union-attr]
    assert losses[1] > losses[0]


def test_a_failed_solve_is_a_skipped_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = plane_module(tiny_cnf)
    work, failed = PointsModule.loss, list[int]()

    def sometimes(*arguments: Any) -> Any:
        if module.global_step == 2 and not failed:
            failed.append(1)
            raise SolverError("dopri5 failed at t = 0.5")
        return work(*arguments)

    monkeypatch.setattr(PointsModule, "loss", sometimes)
    with pytest.warns(UserWarning, match="step 2: dopri5 failed at t = 0.5; step skipped"):
        tiny_fit(tmp_path, [NonFiniteGuard()], module, plane_data())
    assert failed
    assert all(parameter.isfinite().all() for parameter in module.parameters())


@pytest.mark.parametrize("repeated", [False, True])
def test_weights_that_cannot_be_evaluated_are_not_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repeated: bool
) -> None:
    module, failures = plane_module(), list[int]()
    evaluate = module.evaluate

    def failing(batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        if module.current_epoch == 1 and not failures:
            failures.append(1)
            raise SolverError("dopri5 failed at t = 0.5")
        return evaluate(batch, generator)

    monkeypatch.setattr(module, "evaluate", failing)
    monkeypatch.setattr(likelihood_module, "ends_in_repetition", lambda *_: repeated)
    log = Log()
    with pytest.warns(UserWarning, match="validation in epoch 1: dopri5 failed"):
        tiny_fit(tmp_path, [log], module, plane_data(), max_epochs=3)
    assert [math.isfinite(value) for value in log.validations] == [True, False, True]
