import subprocess
import sys
from pathlib import Path

import pytest

from glow_app.data.unfinished import built_folder

KILLED = """
import os, signal, sys
from pathlib import Path
from glow_app.data.unfinished import built_folder
with built_folder(Path(sys.argv[1]), ["part"], lambda _: True, overwrite=True) as building:
    (building / "part").touch()
    if sys.argv[2] == "replacing":
        os.replace(sys.argv[1], building.parent / "old")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_a_builder_of(folder: Path, moment: str = "building") -> Path:
    """Return the temporary folder that it leaves."""
    subprocess.run([sys.executable, "-c", KILLED, folder, moment], check=False)
    (scratch,) = folder.parent.glob(".*")
    return scratch


def build(folder: Path) -> None:
    with built_folder(folder, ["part"], lambda _: True, overwrite=True) as building:
        (building / "part").touch()


@pytest.mark.parametrize("name", ["folder", "with [brackets]"])
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path, name: str) -> None:
    scratch = kill_a_builder_of(tmp_path / name)
    assert (scratch / "new/part").exists()
    build(tmp_path / "other")
    assert scratch.exists()
    build(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "other"])
    assert [path.name for path in (tmp_path / name).iterdir()] == ["part"]


def test_what_a_living_process_builds_stays(tmp_path: Path) -> None:
    with built_folder(tmp_path / "folder", ["part"], lambda _: True, overwrite=True) as building:
        build(tmp_path / "folder")
        assert building.exists()
        (building / "part").write_text("of the slower one")
    assert (tmp_path / "folder/part").read_text() == "of the slower one"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_was_to_be_replaced_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/part").write_text("the only one")
    scratch = kill_a_builder_of(tmp_path / "folder", "replacing")
    build(tmp_path / "folder")
    assert (scratch / "old/part").read_text() == "the only one"


def test_folders_of_others_stay(tmp_path: Path) -> None:
    for name in (".folder-mine", ".folder-12345678"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "new").touch()
    build(tmp_path / "folder")
    assert len(list(tmp_path.iterdir())) == 3


def test_a_disk_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    build(tmp_path / "folder")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["part"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
