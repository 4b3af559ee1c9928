import json
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glow_app.data import ImageSet, load_split

Make = Callable[..., Path]


def load(root: Path, split: str = "train", shape: tuple[int, int, int] = (3, 4, 6), **options: object) -> ImageSet:
    return load_split("folder", split, shape, root=root, **options)  # type: ignore[arg-type]


def values(images: ImageSet) -> list[int]:
    """The grey values that ``make_images`` wrote: which file each image is."""
    return [int(image[0, 0, 0]) for image in images.images]


def test_flat_folder(tmp_path: Path, make_images: Make) -> None:
    root = make_images(tmp_path / "flat", 20)
    sets = {split: load(root, split) for split in ("train", "validation", "test")}
    assert [len(part) for part in sets.values()] == [16, 2, 2]
    assert sorted(value for part in sets.values() for value in values(part)) == list(range(20))
    assert sets["train"].class_names == ()
    assert not sets["train"].labels.any()
    assert values(load(root)) == values(sets["train"])
    assert values(load(root, seed=5)) != values(sets["train"])
    assert isinstance(sets["train"]._storage, np.memmap)


def test_by_class(tmp_path: Path, make_images: Make) -> None:
    make_images(tmp_path / "pets/dog/deeper", 10)
    make_images(tmp_path / "pets/cat", 10, first=100)
    images = load(tmp_path / "pets")
    assert images.class_names == ("cat", "dog")
    assert images.labels.tolist() == [0 if value >= 100 else 1 for value in values(images)]


def test_limit_is_a_prefix_of_the_split(tmp_path: Path, make_images: Make) -> None:
    root = make_images(tmp_path / "flat", 30)
    assert values(load(root, limit=5)) == values(load(root))[:5]
    assert len(load(root, limit=1000)) == 24


@pytest.mark.parametrize("validation_name", ["val", "valid", "validation"])
def test_split_folders(tmp_path: Path, make_images: Make, validation_name: str) -> None:
    root = tmp_path / "sets"
    make_images(root / "train/b", 4)
    make_images(root / "train/c", 4, first=10)
    make_images(root / f"{validation_name}/c", 2, first=20)
    make_images(root / "test/a", 3, first=30)
    assert sorted(values(load(root))) == [0, 1, 2, 3, 10, 11, 12, 13]
    assert sorted(values(load(root, "validation"))) == [20, 21]
    test = load(root, "test")
    assert sorted(values(test)) == [30, 31, 32]
    # One numbering for all splits, also where a split lacks a class.
    assert test.class_names == load(root).class_names == ("a", "b", "c")
    assert load(root, "validation").labels.tolist() == [2, 2]
    assert test.labels.tolist() == [0, 0, 0]


@pytest.mark.parametrize(("train", "other", "split"), [("Train", "Test", "test"), ("training", "dev", "validation")])
def test_split_folders_by_other_names(tmp_path: Path, make_images: Make, train: str, other: str, split: str) -> None:
    root = tmp_path / "sets"
    make_images(root / train / "cat", 12)
    make_images(root / other / "cat", 3)
    make_images(root / "masks", 2)
    make_images(root, 1)
    with pytest.warns(UserWarning, match=r"has splits; left out beside them: 1 picture, masks$"):
        images = load(root, split)
    assert len(images) == 3
    assert images.class_names == ("cat",)


def test_a_picture_beside_the_folders_of_classes_is_reported(tmp_path: Path, make_images: Make) -> None:
    root = tmp_path / "pets"
    make_images(root / "cat", 12)
    make_images(root / "dog", 12)
    make_images(root, 1)
    with pytest.warns(UserWarning, match="has no classes: 1 picture beside its folders"):
        assert load(root).class_names == ()


def test_a_class_is_a_line_of_text(tmp_path: Path, make_images: Make) -> None:
    root = tmp_path / "colours"
    make_images(root / "\u82b1\u3000\u8d64", 12)
    make_images(root / "b", 12)
    assert load(root).class_names == ("b", "\u82b1\u3000\u8d64")
    (root / "b").rename(root / "b\nc")
    with pytest.raises(ValueError, match=r"has the class 'b\\nc'; expected a line of text: rename the folder"):
        load(root)


