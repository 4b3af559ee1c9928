"""A run of a restorer: its encoder is trained first, then its flow."""

import math
import re
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from registry import mark_trained
from tiny_training import Recorder, State, same, tiny_data, tiny_fit, tiny_restoration_module, tiny_trainer
from torch import Tensor
from torch.optim import SGD

from glow_app.bijections import principal_directions
from glow_app.priors import GaussianPrior
from lightning_modules import restoration
from lightning_modules.callbacks import EMA, BestCheckpoint
from lightning_modules.callbacks.guard import roll_back
from lightning_modules.restoration import RestorationModule
from lightning_modules.schedules import LinearWarmupCosine


class Keep(Callback):
    """Saves a checkpoint after some steps; an epoch of the data has four."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step in self.steps:
            trainer.save_checkpoint(Path(trainer.default_root_dir) / f"{trainer.global_step}.ckpt")


class Rates(Callback):
    """Keeps the learning rate of each step, and whether the flow was trained in it."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, bool]] = []

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        self.seen.append((optimizer.param_groups[0]["lr"], pl_module.trains_flow))


def restorer(**options: Any) -> RestorationModule:
    schedule = partial(LinearWarmupCosine, warmup_steps=2)
    return tiny_restoration_module(optimizer=partial(SGD, lr=1.0), lr_scheduler=schedule, **options)


def expected_rates(num_steps: int) -> list[float]:
    """Return the rates of a part of a run."""
    schedule = LinearWarmupCosine(SGD([torch.zeros(1)], lr=1.0), num_steps, 2)
    return [schedule.lr_lambdas[0](step) for step in range(num_steps)]


def fit(folder: Path, *callbacks: Callback, module: RestorationModule | None = None, **options: Any) -> list[State]:
    """Return the weights before and after each step."""
    recorder, ckpt_path = Recorder(), options.pop("ckpt_path", None)
    tiny_fit(folder, [*callbacks, recorder], module=module or tiny_restoration_module(), ckpt_path=ckpt_path, **options)
    return [state for states in zip(recorder.before, recorder.after, strict=True) for state in states]


def test_a_flow_begins_where_its_encoder_is_trained(tmp_path: Path) -> None:
    def run(*callbacks: Callback, **options: Any) -> list[State]:
        return fit(tmp_path, *callbacks, module=tiny_restoration_module(estimate_steps=5), max_epochs=3, **options)

    average = EMA()
    states = run(average, Keep(2, 5, 6))
    of_encoder = {name for name in states[0] if re.search(r"\.encoder\.(up|down|correction)\.", name)}
    changes = [{n for n, w in a.items() if not torch.equal(w, b[n])} for a, b in pairwise(states)]
    assert all(changed and changed <= of_encoder for changed in changes[:9:2])
    assert all(changed and not changed & of_encoder for changed in changes[10::2])
    assert not any(changes[1:8:2] + changes[11::2])
    # Between the two parts, the flow is initialised on differences from what the encoder now estimates.
    assert {"model.flow.conditioning.encoder.trained"} < changes[9] <= changes[9] - of_encoder
    averaged = average.average.state_dict()
    assert all(torch.equal(averaged[f"module.{name}"], states[-1][name]) for name in of_encoder)
    for step in (2, 5, 6):
        assert same(run(EMA(), ckpt_path=tmp_path / f"{step}.ckpt")[-1], states[-1])


def test_each_part_has_its_schedule_also_in_a_longer_run(tmp_path: Path) -> None:
    def rates(trained: bool = False, estimate_steps: int | None = None, **options: Any) -> list[tuple[float, bool]]:
        kept, module = Rates(), restorer(estimate_steps=estimate_steps)
        module.conditioning.encoder.trained.fill_(trained)
        fit(tmp_path, kept, module=module, **options)
        return kept.seen

    def parts(*lengths: int) -> list[tuple[Any, bool]]:
        kinds = zip((0.3, 1.0), (False, True), lengths, strict=True)  # of the learning rate, the encoder's share first
        return [(pytest.approx(share * rate), flow) for share, flow, n in kinds for rate in expected_rates(n)]

    assert rates(max_steps=4, estimate_steps=3) == parts(3, 1)
    assert rates(max_steps=4, estimate_steps=3, trained=True) == parts(3, 1), "again, if it is asked for"
    whole = Rates()
    fit(tmp_path, Keep(2, 8), whole, module=restorer())
    assert whole.seen == parts(5, 3)
    assert rates(max_epochs=4, ckpt_path=tmp_path / "2.ckpt") == parts(5, 11)[2:]
    # The first step still has the rate of the checkpoint, as with any schedule.
    assert rates(max_epochs=4, ckpt_path=tmp_path / "8.ckpt")[1:] == parts(5, 11)[9:]


