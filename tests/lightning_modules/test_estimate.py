"""What `glow estimate` says is what a training then needs."""

import math
import re
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from glow_app.bijections import Memory
from glow_app.cli import main
from glow_app.counted_memory import PROBE
from glow_app.data import ImageSet, train_loader
from glow_app.flows import Glow
from glow_app.peak_memory import peak_memory
from glow_app.priors import CNFPrior
from lightning_modules.density import DensityModule
from lightning_modules.estimate import estimate
from lightning_modules.loading import Loading, loading_speed
from lightning_modules.optimizers import Muon

REPOSITORY = Path(__file__).parents[2]


def module_of(num_steps: int) -> DensityModule:
    torch.manual_seed(0)
    return DensityModule(Glow((1, 16, 16), 2, num_steps, 16, num_classes=3))


@pytest.mark.parametrize("memory", ["store", "checkpoint", "reversible"])
def test_memory_is_that_of_a_step(memory: str) -> None:
    module = module_of(6)
    found = estimate(module, 32, torch.device("cpu"), nullcontext)
    module.model.flow.memory = memory  # type: ignore[assignment]
    images, labels = torch.randint(0, 256, (32, 1, 16, 16), dtype=torch.uint8), torch.zeros(32, dtype=torch.int64)
    parameters = sum(p.numel() * p.element_size() for p in module.parameters())
    module.zero_grad()
    measured = peak_memory(lambda: module(images, labels).mean().backward()) - parameters
    total, an_image = found.memory[memory]  # type: ignore[index]
    assert total == pytest.approx(measured, rel=0.05)
    assert 0 < an_image < total / 16
    # Weights, gradients, averages and Adam's two moments, whose counters are small.
    assert found.fixed_bytes == pytest.approx(5 * parameters, rel=0.01)
    assert found.num_parameters == sum(p.numel() for p in module.parameters())
    assert found.step_seconds > 0


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD, Muon])
def test_what_the_optimiser_keeps_is_counted(optimizer: type[torch.optim.Optimizer]) -> None:
    module = module_of(3)
    module.optimizer = optimizer
    found = estimate(module, 2, torch.device("cpu"), nullcontext)
    made = optimizer(module.parameters())  # type: ignore[call-arg]
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made.step()
    tensors = [value for state in made.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    kept = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    parameters = sum(p.numel() * p.element_size() for p in module.parameters())
    assert found.fixed_bytes == 3 * parameters + kept


def test_reversible_does_not_grow_with_the_steps_and_leaves_the_mode() -> None:
    module = module_of(2)
    module.model.flow.memory = "checkpoint"
    shallow = estimate(module, 4, torch.device("cpu"), nullcontext).memory
    assert module.model.flow.memory == "checkpoint"
    deep = estimate(module_of(12), 4, torch.device("cpu"), nullcontext).memory
    assert deep["store"][1] > 3.5 * shallow["store"][1]
    assert deep["reversible"][1] < 1.5 * shallow["reversible"][1]


def test_what_depends_on_values_is_measured() -> None:
    flow = Glow((1, 8, 8), 2, 2, 8, prior=partial(CNFPrior, hidden_features=8, num_layers=1))
    found = estimate(DensityModule(flow), 8, torch.device("cpu"), nullcontext)
    total, an_image = found.memory["store"]
    assert 0 < an_image < total / 4


@pytest.mark.parametrize("memory", ["store", "reversible"])
@pytest.mark.parametrize(("patience", "room"), [(0.0, 2e9), (1e9, 0.0)])
def test_a_long_or_large_step_is_told_from_a_part(
    memory: Memory, patience: float, room: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_modules.step_time.PATIENCE", patience)
    monkeypatch.setattr("lightning_modules.estimate.ROOM", room)
    module = module_of(4)
    module.model.flow.memory = memory
    levels = list(module.model.flow.levels)
    ran: list[int] = []
    for level in levels:
        for bijection in level.bijections:  # type: ignore[union-attr]
            bijection.register_forward_hook(lambda module, inputs, output: ran.append(len(inputs[0])))
    found = estimate(module, 100, torch.device("cpu"), nullcontext)
    assert not found.is_timed
    assert found.step_seconds > 0
    assert set(ran) == {1, 80, PROBE}, "20,480 pixels, and never the batch"
    assert module.model.flow.memory == memory
    assert list(module.model.flow.levels) == levels
    assert all(parameter.grad is None for parameter in module.parameters())


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
    monkeypatch.setattr("lightning_modules.estimate.loading_speed", lambda loader: Loading(2.0, rate))
    assert main(["estimate", f"--config={REPOSITORY / 'configs/digits.yaml'}"]) == 0
    told = capsys.readouterr().out
    assert "the first batch after 2.0 s" in told
    assert ("slower than the training: raise data.num_workers" in told) == is_slow


def test_loading_is_timed_after_the_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 5.0, *(5.0 + step for step in range(1, 100))])
    monkeypatch.setattr("lightning_modules.loading.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    images = ImageSet(np.zeros((100, 1, 2, 2), np.uint8), torch.zeros(100, dtype=torch.int64))
    assert loading_speed(train_loader(images, 5)) == Loading(5.0, 5.0)
    clock = iter([0.0, 5.0])
    assert loading_speed(train_loader(images, 100)) == Loading(5.0, math.inf)


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
    monkeypatch.setattr("lightning_modules.estimate.loading_speed", lambda loader: Loading(0.0, math.inf))
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
