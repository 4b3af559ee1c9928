"""Several processes, each with a part of the weights, do what one does with all of them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from unittest.mock import MagicMock

import pytest
import torch
import torch.distributed as dist
from pytorch_lightning.strategies import FSDPStrategy, ModelParallelStrategy
from ranks import train
from several_ranks import REPOSITORY, distance, torchrun
from sharded import OPTIONS, RUNS
from tiny_training import state_of, tiny_data, tiny_fit, tiny_module
from torch.testing._internal.distributed.fake_pg import FakeStore

from glow_app.flows import Glow
from glow_app.models.image_model import ImageModel
from glow_app.priors import CNFPrior
from glow_app.running import Memory
from glow_app.storage.checkpoint import read_checkpoint
from glow_app.storage.stored_model import load_model
from lightning_modules import sharding
from lightning_modules.callbacks import EMA, NonFiniteGuard
from lightning_modules.density import DensityModule
from lightning_modules.estimate.peak_memory import peak_memory
from lightning_modules.fsdp import FullyShardedStrategy
from lightning_modules.vector_data import VectorDataModule
from lightning_modules.vector_density import VectorDensityModule

PLAIN = RUNS[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where one process and two have left what they ended with, and a checkpoint from halfway."""
    folder = tmp_path_factory.mktemp("sharded")
    for num_ranks in (1, 2):
        torchrun("sharded.py", num_ranks, folder)
    return folder


@pytest.fixture(scope="module")
def runs(folder: Path) -> list[dict[Any, dict[str, Any]]]:
    return [torch.load(folder / f"rank{name}.pt") for name in ("0of1", "0of2", "1of2")]


@pytest.fixture
def alone() -> Iterator[None]:
    """Let this process be the only one of its group, and leave no trace of it."""
    environment = dict(os.environ)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()
    os.environ.clear()
    os.environ.update(environment)


@pytest.mark.slow
@pytest.mark.parametrize("setting", RUNS, ids=str)
def test_two_ranks_train_what_one_does(runs: Any, setting: tuple[Memory, str, int]) -> None:
    # bfloat16 rounds the sums of half a batch otherwise than those of a whole one.
    tolerances = {"32-true": (1e-5, 1e-6), "64-true": (1e-10, 1e-6), "bf16-mixed": (3e-3, 1e-3)}
    tolerance, of_bpd = tolerances[setting[1]]
    alone, first, second = (run[setting] for run in runs)
    assert distance(alone["initial"], alone["weights"]) > 5e-3, "something was learnt"
    assert distance(alone["initial"], first["initial"]) < min(tolerance, 1e-6)
    assert distance(alone["weights"], first["weights"]) < tolerance
    replicated = [name for name, tensor in second["weights"].items() if not tensor.is_meta]
    assert len(replicated) < len(first["weights"])
    assert all(torch.equal(first["weights"][name], second["weights"][name]) for name in replicated)
    assert abs(alone["bpd"] - first["bpd"]) < of_bpd
    assert first["bpd"] == second["bpd"]


@pytest.mark.slow
def test_two_ranks_train_a_restorer_as_one_does(runs: Any) -> None:
    alone, first, _ = (run["restorer"] for run in runs)
    assert distance(alone["weights"], first["weights"]) < 1e-5
    assert abs(alone["bpd"] - first["bpd"]) < 1e-6


