"""The launcher's numbers are taken, and all its processes share a folder."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from glow_app.messages import UsageError
from lightning_modules.runs.launchers import World, common_name, launched_world
from lightning_modules.runs.run_folder import choose_run_dir, prepare_run_dir, release_run_dir

TORCHRUN = {"TORCHELASTIC_RUN_ID": "night", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
SLURM = {"SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "16", "SLURM_NNODES": "2"}

Environment = Callable[[dict[str, str]], None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    names = {*TORCHRUN, *SLURM, "GLOW_RUN_DIR"}
    monkeypatch.setenv("GLOW_RUN_DIR", "")  # so that what the code sets is taken back

    def only(values: dict[str, str]) -> None:
        for name in names:
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return only


def test_alone_there_is_no_launcher(environment: Environment) -> None:
    allocation = {name: value for name, value in SLURM.items() if name != "SLURM_STEP_ID"}
    for values in ({}, {"SLURM_JOB_ID": "77"}, allocation):
        environment(values)
        assert launched_world() is None
        assert common_name() is None
        assert re.fullmatch(r"runs/mine/\d{8}-\d{6}", choose_run_dir("mine", None))


@pytest.mark.parametrize(
    ("values", "world", "name"), [(TORCHRUN, World(4, 2), "night"), (SLURM, World(8, 2), "slurm-77")]
)
def test_a_launchers_processes_share_a_folder(
    environment: Environment, values: dict[str, str], world: World, name: str
) -> None:
    environment(values)
    assert launched_world() == world
    assert choose_run_dir("mine", None) == f"runs/mine/{name}"
    environment(values)
    assert choose_run_dir("mine", "elsewhere") == "elsewhere"


def test_processes_without_a_common_name_need_a_folder(environment: Environment) -> None:
    environment({**TORCHRUN, "TORCHELASTIC_RUN_ID": "none"})
    with pytest.raises(UsageError, match="give --run_dir, or torchrun a --rdzv-id"):
        choose_run_dir("mine", None)
    environment({**TORCHRUN, "TORCHELASTIC_RUN_ID": "none"})
    assert choose_run_dir("mine", "given") == "given"


def test_a_process_started_for_a_further_rank_takes_the_choice_of_the_first(environment: Environment) -> None:
    environment({"LOCAL_RANK": "1", "GLOW_RUN_DIR": "chosen"})
    assert choose_run_dir("mine", "another") == "chosen"


def test_what_a_killed_run_left_half_written_is_cleared_on_a_resume_only(tmp_path: Path) -> None:
    torn = tmp_path / ".last.ckpt-123"
    torn.write_bytes(b"half")
    prepare_run_dir(tmp_path, None, begin_anew=False)
    release_run_dir(tmp_path)
    assert torn.exists()
    prepare_run_dir(tmp_path, tmp_path / "last.ckpt", begin_anew=False)
    release_run_dir(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_runs_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"")
    for resumed in (None, tmp_path.parent / "another" / "last.ckpt"):
        with pytest.raises(FileExistsError, match=r"holds an earlier run; go on with --resume"):
            prepare_run_dir(tmp_path, resumed, begin_anew=False)
        release_run_dir(tmp_path)


def test_a_folder_is_one_process_at_a_time(tmp_path: Path) -> None:
    prepare_run_dir(tmp_path, None, begin_anew=False)
    code = (
        "import sys; from pathlib import Path; from lightning_modules.runs.run_folder import prepare_run_dir\n"
        "prepare_run_dir(Path(sys.argv[1]), None, False)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    refused = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert "another process is training in" in refused.stderr
    release_run_dir(tmp_path)
    assert subprocess.run(command, capture_output=True, env=environment, check=False).returncode == 0
