from collections.abc import Callable
from pathlib import Path

import pytest

from glow_app.data import listing
from glow_app.data.listing import list_images


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def names(root: Path) -> list[str]:
    return [file.name for file in list_images(root).files]


def test_nested_sorted_by_posix_path(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a/z.JPG", "a/b/c.gif", "a-b.png", "a/notes.txt", "list.csv")
    assert names(tmp_path) == ["a-b.png", "a/b/c.gif", "a/z.JPG", "b.png"]


def test_images_of_other_kinds_are_counted_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "can_read_heic", lambda: False)
    touch(tmp_path, "a.png", "b.HEIC", "c/d.heic", "e.avif", "notes.txt", ".f.heic")
    with pytest.warns(
        UserWarning, match=r"unsupported formats: 2 \.heic, 1 \.avif; convert .*, or pip install 'glow-app\[heic\]'$"
    ):
        assert names(tmp_path) == ["a.png"]
    (tmp_path / "a.png").unlink()
    with pytest.raises(ValueError, match=r"no image files in .*; it contains 2 \.heic, 1 \.avif, which are not"):
        list_images(tmp_path)


def test_hidden_names_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", ".b.png", ".cache/c.png", "d/.e/f.png")
    assert names(tmp_path) == ["a.png"]


def test_trainings_are_left_out_unless_they_are_what_is_listed(tmp_path: Path) -> None:
    run = touch(tmp_path / "runs/x", "config.yaml", "metrics.csv", "samples/1.png")
    touch(tmp_path, "a.png", "b/config.yaml", "b/c.png")
    with pytest.warns(UserWarning, match=r"left out 1 training run in .*: .*runs/x"):
        assert names(tmp_path) == ["a.png", "b/c.png"]
    assert names(run) == ["samples/1.png"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "real/a/1.png", "elsewhere/2.png")
    (tmp_path / "real/a/up").symlink_to(tmp_path / "real")
    (tmp_path / "real/self").symlink_to(".")
    (tmp_path / "real/b").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "real") == ["a/1.png", "b/2.png"]


def test_links_that_multiply(tmp_path: Path) -> None:
    for level in range(5):
        (tmp_path / f".levels/{level}").mkdir(parents=True)
        for way in range(4):
            (tmp_path / f".levels/{level}/{way}").symlink_to(f"../{level + 1}")
    (tmp_path / ".levels/5").mkdir()
    (tmp_path / ".levels/5/one.png").write_bytes(b"")
    (tmp_path / "all").symlink_to(".levels/0")
    with pytest.raises(ValueError, match=r"links lead to .* by more than 100 paths; remove some links"):
        list_images(tmp_path)
    (tmp_path / "all").unlink()
    (tmp_path / "all").symlink_to(".levels/2")
    assert len(list_images(tmp_path).files) == 64


def test_dangling_link_is_listed(tmp_path: Path) -> None:
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (file,) = list_images(tmp_path).files
    assert (file.name, file.size) == ("gone.png", -1)


def test_classes_are_first_level_directories(tmp_path: Path) -> None:
    listing = list_images(touch(tmp_path, "dog/1.png", "cat/deep/2.png", "cat/3.png"))
    assert listing.class_names == ("cat", "dog")
    assert listing.labels(["dog/1.png", "cat/3.png"]) == [1, 0]


def test_an_image_at_the_top_makes_it_unlabelled(tmp_path: Path) -> None:
    listing = list_images(touch(tmp_path, "dog/1.png", "2.png"))
    assert listing.class_names == ()
    assert listing.labels(["dog/1.png", "2.png"]) == [0, 0]


def test_below(tmp_path: Path) -> None:
    listing = list_images(touch(tmp_path, "train/a/1.png", "train/b/2.png", "trainer/3.png")).below("train")
    assert listing.root == tmp_path / "train"
    assert [file.name for file in listing.files] == ["a/1.png", "b/2.png"]
    assert listing.class_names == ("a", "b")


def test_missing_file_and_empty(tmp_path: Path, make_images: Callable[..., Path]) -> None:
    with pytest.raises(FileNotFoundError, match=r"image folder .*nope does not exist"):
        list_images(tmp_path / "nope")
    touch(tmp_path, "only.txt", "file.png")
    with pytest.raises(ValueError, match=r"file.png is a file; expected a folder"):
        list_images(tmp_path / "file.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no image files in .*empty; expected files such as png, jpg"):
        list_images(tmp_path / "empty")


def test_folder_that_cannot_be_listed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    touch(tmp_path, "a.png", "closed/b.png")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.warns(UserWarning, match="cannot be listed: .*Permission denied"):
        assert names(tmp_path) == ["a.png"]
