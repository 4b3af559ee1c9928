import copy
import io
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from registry import class_grid
from rich.console import Console
from tiny_training import Recorder, State, same, state_of, tiny_data, tiny_fit, tiny_module, tiny_trainer
from torch.optim.lr_scheduler import LinearLR, LRScheduler, SequentialLR, StepLR

from glow_app.pipeline import Reference, measure, sample_batches
from glow_app.seeding import step_generator
from glow_app.storage.checkpoint import read_checkpoint
from glow_app.storage.model_folders import read_config
from glow_app.storage.stored_model import load_model
from lightning_modules.callbacks import (
    EMA,
    ExportBest,
    NonFiniteGuard,
    Progress,
    Report,
    SampleGrids,
    SaveProgress,
    Throughput,
)
from lightning_modules.image_module import ImageModule
from lightning_modules.runs.checkpoints import AtomicCheckpointIO
from lightning_modules.schedules import LinearWarmupCosine


class Poisoned(ImageModule):
    """Some of its steps have a gradient that is not finite."""

    name = "model.flow.levels.0.bijections.1.bijections.1.conditioner.last.weight"
    value = float("nan")
    bad_steps: Sequence[int] = ()

    def on_after_backward(self) -> None:
        if self.global_step in self.bad_steps:
            gradient = self.get_parameter(self.name).grad
            assert gradient is not None
            gradient[(0,) * gradient.ndim] = self.value


def poisoned(bad_steps: Sequence[int], value: float = float("nan")) -> ImageModule:
    module = tiny_module(Poisoned)
    assert isinstance(module, Poisoned)
    module.bad_steps, module.value = bad_steps, value
    return module


class Rates(Callback):
    """Keeps the learning rate of every step."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.found.append(trainer.optimizers[0].param_groups[0]["lr"])


def warm_up_then_steps(optimizer: torch.optim.Optimizer, total_steps: float) -> LRScheduler:
    return SequentialLR(optimizer, [LinearLR(optimizer, 0.1, total_iters=9), StepLR(optimizer, 1)], [9])


class Moments(Callback):
    """Keeps the optimiser's state before and after every step."""

    def __init__(self) -> None:
        self.before: list[Any] = []
        self.after: list[Any] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.before.append(copy.deepcopy(trainer.optimizers[0].state_dict()["state"]))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.after.append(copy.deepcopy(trainer.optimizers[0].state_dict()["state"]))


class TestInitialisation:
    def test_before_the_first_step_from_the_first_batches(self, tmp_path: Path) -> None:
        recorder = Recorder()
        module = tiny_module()
        assert not module.model.initialized
        tiny_fit(tmp_path, [recorder], module, max_epochs=1)
        expected, data = tiny_module(), tiny_data()
        data.setup("fit")
        images = torch.cat([images for images, _ in data.train_dataloader()])
        assert len(images) == 64
        expected.model.initialize(images, generator=step_generator(5, 0, "cpu", "initialize"))
        assert same(recorder.before[0], state_of(expected))
        assert not same(recorder.before[0], state_of(tiny_module()))
        assert module.model.initialized


