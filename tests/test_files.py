import os
from pathlib import Path

import pytest

from glow_app.files import atomic_file


def test_a_file_is_replaced_whole_or_stays(tmp_path: Path) -> None:
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


def test_links_that_lie_beside_a_file_are_not_written_through(tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "of a stranger"
    victim.write_bytes(b"mine")
    folder.mkdir()
    (folder / f".file-{os.getpid()}").symlink_to(victim)
    with atomic_file(folder / "file") as file:
        file.write(b"theirs")
    assert victim.read_bytes() == b"mine"
    assert (folder / "file").read_bytes() == b"theirs"
    assert not (folder / "file").is_symlink()