@pytest.mark.slow
def test_each_process_holds_half_of_the_kernels(runs: Any) -> None:
    alone, *both = (run[PLAIN]["counts"] for run in runs)
    model = DensityModule(Glow((1, 8, 8), 2, 2, 7, num_classes=10)).model
    conditioners = [part for name, part in model.named_modules() if name.endswith(".conditioner")]
    kernels = [p for conditioner in conditioners for p in conditioner.parameters() if p.ndim > 1]
    elsewhere = sum(p.numel() // 2 for p in kernels)
    assert alone["weights"] == alone["whole"]
    for counts in both:
        assert counts["whole"] == alone["whole"]
        for name in ("weights", "averages", "moments"):
            expected = alone[name] - elsewhere * (2 if name == "moments" else 1)
            assert counts[name] == expected


@pytest.mark.slow
def test_checkpoints_are_those_of_one_process(folder: Path) -> None:
    alone, sharded = (read_checkpoint(folder / f"half_of_{name}.ckpt") for name in (1, 2))
    for name in ("state_dict", "current_model_state"):
        assert distance(alone[name], sharded[name]) < 1e-5
        assert all(alone[name][key].stride() == tensor.stride() for key, tensor in sharded[name].items())
    states = [checkpoint["optimizer_states"][0]["state"] for checkpoint in (alone, sharded)]
    assert states[0].keys() == states[1].keys()
    assert all(distance(states[0][number], states[1][number]) < 1e-4 for number in states[0])
    images = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    a, b = (load_model(folder / f"half_of_{name}.ckpt") for name in (1, 2))
    noise = [torch.Generator().manual_seed(0) for _ in range(2)]
    labels = torch.arange(4)
    assert torch.allclose(a(images, labels, noise[0]), b(images, labels, noise[1]), atol=1e-4)


@pytest.mark.slow
def test_a_run_goes_on_sharded_or_not(runs: Any, folder: Path, tmp_path: Path) -> None:
    alone, first, _ = runs
    assert distance(first["resumed from 2"]["weights"], first[PLAIN]["weights"]) == 0
    assert distance(first["resumed from 1"]["weights"], alone[PLAIN]["weights"]) < 1e-5
    resumed = train(*PLAIN, 1, tmp_path, ckpt_path=folder / "half_of_2.ckpt", **OPTIONS)
    assert distance(resumed["weights"], alone[PLAIN]["weights"]) < 1e-5


@pytest.mark.slow
def test_the_guard_goes_back_to_whole_checkpoints(runs: Any) -> None:
    assert runs[1]["went back"]["distances"] == {"weights": 0, "averages": 0, "moments": 0}


@pytest.mark.slow
def test_a_bad_gradient_on_one_rank_is_skipped_by_all(runs: Any) -> None:
    _, first, second = (run.get("poisoned", {}).get("weights", {}) for run in runs)
    assert all(torch.equal(first[name], tensor) for name, tensor in second.items() if not tensor.is_meta)
    assert all(torch.isfinite(tensor).all() for tensor in first.values() if tensor.is_floating_point())
    assert distance(first, runs[1][PLAIN]["weights"]) > 1e-4, "a step was left out"


@pytest.mark.slow
def test_levels_that_drift_on_one_rank_are_checkpointed_on_all(runs: Any) -> None:
    found, expected = runs[1]["one drifted"]["weights"], runs[0]["reversible", "32-true", 1]["weights"]
    assert distance(found, expected) < 1e-5


@pytest.mark.slow
def test_the_overlay_trains_and_resumes_one_run(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    command = [sys.executable, "-m", "glow_app.cli"]
    configs = [f"--config={REPOSITORY / 'configs' / name}" for name in ("digits.yaml", "trainer/fsdp.yaml")]
    options = [
        "--trainer.devices=2", "--trainer.accelerator=cpu", "--trainer.check_val_every_n_epoch=1",
        "--model.flow.num_steps=2", "--model.optimizer=torch.optim.Adam", f"--run_dir={run_dir}", "--resume=auto",
    ]  # fmt: skip

    def glow(*arguments: str) -> str:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
        run = [*command, *arguments]
        done = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    for epochs in (1, 2):
        stdout = glow("fit", *configs, *options, f"--trainer.max_epochs={epochs}")
        assert stdout.count("run folder") == 1
        # 1,437 images, halved, in batches of 64: 11 steps an epoch and rank.
        assert read_checkpoint(run_dir / "last.ckpt")["global_step"] == 11 * epochs
    assert len(list((run_dir / "samples").glob("*.png"))) == 6
    whole = sum(parameter.numel() for parameter in load_model(run_dir / "model").parameters())
    assert f"{whole:,} parameters, 22 steps in 2 processes" in stdout
    logged = (run_dir / "metrics.csv").read_text().splitlines()[0]
    assert {"bpd_level/0", "grad_norm", "val/bpd"} <= set(logged.split(","))
    glow("sample", f"--checkpoint={run_dir}", "--count=2", f"--output={tmp_path / 'pictures'}")


@pytest.mark.usefixtures("alone")
def test_gathered_weights_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    # The others' parts are stood for by this one's: threads of gloo free memory that torch's counter then misses.
    monkeypatch.setattr(sharding, "_gather_into", lambda whole, part: whole.view(2, -1).copy_(part.expand(2, -1)))
    monkeypatch.setattr(sharding, "_reduce_scatter_into", lambda part, whole: part.copy_(whole[: part.numel()]))
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    images = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    peaks: dict[Memory, list[float]] = {memory: [] for memory in get_args(Memory)}
    for num_steps in (4, 16):
        torch.manual_seed(0)
        model = ImageModel(Glow((1, 8, 8), 1, num_steps, 64))
        model.initialize(images)
        sharding.shard(model, torch.device("cpu"))
        for memory, found in peaks.items():
            model.set_runners(memory)
            model.zero_grad()
            peak = peak_memory(lambda model=model: model(images).mean().backward())  # type: ignore[misc]
            found.append(peak - sum(p.numel() * p.element_size() for p in model.parameters()))
    assert peaks["store"][1] > 3 * peaks["store"][0]
    assert peaks["checkpoint"][1] < 1.2 * peaks["checkpoint"][0]
    assert peaks["reversible"][1] < 1.2 * peaks["reversible"][0]


@pytest.mark.parametrize("memory", ["store", "reversible"])
@pytest.mark.usefixtures("alone")
def test_one_process_holds_the_whole(memory: Memory, tmp_path: Path) -> None:
    ended = []
    for strategy in ("auto", FullyShardedStrategy()):
        module = tiny_module(memory=memory)
        tiny_fit(tmp_path, [NonFiniteGuard(), EMA()], module=module, strategy=strategy, gradient_clip_val=1.0)
        ended.append(module)
    assert [sharding.is_sharded(module) for module in ended] == [False, True]
    plain, sharded = (state_of(module) for module in ended)
    assert distance(plain, sharded) < 1e-6


@pytest.mark.usefixtures("alone")
def test_what_cannot_be_sharded_is_refused(tmp_path: Path) -> None:
    def fit(module: Any, data: Any) -> None:
        tiny_fit(tmp_path, module=module, data=data, strategy=FullyShardedStrategy())

    with pytest.raises(ValueError, match=r"no conditioner to shard; use --config trainer/ddp"):
        fit(VectorDensityModule(), VectorDataModule())
    with pytest.raises(ValueError, match="a continuous prior's solve may fail on one process alone"):
        fit(DensityModule(Glow((1, 8, 8), 2, 1, 8, prior=CNFPrior)), tiny_data())
    with pytest.raises(ValueError, match=r"Adafactor, which may need whole matrices; .*Adamax"):
        fit(tiny_module(optimizer=torch.optim.Adafactor), tiny_data())


@pytest.mark.parametrize("cls", [FSDPStrategy, ModelParallelStrategy])
def test_strategies_that_shard_by_hooks_are_refused(cls: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    module, trainer = tiny_module(), MagicMock(strategy=cls(), precision="32-true")
    monkeypatch.setattr(type(module), "trainer", trainer)
    with pytest.raises(ValueError, match=rf"trainer.strategy is {cls.__name__}, .*; use --config trainer/fsdp"):
        module.setup("fit")