def test_going_back_to_the_first_part_begins_the_flow_once_more(tmp_path: Path) -> None:
    class GoBack(Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            if trainer.global_step == 6:
                roll_back(trainer, pl_module, tmp_path / "3.ckpt")

    states = fit(tmp_path, EMA(), Keep(3), GoBack())
    assert not states[11]["model.flow.conditioning.encoder.trained"]
    assert states[12]["model.flow.conditioning.encoder.trained"]
    bias = "model.flow.levels.0.bijections.2.bijections.0.bijections.0.norm.bias"
    assert not torch.equal(states[12][bias], states[5][bias])


@pytest.mark.parametrize(("total", "expected"), [(34, [28, 29, 30, 31, 32, 33]), (math.inf, [])])
def test_the_final_steps_are_a_fifth_of_the_flows(total: float, expected: list[int]) -> None:
    module = tiny_restoration_module()
    mark_trained(module.model)
    module.encoder_steps, final = 4, []
    for step in range(34):
        module._trainer = SimpleNamespace(estimated_stepping_batches=total, global_step=step)  # type: ignore[assignment]
        final += [step] * module.is_in_final_steps
    assert final == expected


@pytest.mark.parametrize(("averaged", "accumulated"), [(True, 1), (False, 2)])
def test_the_prior_is_fitted_to_latents_of_the_weights_to_validate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, averaged: bool, accumulated: int
) -> None:
    monkeypatch.setattr(principal_directions, "EXAMPLES_PER_DIRECTION", 4)
    module = tiny_restoration_module(prior=partial(GaussianPrior, rank=3), estimate_steps=2)
    last_latent, used = restoration.last_latent, list[tuple[int, list[Tensor]]]()

    def recorded(model: Any, *arguments: Any) -> Tensor:
        used.append((module.global_step, [parameter.clone() for parameter in model.parameters()]))
        return last_latent(model, *arguments)

    monkeypatch.setattr(restoration, "last_latent", recorded)
    ema, recorder = EMA(), Recorder()
    callbacks = [*[ema] * averaged, recorder]
    options: dict[str, Any] = {"max_epochs": 3, "check_val_every_n_epoch": 1, "accumulate_grad_batches": accumulated}
    tiny_fit(tmp_path, callbacks, module=module, **options)
    evaluated: Any = ema.average.module if averaged else module
    # Of 12 (or 6) steps, 2 train the encoder, and the last two (or one) are the flow's final steps.
    assert [step for step, _ in used] == [12 // accumulated] * accumulated
    validated = [recorder.in_validation[-1][name] for name, _ in module.named_parameters()]
    assert all(map(torch.equal, used[-1][1], validated))
    directions, std = (
        recorder.in_validation[-1][f"model.flow.prior.principal.{name}"] for name in ("directions", "std")
    )
    torch.testing.assert_close(directions.flatten(1) @ directions.flatten(1).T, torch.eye(3))
    assert (std != 1).all()
    assert torch.equal(evaluated.model.flow.prior.principal.std, std)


def test_validation_of_the_first_part_is_of_the_estimate(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, max_steps=1)
    module = tiny_restoration_module()
    trainer.fit(module, datamodule=tiny_data())
    (metrics,) = trainer.validate(module, datamodule=tiny_data(), verbose=False)
    data, values = tiny_data(), []
    for images, labels in data.val_dataloader():
        estimate = module.conditioning.estimate(module.conditioning.observe(images, labels))
        values.append(((images + 0.5) / 256 - 0.5 - estimate.detach()).square().mean((1, 2, 3)))
    # Without dequantisation noise, which has a variance of 1/12 of a grey level.
    error = torch.cat(values) + 1 / 12 / 256**2
    expected = 8 + (2 * torch.pi * torch.e * error).log2().mean() / 2
    assert metrics["val/bpd"] == pytest.approx(float(expected), abs=0.02)
    assert metrics["val/psnr"] == pytest.approx(-10 * float(error.log10().mean()), abs=0.1)


def test_the_best_restorer_is_none_of_the_encoder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tiny_restoration_module(estimate_steps=6)  # of which an epoch has four
    worse = torch.arange(3.0)  # from epoch to epoch
    monkeypatch.setattr(module, "evaluate", lambda *_: dict.fromkeys(module.means, worse[[module.current_epoch]]))
    best = BestCheckpoint(str(tmp_path), module.monitor)
    tiny_fit(tmp_path, [best], module, enable_checkpointing=True, max_epochs=3)
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["global_step"] == 8
