"""Photographs as a source of crops."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glow_app.data.decoding import decode_photo
from glow_app.data.image_set import ImageSet
from glow_app.data.sources import load_split

SPLITS = ("train", "validation", "test")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 20 photographs, each with values of its own."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        array = np.full((48, 40 + number, 3), 10 * number, np.uint8)
        array[::2, :, 0] += number + 1
        Image.fromarray(array).save(folder / f"{number:02d}.png")
    return folder


def load(folder: Path, split: str = "train", size: int = 16, **options: object) -> ImageSet:
    options = {"root": folder, "cache_dir": folder.parent / "cache", **options}
    return load_split("photos", split, (3, size, size), **options)  # type: ignore[arg-type]


def numbers(crops: ImageSet) -> set[int]:
    """Return the numbers of the photographs that crops come from."""
    return set((np.unique(crops.images[:, 2]) // 10).tolist())


def test_a_photograph_gives_many_crops_and_belongs_to_one_split(photos: Path) -> None:
    splits = [load(photos, split) for split in SPLITS]
    assert all(crops.image_shape == (3, 16, 16) for crops in splits)
    counts = [len(numbers(crops)) for crops in splits]
    assert sum(counts) == len(set.union(*map(numbers, splits))) == 20
    assert min(counts) >= 1
    assert len(splits[0]) > counts[0] * 10
    assert len({crop.tobytes() for crop in splits[0].images}) == 2 * counts[0], "at odd and at even rows"


def test_crops_are_the_same_in_every_run_and_shuffled(photos: Path) -> None:
    first, again = load(photos), load(photos, cache_dir=photos.parent / "another")
    assert np.array_equal(first.images, again.images)
    assert len(set(first.images[:10, 2, 0, 0].tolist())) > 3
    assert torch.equal(first.labels, torch.zeros(len(first), dtype=torch.int64))
    assert len(load(photos, limit=7)) == 7


def test_a_large_photograph_is_reduced_and_grey_on_request(tmp_path: Path) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (700, 1024, 3), dtype=np.uint8))
    picture.save(tmp_path / "large.png")
    assert decode_photo(tmp_path / "large.png", 3, 512).shape == (3, 512, 749)
    assert decode_photo(tmp_path / "large.png", 1, 1000).shape == (1, 700, 1024)
    assert decode_photo(tmp_path / "large.png", 3, 800).shape == (3, 700, 1024)


def test_small_and_broken_files_are_skipped(photos: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match="expected at least 64x64"):
        load(photos, size=64)
    Image.new("RGB", (64, 64)).save(photos / "99.png")
    with pytest.warns(UserWarning, match="21 of 22 files"), pytest.raises(ValueError, match="split in"):
        _ = [load(photos, split, 64) for split in SPLITS]
