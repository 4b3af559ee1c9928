import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from glow_app.data.image_set import ImageSet
from glow_app.data.sources import load_split
from glow_app.data.splits import Split

Make = Callable[..., Path]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def load(root: Path, split: str = "train", shape: tuple[int, int, int] = (3, 4, 6), **options: object) -> ImageSet:
    return load_split("folder", split, shape, root=root, **options)  # type: ignore[arg-type]


def values(images: ImageSet) -> list[int]:
    """The grey values that ``make_images`` wrote: which file each image is."""
    return [int(image[0, 0, 0]) for image in images.images]


def test_flat_folder(tmp_path: Path, make_images: Make) -> None:
    root = make_images(tmp_path / "flat", 20)
    sets = {split: load(root, split) for split in SPLITS}
    assert all(sets.values())
    assert sorted(value for part in sets.values() for value in values(part)) == list(range(20))
    assert sets["train"].class_names == ()
    assert not sets["train"].labels.any()
    assert values(load(root, seed=5)) != values(sets["train"])
    assert values(load(root, limit=5)) == values(sets["train"])[:5]


def test_a_table_gives_attributes_instead_of_classes(tmp_path: Path, make_images: Make) -> None:
    root = tmp_path / "pets"
    make_images(root / "cat", 10)
    make_images(root / "dog", 10, first=10)
    files = sorted(root.rglob("*.png"))
    lines = [f"{path.name},{number % 2},{number}" for number, path in enumerate(files) if number]
    (root / "attributes.csv").write_text("\n".join(["file,spotted,age", *lines]))
    for split in SPLITS:
        images, classes = load(root, split, attributes=True), load(root, split)
        assert (images.attributes, images.class_names) == ({"spotted": "yes_no", "age": "real"}, ())
        assert values(images) == values(classes)
        expected = torch.tensor([[v % 2, v] if v else [torch.nan] * 2 for v in values(images)], dtype=torch.float32)
        torch.testing.assert_close(images.labels, expected, equal_nan=True)
        assert torch.equal(images[0][1].nan_to_num(), images.labels[0].nan_to_num())
    (root / "attributes.csv").rename(tmp_path / "table.csv")
    assert load(root, attributes=str(tmp_path / "table.csv"), limit=3).labels.shape == (3, 2)
    with pytest.raises(FileNotFoundError):
        load(root, attributes=True)
    with pytest.raises(ValueError, match="attributes apply to sources"):
        load_split("photos", "train", (3, 4, 6), root=root, attributes=True)


CHANGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:40]),
    "deleted": Path.unlink,
    "renamed": lambda file: file.rename(file.with_stem(f"{file.stem} renamed")),
    "added": lambda file: shutil.copy(file, file.with_stem(f"{file.stem} added")),
    "in a copy of the folder": lambda file: None,
}


@pytest.mark.filterwarnings("ignore:3 of 40 files")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("source", ["folder", "photos"])
def test_a_change_of_a_file_moves_no_other_picture_between_the_splits(
    source: str, change: str, tmp_path: Path, make_images: Make
) -> None:
    def split_of(root: Path) -> dict[int, str]:
        parts = {split: load_split(source, split, (3, 4, 6), root=root) for split in SPLITS}
        return {value: split for split, part in parts.items() for value in values(part)}

    before = split_of(make_images(tmp_path / "some", 40))
    assert {*before.values()} == {*SPLITS}
    # One picture of each split.
    root, changed = tmp_path / "copy", {split: value for value, split in before.items()}.values()
    shutil.copytree(tmp_path / "some", root)
    for value in changed:
        CHANGES[change](root / f"{value:03d}.png")
    after = split_of(root)
    assert {value: after.get(value) for value in before if value not in changed}.items() <= before.items()


def test_by_class(tmp_path: Path, make_images: Make) -> None:
    make_images(tmp_path / "pets/dog/deeper", 10)
    make_images(tmp_path / "pets/train", 10, first=100)  # among other classes a class
    images = load(tmp_path / "pets")
    assert images.class_names == ("dog", "train")
    assert images.labels.tolist() == [int(value >= 100) for value in values(images)]
    make_images(tmp_path / "pets", 1)
    with pytest.warns(UserWarning, match="is unlabelled: "):
        assert load(tmp_path / "pets").class_names == ()


@pytest.mark.parametrize("validation_name", ["val", "Validation"])
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


def test_missing_splits_are_cut_from_train_and_other_folders_are_ignored(tmp_path: Path, make_images: Make) -> None:
    root = tmp_path / "sets"
    make_images(root / "Training/a", 20)
    assert load(root).class_names == ("a",)
    assert len(load(root)) < 20
    make_images(root / "eval/a", 5, first=50)
    make_images(root / "masks", 2)
    make_images(root, 1)
    with pytest.warns(UserWarning, match=r"has splits; ignored beside them: 1 picture, masks$"):
        train, validation, test = (load(root, split) for split in SPLITS)
    assert len(validation) >= 1
    assert sorted(values(train) + values(validation)) == list(range(20))
    assert sorted(values(test)) == [50, 51, 52, 53, 54]


def test_broken_files_and_bombs_are_reported_once_per_start(
    tmp_path: Path, make_images: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_images(tmp_path / "some", 20, size=(40, 40))
    good = (root / "000.png").read_bytes()
    (root / "truncated.png").write_bytes(good[: len(good) // 2])
    (root / "gone.gif").symlink_to("nowhere")
    Image.new("L", (100, 100)).save(root / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    for _ in range(2):  # the second start reads the cache
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("default")  # as Python's: one line reports the same text once
            images = [value for split in SPLITS for value in values(load(root, split))]
        (message,) = [str(warning.message) for warning in seen]
        assert re.match(r"3 of 23 files in .*some cannot be used: bomb.png \(it has more than 4,000 pi", message)
        assert sorted(images) == list(range(20))


def test_unusable_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/a.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"no usable image: a.png \(unknown image format"):
        load(tmp_path / "broken")
    assert not any((tmp_path / "glow-cache").iterdir())
    with pytest.raises(ValueError, match=r"source 'folder' needs a folder; pass --data.root DIR"):
        load_split("folder", "train", (3, 8, 8))
