import errno
import os
from pathlib import Path

import pytest

from glow_app.files import atomic_file, atomic_folder


def test_a_file_is_replaced_whole_or_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_file(path) as file:
        file.write(b"first")

    def fail() -> None:
        with atomic_file(path) as file:
            file.write(b"second")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_the_error_of_a_full_disk_names_the_target(tmp_path: Path) -> None:
    path = tmp_path / "result"
    for written in (atomic_file(path), atomic_folder(path, [])):
        with pytest.raises(OSError, match="No space left") as failed, written:
            raise OSError(errno.ENOSPC, "No space left on device")
        assert failed.value.filename == str(path)
    assert not list(tmp_path.iterdir())


def test_names_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("\u00e9" * 125 + ".png")
    with atomic_file(path) as file:
        file.write(b"content")
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupted_replacement_keeps_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    folder, replace = tmp_path / "result", os.replace
    folder.mkdir()
    (folder / "old").touch()

    def interrupted(source: Path, target: Path) -> None:
        monkeypatch.undo()
        if when == "after":
            replace(source, target)
        raise KeyboardInterrupt

    def exchange() -> None:
        with atomic_folder(folder, ["old"], overwrite=True) as new:
            (new / "new").touch()
            monkeypatch.setattr(os, "replace", interrupted)

    with pytest.raises(KeyboardInterrupt):
        exchange()
    assert [path.name for path in tmp_path.iterdir()] == ["result"]
    assert [path.name for path in folder.iterdir()] == ["old"]