class TestNonFiniteGuard:
    @pytest.mark.parametrize("value", [float("nan"), float("-inf")])
    def test_a_bad_step_is_skipped_and_reported(self, tmp_path: Path, value: float) -> None:
        recorder, moments = Recorder(), Moments()
        trainer = tiny_trainer(tmp_path, [NonFiniteGuard(), recorder, moments], max_epochs=1, gradient_clip_val=1.0)
        with pytest.warns(UserWarning, match=f"step 2: the gradient of {Poisoned.name} is not finite; step skipped"):
            trainer.fit(poisoned([2], value), datamodule=tiny_data())
        for step in range(4):
            assert same(recorder.before[step], recorder.after[step]) == (step == 2)
        torch.testing.assert_close(moments.before[2], moments.after[2], rtol=0, atol=0)
        assert moments.before[3] != {}
        assert int(moments.after[3][0]["step"]) == 3
        assert all(torch.isfinite(tensor).all() for tensor in recorder.after[-1].values())

    def test_without_a_good_checkpoint_training_fails_after_the_patience(self, tmp_path: Path) -> None:
        (tmp_path / "last.ckpt").write_bytes(b"damaged")
        with (
            pytest.warns(UserWarning, match="step skipped"),
            pytest.raises(FloatingPointError, match="lower the learning rate"),
        ):
            tiny_fit(tmp_path, [NonFiniteGuard(patience=2)], poisoned([2, 3]), max_epochs=1)

    @pytest.mark.parametrize("schedule", [LinearWarmupCosine, warm_up_then_steps])
    def test_patience_goes_back_to_the_last_checkpoint_with_half_the_learning_rate(
        self, tmp_path: Path, schedule: Callable[..., LRScheduler]
    ) -> None:
        recorder, moments, rates = Recorder(), Moments(), Rates()
        callbacks = [NonFiniteGuard(patience=2), SaveProgress(every_n_steps=3), recorder, moments, rates, EMA()]
        settings: dict[str, Any] = {"enable_checkpointing": True, "plugins": [AtomicCheckpointIO()], "max_epochs": 3}
        module = poisoned([5, 6])
        module.lr_scheduler = schedule
        with pytest.warns(UserWarning, match=r"2 bad steps in a row; restored .*last\.ckpt and halved"):
            tiny_fit(tmp_path, callbacks, module, **settings)
        # Saved after step 4, the end of the epoch; step 4 was a good one and is taken back with the two bad ones.
        assert not same(recorder.after[4], recorder.after[3])
        assert same(recorder.after[6], recorder.after[3])
        torch.testing.assert_close(moments.after[6], moments.after[3], rtol=0, atol=0)
        assert not same(recorder.after[7], recorder.after[6])
        optimizer, whole = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=1e-3), []
        scheduler = schedule(optimizer, 12)
        for _ in range(12):
            whole.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        assert rates.found == pytest.approx([rate * (0.5 if step > 6 else 1.0) for step, rate in enumerate(whole)])
        if schedule is LinearWarmupCosine:  # a resumed run goes on with the half
            assert read_checkpoint(tmp_path / "last.ckpt")["lr_schedulers"][0]["base_lrs"] == [5e-4]

    def test_a_checkpoint_that_was_saved_too_late_is_restored_only_once(self, tmp_path: Path) -> None:
        class Breaks(Callback):
            """Makes weights that are finite, and no likelihood is, just before a save."""

            def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
                if trainer.global_step == 6:
                    with torch.no_grad():
                        for name, parameter in pl_module.named_parameters():
                            if name.endswith("norm.log_scale"):
                                parameter.fill_(200.0)

        save = SaveProgress(every_n_steps=1)
        callbacks = [Breaks(), NonFiniteGuard(patience=2, max_rollbacks=3), save]
        settings: dict[str, Any] = {"enable_checkpointing": True, "plugins": [AtomicCheckpointIO()], "max_epochs": 4}
        trainer = tiny_trainer(tmp_path, callbacks, **settings)
        with pytest.warns(UserWarning, match="restored") as warned:
            trainer.fit(tiny_module(), datamodule=tiny_data())
        places = [str(one.message) for one in warned if "restored" in str(one.message)]
        assert ["previous" in place for place in places] == [False, True]
        # Nothing was saved while no step was a good one, and all is well in the end.
        weights = read_checkpoint(tmp_path / "last.ckpt")["state_dict"]
        assert max(float(tensor.double().abs().max()) for tensor in weights.values()) < 100

    def test_the_norm_is_measured_before_clipping(self, tmp_path: Path) -> None:
        norms: list[float] = []
        expected: list[float] = []

        class Norms(Callback):
            def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
                squares = [parameter.grad.double().square().sum() for parameter in pl_module.parameters()]
                expected.append(float(torch.stack(squares).sum().sqrt()))

            def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
                norms.append(float(trainer.callback_metrics["grad_norm"]))

        tiny_fit(tmp_path, [NonFiniteGuard(), Norms()], max_epochs=1, gradient_clip_val=1e-3)
        assert min(expected) > 1e-2
        assert norms == pytest.approx(expected, rel=1e-4)


