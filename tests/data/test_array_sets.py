import struct
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from glow_app.data.image_set import ImageSet
from glow_app.data.sources import load_split

SPLITS = ("train", "validation", "test")
IDX = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}


def load(source: str, split: str = "train", shape: tuple[int, int, int] = (1, 28, 28), **options: object) -> ImageSet:
    return load_split(source, split, shape, **options)  # type: ignore[arg-type]


def test_an_unknown_source_suggests_the_closest() -> None:
    with pytest.raises(ValueError, match=r"unknown source 'cifar'; known: digits, .*; did you mean cifar10\?"):
        load("cifar")


def test_digits_have_three_splits_and_16_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    sklearn = pytest.importorskip("sklearn.datasets")
    sets = {split: load("digits", split, (1, 8, 8)) for split in SPLITS}
    assert [len(part) for part in sets.values()] == [1437, 180, 180]
    assert sets["train"].class_names == tuple("0123456789")
    images = np.concatenate([part.images for part in sets.values()])
    assert sorted(set(images.ravel().tolist())) == [17 * level for level in range(16)]
    assert images.astype(int).sum() == 17 * np.minimum(sklearn.load_digits().images, 15).sum()
    few = load("digits", "train", (3, 16, 12), limit=7)
    assert few.images.shape == (7, 3, 16, 12)
    assert few.labels.tolist() == sets["train"].labels[:7].tolist()
    monkeypatch.setattr("glow_app.data.array_sets.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs scikit-learn; run: pip install 'glow-app\[demo\]'"):
        load("digits", "train", (1, 8, 8))


def write_idx(folder: Path) -> None:
    """Write 40 images to train on, filled with 0 to 39, and 10 to test, with 100 to 109; value n has label n % 10."""
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, numbers in (("train", range(40)), ("t10k", range(100, 110))):
        values = np.array(numbers, dtype=np.uint8)
        pixels, labels = np.tile(values[:, None, None], (28, 28)), values % 10
        files = {
            f"{prefix}-images-idx3-ubyte": struct.pack(">IIII", 2051, len(values), 28, 28) + pixels.tobytes(),
            f"{prefix}-labels-idx1-ubyte": struct.pack(">II", 2049, len(values)) + labels.tobytes(),
        }
        for name, content in files.items():
            (folder / name).write_bytes(content)


def values(images: ImageSet) -> list[int]:
    return [int(image[0, 14, 14]) for image in images.images]


@pytest.mark.parametrize("source", IDX)
def test_idx_files(tmp_path: Path, source: str) -> None:
    write_idx(tmp_path / IDX[source] / "raw")
    sets = {split: load(source, split, root=tmp_path) for split in SPLITS}
    assert [len(part) for part in sets.values()] == [36, 4, 10]
    assert sorted(values(sets["train"]) + values(sets["validation"])) == list(range(40))
    assert sorted(values(sets["test"])) == list(range(100, 110))
    assert sets["train"].labels.tolist() == [value % 10 for value in values(sets["train"])]
    assert sets["train"].class_names[3] == {"mnist": "3", "fashion_mnist": "Dress"}[source]


@pytest.mark.parametrize("source", [*IDX, "cifar10"])
def test_missing_files_are_reported_with_a_remedy_that_the_command_has(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object) -> None:
        raise OSError("no network")

    for each in (datasets.MNIST, datasets.CIFAR10):
        monkeypatch.setattr(each, "download", fetch)
    files = "the folder of its files as"
    remedies = {
        None: rf"; pass {files} --root$",
        False: rf"; pass --data.download true, or {files} --data.root$",
        True: rf"\(no network\); downloading failed; try again, or pass {files} --data.root$",
    }
    for download, remedy in remedies.items():
        with pytest.raises(FileNotFoundError, match=f"cannot be read from {tmp_path} .*{remedy}"):
            load(source, root=tmp_path, download=download)


def test_download_only_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []

    def fetch(self: datasets.MNIST) -> None:
        calls.append(Path(self.raw_folder))
        write_idx(Path(self.raw_folder))

    monkeypatch.setattr(datasets.MNIST, "download", fetch)
    assert len(load("mnist", root=tmp_path, download=True)) == 36
    assert len(load("mnist", root=tmp_path)) == 36
    assert calls == [tmp_path / "MNIST/raw"]
