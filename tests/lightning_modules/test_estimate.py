"""What `glow estimate` says is what a training then needs."""

import math
import re
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from itertools import cycle, product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from glow_app.cli import main
from glow_app.data import ImageSet, train_loader
from glow_app.flows import Glow
from glow_app.models.image_model import ImageModel
from glow_app.priors import CNFPrior
from glow_app.running import Memory
from lightning_modules.density import DensityModule
from lightning_modules.estimate.command import loading_speed
from lightning_modules.estimate.needs import estimate, step_memory
from lightning_modules.estimate.peak_memory import peak_memory
from lightning_modules.optimizers import Muon

REPOSITORY = Path(__file__).parents[2]


def module_of(num_steps: int | list[int]) -> DensityModule:
    torch.manual_seed(0)
    return DensityModule(Glow((1, 16, 16), 2, num_steps, 16, num_classes=3))


def measured(module: DensityModule, memory: Memory, batch_size: int) -> int:
    """Return the peak of a step of the whole batch, with all gradients there."""
    module.model.set_runners(memory)
    images = torch.randint(0, 256, (batch_size, 1, 16, 16), dtype=torch.uint8)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    return peak_memory(lambda: module(images, torch.zeros(batch_size, dtype=torch.int64)).mean().backward())


@pytest.mark.parametrize(
    ("num_steps", "dtype"), [(3, torch.float32), (3, torch.float64), (16, torch.float32), ([6, 16], torch.float32)]
)
def test_memory_is_that_of_a_step(num_steps: int | list[int], dtype: torch.dtype) -> None:
    module = module_of(num_steps).to(dtype)
    for memory, (total, an_image) in step_memory(module.model, 400, nullcontext).items():
        peak = measured(module, memory, 400)
        assert total == pytest.approx(peak, rel=0.05)
        assert an_image == pytest.approx((measured(module, memory, 500) - peak) / 100, rel=0.05)


def test_a_small_batch_is_measured_and_not_extrapolated() -> None:
    module = module_of(6)
    for memory, (total, _) in step_memory(module.model, 1, nullcontext).items():
        assert total == pytest.approx(measured(module, memory, 1), rel=0.02)


def test_parameters_with_all_that_is_kept_of_them_are_counted() -> None:
    module = module_of(2)
    needs = estimate(module, 2, torch.device("cpu"), nullcontext)
    assert needs.num_parameters == sum(p.numel() for p in module.parameters())
    # Weights, gradients, averages and Adam's two moments, whose counters are small.
    assert needs.fixed_bytes == pytest.approx(5 * 4 * needs.num_parameters, rel=0.01)


def test_memory_is_measured_on_the_cpu_where_the_device_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def step_time(model: ImageModel, *rest: object) -> tuple[float, bool]:
        ran.append(model.device.type)
        return 1.0, True

    monkeypatch.setattr("lightning_modules.estimate.needs._step_time", step_time)
    expected = estimate(module_of(3), 200, torch.device("cpu"), nullcontext).memory
    needs = estimate(module_of(3), 200, torch.device("meta"), nullcontext)
    assert ran == ["cpu", "meta"]
    for mode, figures in needs.memory.items():
        assert figures == pytest.approx(expected[mode], rel=0.02)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD, Muon])