class TestEMA:
    @staticmethod
    def averages(weights: list[State], decay: float) -> list[dict[str, np.ndarray]]:
        """The formula in numpy: the first step's weights, then moved by a decay that grows to its value."""
        values = [{name: tensor.double().numpy() for name, tensor in state.items()} for state in weights]
        found = [values[0]]
        for n, state in enumerate(values[1:], start=1):
            d = min(decay, (1 + n) / (10 + n))
            found.append({name: d * found[-1][name] + (1 - d) * state[name] for name in state})
        return found

    def test_the_average_is_on_the_device_of_the_run(self) -> None:
        trainer, ema = MagicMock(), EMA()
        trainer.strategy.root_device = torch.device("meta")  # the module itself is not there yet
        trainer.precision_plugin.convert_module = lambda module: module
        ema.setup(trainer, tiny_module(), "fit")
        assert {parameter.device.type for parameter in ema.average.parameters()} == {"meta"}

    @pytest.mark.parametrize("decay", [0.0, 0.3])
    def test_validation_sees_the_average(self, tmp_path: Path, decay: float) -> None:
        module, recorder = tiny_module(), Recorder()
        tiny_fit(tmp_path, [EMA(decay), recorder], module)
        averages = self.averages(recorder.after, decay)
        parameters = {name for name, _ in tiny_module().named_parameters()}
        assert len(recorder.in_validation) == 2
        for state, step in zip(recorder.in_validation, (3, 7), strict=True):
            for name in parameters:
                np.testing.assert_allclose(state[name].numpy(), averages[step][name], rtol=1e-5, atol=1e-6)
            assert same(state, recorder.after[step]) == (decay == 0)
            for name in state.keys() - parameters:  # buffers, such as permutations, are copied
                assert torch.equal(state[name], recorder.after[step][name])
        assert same(recorder.after_validation[0], recorder.before[4]), "training continues with its own weights"
        assert same(state_of(module), recorder.in_validation[-1])


class TestSampleGrids:
    @pytest.mark.parametrize(("temperature", "expected"), [(None, 0.7), (1.0, 1.0)])
    def test_each_grid_is_that_of_glow_sample(self, tmp_path: Path, temperature: float | None, expected: float) -> None:
        module = tiny_module(num_classes=10, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0))
        tiny_fit(tmp_path, [SampleGrids(temperature, num_images=9)], module)
        images = torch.stack([image for _, image in sample_batches(module.model.eval(), 9, expected, 0, batch_size=9)])
        for name in ("step0000004.png", "step0000008.png"):
            with Image.open(tmp_path / "samples" / name) as picture:
                assert np.array_equal(np.asarray(picture), np.asarray(class_grid(module.model, images, 0)))

    def test_without_effect_on_training(self, tmp_path: Path) -> None:
        with_grids, without = Recorder(), Recorder()
        tiny_fit(tmp_path / "a", [SampleGrids(num_images=4), with_grids], max_epochs=1)
        tiny_fit(tmp_path / "b", [without], max_epochs=1)
        assert same(with_grids.after[-1], without.after[-1])

    def test_the_averaged_weights_are_drawn(self, tmp_path: Path) -> None:
        # At decay 0 the average is the last step's weights: the same pictures as without averaging.
        for folder, callbacks in (("plain", []), ("same", [EMA(0.0)]), ("averaged", [EMA(0.999)])):
            module = tiny_module(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1))
            tiny_fit(tmp_path / folder, [SampleGrids(num_images=4), *callbacks], module, max_epochs=1)
        plain, unchanged, averaged = (
            (tmp_path / name / "samples" / "step0000004.png").read_bytes() for name in ("plain", "same", "averaged")
        )
        assert plain == unchanged != averaged


