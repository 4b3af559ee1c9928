"""A run has a folder, which its processes share and no other run uses."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch.distributed import HashStore

from lightning_modules.run import launched_as
from lightning_modules.runs import run_folder
from lightning_modules.runs.run_folder import Launch, launched_processes, locked_run_dir

LAUNCHERS = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "GLOW_RUN_DIR",
    "SLURM_NTASKS",
    "SLURM_JOB_NAME",
)


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in LAUNCHERS:
        monkeypatch.setenv(variable, "")  # so that what the code sets is removed afterwards
        monkeypatch.delenv(variable)


def test_processes_that_the_first_starts_find_the_folder_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Launch()
    assert first.run_dir is None
    first.share("runs/mine")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert Launch().run_dir == "runs/mine"


@pytest.mark.parametrize("launcher", ["torchrun", "srun"])
def test_processes_of_a_launcher_wait_for_the_folder_of_the_first(
    launcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, addresses = HashStore(), []

    def meet(address: str) -> Iterator[tuple[HashStore, int, int]]:
        addresses.append(address)
        yield store, int(os.environ[rank]), 2

    monkeypatch.setattr(run_folder, "rendezvous", meet)
    rank, size = ("RANK", "WORLD_SIZE") if launcher == "torchrun" else ("SLURM_PROCID", "SLURM_NTASKS")
    for name in (
        ("SLURM_JOB_NAME", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS_PER_NODE") if launcher == "srun" else ()
    ):
        monkeypatch.setenv(name, "0")
    for name, value in {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "77", rank: "0", size: "2"}.items():
        monkeypatch.setenv(name, value)
    first = Launch()
    assert first.run_dir is None
    monkeypatch.setenv(rank, "1")
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(Launch)
        first.share("runs/mine")
        assert second.result().run_dir == "runs/mine"
    srun = ["tcp://10.0.0.1:77?rank=0&world_size=2", "tcp://10.0.0.1:77?rank=1&world_size=2"]
    assert addresses == (srun if launcher == "srun" else ["env://"] * 2)
    monkeypatch.setenv(size, "1")
    assert Launch().run_dir is None


TORCHRUN = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "night"}
SLURM = {"SLURM_JOB_NAME": "night", "SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "2"}


@pytest.mark.parametrize("environment", [TORCHRUN, SLURM, TORCHRUN | SLURM], ids=["torchrun", "srun", "srun torchrun"])
def test_the_processes_of_a_launcher_are_the_run(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert launched_processes() == (1, 1)
    assert launched_as("single_device") == {}
    for name, value in ({"SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1"} | environment).items():
        monkeypatch.setenv(name, value)
    assert launched_processes() == (2, 2)
    for strategy in ("auto", "ddp", DDPStrategy(static_graph=True)):
        found = launched_as(strategy)
        assert (found["num_nodes"], found["devices"]) == (2, 2)
        assert found["strategy"] is strategy or (strategy == "auto" and isinstance(found["strategy"], DDPStrategy))
    for other in ("single_device", "ddp_spawn", SingleDeviceStrategy()):
        with pytest.raises(ValueError, match=r"but torchrun or SLURM started 4 processes; leave it out"):
            launched_as(other)


def test_incomplete_checkpoints_are_removed_only_on_resume(tmp_path: Path) -> None:
    torn = tmp_path / "run" / ".last.ckpt-123"
    torn.parent.mkdir()
    torn.write_bytes(b"half")
    with locked_run_dir(torn.parent, None, begin_anew=False):
        assert torn.exists()
    with locked_run_dir(torn.parent, torn.parent / "last.ckpt", begin_anew=False):
        assert not torn.exists()
    assert not torn.parent.exists(), "an empty folder is removed"
    with locked_run_dir(tmp_path / "new" / "run" / "time", None, begin_anew=False):
        pass
    assert list(tmp_path.iterdir()) == [], "with the parents that were created for it"


def test_another_runs_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"")
    for resumed in (None, tmp_path.parent / "another" / "last.ckpt"):
        with (
            pytest.raises(FileExistsError, match=r"contains an earlier run; resume it with --resume"),
            locked_run_dir(tmp_path, resumed, begin_anew=False),
        ):
            pass


def test_a_folder_is_for_one_process_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    with (
        FileLock(tmp_path / ".lock"),  # as another process would
        pytest.raises(FileExistsError, match="another process is training in"),
        locked_run_dir(tmp_path, None, begin_anew=False),
    ):
        pass
    assert (tmp_path / "config.yaml").exists()
    with locked_run_dir(tmp_path, None, begin_anew=False):
        pass