def test_missing_validation_is_cut_from_train(tmp_path: Path, make_images: Make) -> None:
    root = tmp_path / "sets"
    make_images(root / "train", 20)
    make_images(root / "test", 5, first=50)
    train, validation = load(root), load(root, "validation")
    assert len(validation) == 2
    assert sorted(values(train) + values(validation)) == list(range(20))
    assert sorted(values(load(root, "test"))) == [50, 51, 52, 53, 54]


def test_train_alone_is_a_split_not_a_class(tmp_path: Path, make_images: Make) -> None:
    make_images(tmp_path / "sets/train/a", 10)
    make_images(tmp_path / "sets/train/b", 10, first=10)
    images = load(tmp_path / "sets")
    assert images.class_names == ("a", "b")
    assert len(images) == 16


def test_train_among_other_classes_is_a_class(tmp_path: Path, make_images: Make) -> None:
    for index, name in enumerate(("bus", "car", "train")):
        make_images(tmp_path / "vehicles" / name, 5, first=10 * index)
    assert load(tmp_path / "vehicles").class_names == ("bus", "car", "train")


def test_mixed_sizes_and_modes(tmp_path: Path) -> None:
    root = tmp_path / "mixed"
    root.mkdir()
    for index, mode in enumerate(("RGB", "L", "P", "RGBA", "LA", "1", "I;16")):
        Image.new(mode, (5 + 7 * index, 40 - 3 * index), 0).save(root / f"{index}.png")
    Image.new("CMYK", (9, 9)).save(root / "7.jpg")
    images = load(root, shape=(3, 8, 12), validation_fraction=0, test_fraction=0)
    assert images.images.shape == (8, 3, 8, 12)
    assert load(root, shape=(1, 5, 7), resize="pad", test_fraction=0.2).image_shape == (1, 5, 7)


def break_files(root: Path) -> set[str]:
    good = (root / "000.png").read_bytes()
    (root / "empty.png").write_bytes(b"")
    (root / "text.jpg").write_text("no image")
    (root / "truncated.png").write_bytes(good[: len(good) // 2])
    (root / "gone.gif").symlink_to("nowhere")
    return {"empty.png", "text.jpg", "truncated.png", "gone.gif"}


def test_broken_files_are_skipped_and_reported_once_a_start(tmp_path: Path, make_images: Make) -> None:
    root = make_images(tmp_path / "some", 20, size=(40, 40))
    broken = break_files(root)
    for _ in range(2):  # the second start reads the cache
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("default")  # as Python's: the same words of the same line once
            images = [value for split in ("train", "validation", "test") for value in values(load(root, split))]
        (message,) = [str(warning.message) for warning in seen]
        assert re.match(r"4 of 24 files in .*some are left out: .*empty.png \(.*; and 1 more", message)
        assert sorted(images) == list(range(20))
    (manifest,) = (tmp_path / "glow-cache").glob("*/manifest.json")
    content = json.loads(manifest.read_text())
    assert {name for name, _ in content["skipped"]} == broken
    assert all(reason for _, reason in content["skipped"])
    assert len(content["files"]) == 20


def test_decompression_bomb_is_skipped(tmp_path: Path, make_images: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_images(tmp_path / "some", 10)
    Image.new("L", (100, 100)).save(root / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.warns(UserWarning, match=r"1 of 11 files .*bomb.png \(it has more than 2,000 pixels"):
        assert len(load(root, validation_fraction=0, test_fraction=0)) == 10


def test_nothing_readable(tmp_path: Path) -> None:
    root = tmp_path / "broken"
    root.mkdir()
    (root / "a.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"no readable image: 1 of 1 files in .*a.png \(cannot identify"):
        load(root)
    assert not any((tmp_path / "glow-cache").iterdir())


def test_too_few_images(tmp_path: Path, make_images: Make) -> None:
    with pytest.raises(ValueError, match="2 images are too few"):
        load(make_images(tmp_path / "few", 2))


def test_root_is_needed() -> None:
    with pytest.raises(ValueError, match=r"source 'folder' needs the folder's path; pass --data.root DIR"):
        load_split("folder", "train", (3, 8, 8))


def test_splits_do_not_depend_on_place_or_listing_order(tmp_path: Path, make_images: Make) -> None:
    root = make_images(tmp_path / "one", 12)
    for file in sorted(root.iterdir(), reverse=True):
        (tmp_path / "two").mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / "two")
    assert values(load(root)) == values(load(tmp_path / "two"))
