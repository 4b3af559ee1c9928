from pathlib import Path

import pytest
from PIL import Image

from glow_app.data import listing
from glow_app.data.listing import list_images
from glow_app.pictures.images import save_picture


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def names(root: Path) -> list[str]:
    return [file.name for file in list_images(root).files]


def test_nested_and_sorted_by_posix_path_without_hidden_names(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a/z.JPG", "a/b/c.gif", "a-b.png", "a/notes.txt", "list.csv", ".b.png", "d/.e/f.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")  # listed, so that decoding reports it
    assert names(tmp_path) == ["a-b.png", "a/b/c.gif", "a/z.JPG", "b.png", "gone.png"]


def test_unsupported_formats_are_counted_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "can_read_heic", lambda: False)
    touch(tmp_path, "a.png", "b.HEIC", "c/d.heic", "e.avif", "notes.txt", ".f.heic")
    with pytest.warns(UserWarning, match=r"unsupported formats: 2 \.heic, 1 \.avif; convert .*, or pip install"):
        assert names(tmp_path) == ["a.png"]
    (tmp_path / "a.png").unlink()
    with pytest.raises(ValueError, match=r"no image files in .*; it contains 2 \.heic, 1 \.avif, which are not"):
        list_images(tmp_path)


def test_training_runs_are_skipped_unless_listed_themselves(tmp_path: Path) -> None:
    run = touch(tmp_path / "runs/x", "config.yaml", "metrics.csv", "samples/1.png")
    touch(tmp_path, "a.png", "b/config.yaml", "b/c.png")
    with pytest.warns(UserWarning, match=r"skipped 1 training run in .*: .*runs/x"):
        assert names(tmp_path) == ["a.png", "b/c.png"]
    assert names(run) == ["samples/1.png"]


def test_sheets_of_several_pictures_are_skipped_by_name_and_metadata(tmp_path: Path) -> None:
    written = {"model": "0123", "version": "0.2.0"}
    files = {"seed000001.png": written, "x_strip.png": written, "sub/grid.png": written, "grid.png": {}}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_picture(Image.new("RGB", (4, 4)), tmp_path / name, text)
    touch(tmp_path, "damaged_grid.png")  # listed, so that decoding reports it
    assert names(tmp_path) == ["damaged_grid.png", "grid.png", "seed000001.png"]


def test_links_are_followed_but_never_to_the_same_folder_twice(tmp_path: Path) -> None:
    touch(tmp_path, "real/a/1.png", "elsewhere/2.png")
    (tmp_path / "real/a/up").symlink_to(tmp_path / "real")
    (tmp_path / "real/self").symlink_to(".")
    for name in ("b", "c"):
        (tmp_path / "real" / name).symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "real") == ["a/1.png", "b/2.png"]


def test_folders_that_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"image folder .*nope does not exist"):
        list_images(tmp_path / "nope")
    touch(tmp_path, "file.png")
    with pytest.raises(ValueError, match=r"file.png is a file; expected a folder"):
        list_images(tmp_path / "file.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no image files in .*empty; expected files such as png"):
        list_images(tmp_path / "empty")
