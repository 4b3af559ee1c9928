"""A run has a folder, which its processes share and no other run uses."""

import fcntl
import re
from pathlib import Path

import pytest

from lightning_modules.runs.run_folder import choose_run_dir, prepare_run_dir, release_run_dir

LAUNCHERS = ("SLURM_JOB_ID", "SLURM_STEP_ID", "TORCHELASTIC_RUN_ID", "LOCAL_RANK", "GLOW_RUN_DIR")


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, r"\d{8}-\d{6}"),
        ({"SLURM_JOB_ID": "77"}, r"\d{8}-\d{6}"),
        ({"SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0"}, "77"),
        ({"TORCHELASTIC_RUN_ID": "night"}, "night"),
    ],
)
def test_the_processes_of_a_launcher_share_a_folder(
    environment: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in LAUNCHERS:
        monkeypatch.setenv(variable, "")  # so that what the code sets is removed afterwards
        monkeypatch.delenv(variable)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert re.fullmatch(f"runs/mine/{name}", choose_run_dir("mine", None))
    assert choose_run_dir("mine", "elsewhere") == "elsewhere"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_run_dir("mine", "another") == "elsewhere"


def test_incomplete_checkpoints_are_removed_only_on_resume(tmp_path: Path) -> None:
    torn = tmp_path / "run" / ".last.ckpt-123"
    torn.parent.mkdir()
    torn.write_bytes(b"half")
    prepare_run_dir(torn.parent, None, begin_anew=False)
    release_run_dir()
    assert torn.exists()
    prepare_run_dir(torn.parent, torn.parent / "last.ckpt", begin_anew=False)
    assert not torn.exists()
    release_run_dir()
    assert not torn.parent.exists(), "an empty folder is removed"
    new = tmp_path / "new" / "run" / "time"
    prepare_run_dir(new, None, begin_anew=False)
    release_run_dir()
    assert list(tmp_path.iterdir()) == [], "with the parents that were created for it"


def test_another_runs_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"")
    for resumed in (None, tmp_path.parent / "another" / "last.ckpt"):
        with pytest.raises(FileExistsError, match=r"contains an earlier run; resume it with --resume"):
            prepare_run_dir(tmp_path, resumed, begin_anew=False)
        release_run_dir()


def test_a_folder_is_for_one_process_at_a_time(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as another process would
        with pytest.raises(FileExistsError, match="another process is training in"):
            prepare_run_dir(tmp_path, None, begin_anew=False)
    prepare_run_dir(tmp_path, None, begin_anew=False)
    release_run_dir()