def test_what_the_optimiser_keeps_is_counted(optimizer: type[torch.optim.Optimizer]) -> None:
    module = module_of(3)
    module.optimizer = optimizer
    needs = estimate(module, 2, torch.device("cpu"), nullcontext)
    made = optimizer(module.parameters())  # type: ignore[call-arg]
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made.step()
    tensors = [value for state in made.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    kept = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    parameters = sum(p.numel() * p.element_size() for p in module.parameters())
    assert needs.fixed_bytes == 3 * parameters + kept


def test_reversible_does_not_grow_with_the_steps_and_leaves_the_mode() -> None:
    module = module_of(2)
    module.model.set_runners("checkpoint")
    shallow = step_memory(module.model, 200, nullcontext)
    assert module.model.memory == "checkpoint"
    deep = step_memory(module_of(24).model, 200, nullcontext)
    assert deep["store"][1] > 7 * shallow["store"][1]
    assert deep["reversible"][1] < 1.5 * shallow["reversible"][1]


def test_an_adaptive_solver_is_measured() -> None:
    flow = Glow((1, 8, 8), 2, 2, 8, prior=partial(CNFPrior, hidden_features=8, num_layers=1))
    total, an_image = step_memory(DensityModule(flow).model, 800, nullcontext)["store"]
    assert 0 < an_image < total / 400


@pytest.mark.parametrize("memory", ["store", "reversible"])
@pytest.mark.parametrize(("patience", "room"), [(0.0, 2e9), (1e9, 0.0), (1e9, 1e12)])
def test_a_long_or_large_step_is_not_run(
    memory: Memory, patience: float, room: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_modules.estimate.needs.PATIENCE", patience)
    monkeypatch.setattr("lightning_modules.estimate.needs.ROOM", room)
    module = module_of(9)
    module.model.set_runners(memory)
    weights = [parameter.clone() for parameter in module.parameters()]
    levels = list(module.model.flow.levels)
    ran: list[tuple[int, int]] = []
    module.model.register_forward_pre_hook(
        lambda model, inputs: ran.append((len(model.flow.levels[0].bijections) - 1, len(inputs[0])))
    )
    needs = estimate(module, 200, torch.device("cpu"), nullcontext)
    is_run = patience > 0 and room > 0
    assert needs.is_timed == is_run
    assert needs.step_seconds > 0
    assert set(ran) == {*product((4, 8), (1, 80, 160)), *([(9, 200)] if is_run else [])}, "40,960 pixels, 4 or 8 steps"
    assert module.model.memory == memory
    assert list(module.model.flow.levels) == levels
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(map(torch.equal, module.parameters(), weights)), "nothing is learnt"


def test_seconds_are_extrapolated_in_depth_and_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of(20)
    flow = module.model.flow

    is_step = cycle([True, False])

    def step_then_update(run: Callable[[], object], device: torch.device) -> float:
        run()
        num_steps = len(flow.levels[0].bijections) - 1  # type: ignore[arg-type]
        return 3.0 + num_steps if next(is_step) else 0.5 * num_steps

    monkeypatch.setattr("lightning_modules.estimate.needs._seconds", step_then_update)
    needs = estimate(module, 320, torch.device("cpu"), nullcontext)
    assert not needs.is_timed
    assert needs.step_seconds == pytest.approx((3 + 20) * 320 / 160 + 0.5 * 20)


def test_the_command_prints_it_all_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = f"--config={REPOSITORY / 'configs/digits.yaml'}"
    assert main(["estimate", config, "--batch-size", "32", "--model.memory=reversible", "--trainer.max_epochs=3"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^parameters +119,168$", told, re.MULTILINE)
    assert re.search(r"batch of 32, 32-true on cpu", told)
    assert re.search(r"^  reversible .* MB, .* kB an image  <- model.memory$", told, re.MULTILINE)
    assert re.search(r"^a step +\d+\.\d\d s, [\d.,]+ images/s$", told, re.MULTILINE)
    assert re.search(r"^an epoch +44 steps, 0:", told, re.MULTILINE)
    assert re.search(r"^the run +3 epochs, 0:", told, re.MULTILINE)
    assert re.search(r"^loading +[\d,]+ images/s with data.num_workers 0, ", told, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("rate", "is_slow"), [(0.5, True), (1e9, False)])
def test_a_loader_that_will_not_keep_up_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rate: float, is_slow: bool
) -> None:
    monkeypatch.setattr("lightning_modules.estimate.command.loading_speed", lambda loader: (2.0, rate))
    assert main(["estimate", f"--config={REPOSITORY / 'configs/digits.yaml'}"]) == 0
    told = capsys.readouterr().out
    assert "the first batch after 2.0 s" in told
    assert ("slower than the training: raise data.num_workers" in told) == is_slow


def test_loading_is_timed_after_the_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 5.0, *(5.0 + step for step in range(1, 100))])
    monkeypatch.setattr("lightning_modules.estimate.command.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    images = ImageSet(np.zeros((100, 1, 2, 2), np.uint8), torch.zeros(100, dtype=torch.int64))
    assert loading_speed(train_loader(images, 5)) == (5.0, 5.0)
    clock = iter([0.0, 5.0])
    assert loading_speed(train_loader(images, 100)) == (5.0, math.inf)


def test_data_that_is_not_there_yet_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = f"--config={REPOSITORY / 'configs/digits.yaml'}"
    options = ["--data.source=folder", f"--data.root={tmp_path / 'nothing'}"]
    assert main(["estimate", config, *options]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^images +not there yet: .*nothing", told, re.MULTILINE)
    assert "a step" in told
    assert "an epoch" not in told


def test_steps_of_several_batches_and_a_number_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lightning_modules.estimate.command.loading_speed", lambda loader: (0.0, math.inf))
    config = f"--config={REPOSITORY / 'configs/digits.yaml'}"
    assert main(["estimate", config, "--trainer.accumulate_grad_batches=4", "--trainer.max_steps=100"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^an epoch +6 steps of 4 batches, ", told, re.MULTILINE)  # 22 batches of 64
    assert re.search(r"^the run +100 steps, ", told, re.MULTILINE)
    assert "loading" not in told


def test_a_folder_is_counted_and_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GLOW_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine").mkdir()
    for number in range(100):
        (tmp_path / f"mine/{number}.png").write_bytes(b"not looked at")
    config = f"--config={REPOSITORY / 'configs/digits.yaml'}"
    options = ["--data.source=folder", f"--data.root={tmp_path / 'mine'}", "--batch-size=8"]
    assert main(["estimate", config, *options]) == 0
    assert re.search(r"^an epoch +10 steps, ", capsys.readouterr().out, re.MULTILINE)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("option", "code", "words"),
    [
        ("--batch-size=0", 2, "data.batch_size is 0; expected at least 1"),
        ("--batch-size=5000", 1, "data.batch_size is 5000, but there are 1437 training images"),
        ("--trainer.precision=16-true", 1, "trainer.precision is 16-true; expected one of 32-true"),
    ],
)
def test_what_cannot_be_trained_is_refused_first(
    capsys: pytest.CaptureFixture[str], option: str, code: int, words: str
) -> None:
    assert main(["estimate", f"--config={REPOSITORY / 'configs/digits.yaml'}", option]) == code
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""


def test_vectors_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", f"--config={REPOSITORY / 'configs/toy/maf.yaml'}"]) == 2
    assert "glow estimate is for runs on images" in capsys.readouterr().err