def downhill_then_uphill(optimizer: torch.optim.Optimizer, total_steps: float) -> torch.optim.lr_scheduler.LRScheduler:
    """A first epoch that learns and a second that unlearns: the best checkpoint is not the last."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 if step < 4 else -3.0)


class TestExportBest:
    def test_the_best_is_exported(self, tmp_path: Path) -> None:
        checkpoint = ModelCheckpoint(tmp_path, "best", monitor="val/bpd", save_last=True, enable_version_counter=False)
        module = tiny_module(lr_scheduler=downhill_then_uphill)
        tiny_fit(tmp_path, [checkpoint, ExportBest()], module, enable_checkpointing=True)
        best, exported = (load_model(tmp_path / name).hash for name in ("best.ckpt", "model"))
        assert exported == best == read_config(tmp_path / "model")["sha256"]
        assert module.model.hash != best
        training = read_config(tmp_path / "model")["training"]
        assert training["step"] == 4
        held_out = torch.from_numpy(tiny_data().examples("validation").head(1000).copy())
        expected = Reference.of(measure(load_model(tmp_path / "best.ckpt"), held_out))
        assert training["reference"]["images"] == len(held_out)
        assert training["reference"]["mean"] == pytest.approx(expected.mean.tolist(), rel=1e-4)

    def test_the_last_where_nothing_was_validated(self, tmp_path: Path) -> None:
        checkpoint = ModelCheckpoint(tmp_path, "best", save_last=True)
        tiny_fit(tmp_path, [checkpoint, ExportBest()], enable_checkpointing=True, limit_val_batches=0)
        assert load_model(tmp_path / "model").hash == load_model(tmp_path / "last.ckpt").hash
        assert "reference" not in read_config(tmp_path / "model")["training"]

    def test_files_of_others_in_its_place_are_moved_aside(self, tmp_path: Path) -> None:
        def train(max_epochs: int, ckpt_path: Path | None = None) -> str:
            """Return the hash of the best model."""
            best = ModelCheckpoint(tmp_path, "best", monitor="val/bpd", save_last=True, enable_version_counter=False)
            options: dict[str, Any] = {"enable_checkpointing": True, "max_epochs": max_epochs, "ckpt_path": ckpt_path}
            tiny_fit(tmp_path, [best, ExportBest()], **options)
            return load_model(tmp_path / "best.ckpt").hash

        exports = [train(1)]
        (tmp_path / "model" / ".DS_Store").write_text("of a desktop")
        with pytest.warns(UserWarning, match=r"/model is now .*/model-.*: .*other files, such as .DS_Store$"):
            exports.append(train(2, tmp_path / "last.ckpt"))
        aside, new = sorted(tmp_path.glob("model*"), reverse=True)
        assert [load_model(path).hash for path in (aside, new)] == exports
        assert [(path / ".DS_Store").exists() for path in (aside, new)] == [True, False]


class TestThroughput:
    def test_the_share_of_loading(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        clock, seconds = 0.0, 1.5

        class Slow(Callback):
            """A step takes a second, and waiting for its batch some more."""

            def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
                nonlocal clock
                clock += 1.0 + seconds
                trainer.train_dataloader.waited += seconds

        shares: list[float] = []

        class Shares(Callback):
            def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
                shares.append(float(trainer.callback_metrics["loading"]))

        monkeypatch.setattr("lightning_modules.callbacks.progress_report.time.perf_counter", lambda: clock)
        callbacks = [Slow(), Throughput(), Shares()]
        tiny_fit(tmp_path, callbacks, max_epochs=2, log_every_n_steps=1)
        assert shares == [pytest.approx(seconds / (1 + seconds))] * len(shares)


class TestProgress:
    def test_one_line_an_epoch(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("lightning_modules.callbacks.progress_report._FIRST", math.inf)
        tiny_fit(tmp_path, [Progress()])
        headline, *lines = (
            line for line in capsys.readouterr().out.splitlines() if re.match("epoch|.*parameters", line)
        )
        assert re.fullmatch(r"[\d,]+ parameters, 8 steps, 32-bit precision, on the CPU", headline)
        assert [line.split("  ")[:2] for line in lines] == [["epoch 1/2", "step 4"], ["epoch 2/2", "step 8"]]
        figures = r"  train \d\.\d+  val \d\.\d+  bits/dim  .*\d elapsed  \d:\d\d:\d\d left  \d+\.\d GB$"
        assert all(re.search(figures, line) for line in lines)
        assert "0:00:00 left" in lines[-1]

    @pytest.mark.parametrize("width", [60, 150])
    def test_a_bar_fits_the_terminal(self, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = io.StringIO()
        console = Console(file=file, force_terminal=True, width=width)
        monkeypatch.setattr("rich.progress.get_console", lambda: console)
        tiny_fit(tmp_path, [Throughput(), Progress(live=True)])
        lines = [re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", line) for line in re.split(r"[\r\n]", file.getvalue())]
        assert all(len(line) <= width for line in lines)
        assert any(re.match(r"epoch 1/2 .*val \d\.\d+ .* left", line) for line in lines)
        assert any(re.search(r"epoch 2/2 .* left.* ━+", line) for line in lines)


@pytest.mark.parametrize(("interval", "steps"), [(-1.0, [4, 8, 12]), (1e9, [12])])
def test_reports_are_written_at_intervals_and_after_training(
    interval: float, steps: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_modules.callbacks.progress_report._REPORT_INTERVAL", interval)
    trainer, written = tiny_trainer(tmp_path, [Report()], max_epochs=3), list[int]()
    path = "lightning_modules.callbacks.progress_report.write_report"
    monkeypatch.setattr(path, lambda _: written.append(trainer.global_step))
    trainer.fit(tiny_module(), datamodule=tiny_data())
    assert written == steps
