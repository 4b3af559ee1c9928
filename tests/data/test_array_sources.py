import gzip
import hashlib
import pickle
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from glow_app.data import ImageSet, load_split, torchvision_sets
from glow_app.data.resizing import convert_array

SPLITS = ("train", "validation", "test")
IDX = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}


def load(source: str, split: str = "train", shape: tuple[int, int, int] = (1, 28, 28), **options: object) -> ImageSet:
    return load_split(source, split, shape, **options)  # type: ignore[arg-type]


def test_unknown_source_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown source 'cifar'; known: digits, .*; did you mean cifar10\?"):
        load("cifar")
    with pytest.raises(ValueError, match="unknown source 'xyz'; known: digits, fashion_mnist"):
        load("xyz")


class TestDigits:
    def test_splits(self) -> None:
        pytest.importorskip("sklearn")
        sets = {split: load("digits", split, (1, 8, 8)) for split in SPLITS}
        assert sum(map(len, sets.values())) == 1797
        assert (len(sets["validation"]), len(sets["test"])) == (180, 180)
        assert sets["train"].class_names == tuple("0123456789")
        again = load("digits", "train", (1, 8, 8))
        assert np.array_equal(again.images, sets["train"].images)

    def test_pixels_lie_on_the_4_bit_grid(self) -> None:
        sklearn = pytest.importorskip("sklearn.datasets")
        images = np.concatenate([load("digits", split, (1, 8, 8)).images for split in SPLITS])
        assert images.dtype == np.uint8
        assert sorted(set(images.ravel().tolist())) == [17 * level for level in range(16)]
        levels = sklearn.load_digits().images
        assert np.isclose((levels == 16).mean(), 0.0909, atol=1e-4)
        assert images.astype(int).sum() == 17 * np.minimum(levels, 15).sum()

    def test_other_shape_and_limit(self) -> None:
        pytest.importorskip("sklearn")
        images = load("digits", "train", (3, 16, 12), limit=7)
        assert images.images.shape == (7, 3, 16, 12)
        assert images.labels.tolist() == load("digits", "train", (1, 8, 8)).labels[:7].tolist()

    def test_missing_sklearn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
        with pytest.raises(ValueError, match=r"needs scikit-learn; run: pip install 'glow-app\[demo\]'"):
            load("digits", "train", (1, 8, 8))


def write_idx(folder: Path, prefix: str, count: int, *, packed: bool = False, first: int = 0) -> None:
    """Image i is filled with the value ``first + i`` and labelled ``i % 10``."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = (first + np.arange(count, dtype=np.uint8))[:, None, None] * np.ones((1, 28, 28), dtype=np.uint8)
    files = {
        f"{prefix}-images-idx3-ubyte": struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes(),
        f"{prefix}-labels-idx1-ubyte": struct.pack(">II", 2049, count) + (np.arange(count) % 10).astype("u1").tobytes(),
    }
    for name, content in files.items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)


def values(images: ImageSet) -> list[int]:
    return [int(image[0, 14, 14]) for image in images.images]


@pytest.fixture(autouse=True)
def no_debian_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torchvision_sets, "DEBIAN_FASHION_MNIST", tmp_path / "debian")
    return tmp_path / "debian"


@pytest.mark.parametrize("source", IDX)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("layout", ["flat", "torchvision", "raw"])
def test_idx_files_where_they_are(tmp_path: Path, source: str, packed: bool, layout: str) -> None:
    folder = tmp_path / {"flat": "", "torchvision": f"{IDX[source]}/raw", "raw": "raw"}[layout]
    write_idx(folder, "train", 40, packed=packed)
    write_idx(folder, "t10k", 10, packed=packed, first=100)
    sets = {split: load(source, split, root=tmp_path) for split in SPLITS}
    assert [len(part) for part in sets.values()] == [36, 4, 10]
    assert sorted(values(sets["train"]) + values(sets["validation"])) == list(range(40))
    assert sorted(values(sets["test"])) == list(range(100, 110))
    assert sets["train"].labels.tolist() == [value % 10 for value in values(sets["train"])]
    assert sets["train"].class_names[3] == {"mnist": "3", "fashion_mnist": "Dress"}[source]
    assert values(load(source, "test", root=tmp_path, limit=3)) == values(sets["test"])[:3]


def test_default_root_comes_from_the_environment(tmp_path: Path) -> None:
    write_idx(tmp_path / "glow-data/MNIST/raw", "train", 20)
    assert len(load("mnist")) == 18


def test_debian_folder_only_without_a_root(no_debian_folder: Path, tmp_path: Path) -> None:
    write_idx(no_debian_folder, "train", 20, packed=True)
    assert len(load("fashion_mnist")) == 18
    with pytest.raises(FileNotFoundError):
        load("fashion_mnist", root=tmp_path)
    with pytest.raises(FileNotFoundError):
        load("mnist")


def test_pad_to_32_adds_a_border_without_scaling(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", 20)
    padded = load("mnist", shape=(1, 32, 32), root=tmp_path, resize="pad")
    native = load("mnist", root=tmp_path)
    assert np.array_equal(padded.images[:, :, 2:-2, 2:-2], native.images)
    assert not padded.images[:, :, :2].any()
    assert load("mnist", shape=(3, 14, 20), root=tmp_path).images.shape == (18, 3, 14, 20)


@pytest.mark.parametrize("source", [*IDX, "cifar10"])
def test_missing_files_say_where_and_how(tmp_path: Path, source: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"no .* in {tmp_path}.*; pass --data.download true, or --data.root"):
        load(source, root=tmp_path)


@pytest.mark.parametrize("packed", [False, True])
def test_labels_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    monkeypatch.setattr("glow_app.data.idx.MOST_LABELS", 1 << 20)
    write_idx(tmp_path, "train", 20)
    labels = struct.pack(">II", 2049, 1 << 21) + bytes(1 << 21)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    name = "train-labels-idx1-ubyte.gz" if packed else "train-labels-idx1-ubyte"
    (tmp_path / name).write_bytes(gzip.compress(labels) if packed else labels)
    with pytest.raises(ValueError, match="it holds more than 1,048,576 bytes"):
        load_split("mnist", "train", (1, 28, 28), root=tmp_path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_damaged_idx(tmp_path: Path, packed: bool, kind: str, damage: str) -> None:
    write_idx(tmp_path, "train", 40, packed=packed)
    path = tmp_path / f"train-{kind}-ubyte{'.gz' if packed else ''}"
    content = {"cut": path.read_bytes()[:-20], "empty": b"", "text": b"<html>404</html>" * 9}[damage]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{kind}-ubyte.* is damaged or not an idx file .*; delete it and fetch"):
        load("mnist", root=tmp_path)


def test_idx_pair_that_does_not_match(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", 40)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, 3) + b"\0\1\2")
    with pytest.raises(ValueError, match="has 40 images but train-labels-idx1-ubyte 3 labels"):
        load("mnist", root=tmp_path)


def test_download_only_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []

    def fetch(self: datasets.MNIST) -> None:
        calls.append(Path(self.raw_folder))
        for prefix in ("train", "t10k"):
            write_idx(Path(self.raw_folder), prefix, 20)

    monkeypatch.setattr(datasets.MNIST, "download", fetch)
    assert len(load("mnist", root=tmp_path, download=True)) == 18
    assert len(load("mnist", root=tmp_path, download=True)) == 18
    assert calls == [tmp_path / "MNIST/raw"]


@pytest.mark.parametrize(("source", "dataset"), [("mnist", datasets.MNIST), ("cifar10", datasets.CIFAR10)])
def test_failed_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, dataset: type) -> None:
    def fail(self: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(dataset, "download", fail)
    with pytest.raises(FileNotFoundError, match=f"could not download {dataset.__name__} to {tmp_path}: no route"):
        load(source, root=tmp_path, download=True)


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10's official layout with 4 images a file, under the checksums of these files."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)

    def write(name: str, content: object) -> list[str]:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    def batch(name: str) -> list[str]:
        return write(name, {"data": rng.integers(0, 256, (4, 3072), dtype=np.uint8), "labels": [0, 1, 2, 9]})

    monkeypatch.setattr(datasets.CIFAR10, "train_list", [batch(f"data_batch_{index}") for index in range(1, 6)])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [batch("test_batch")])
    name, md5 = write("batches.meta", {"label_names": [f"class{index}" for index in range(10)]})
    monkeypatch.setattr(datasets.CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": md5})
    return tmp_path


def test_cifar(cifar: Path) -> None:
    sets = {split: load("cifar10", split, (3, 32, 32), root=cifar) for split in SPLITS}
    assert [len(part) for part in sets.values()] == [18, 2, 4]
    original = pickle.loads((cifar / "cifar-10-batches-py/test_batch").read_bytes())["data"].reshape(-1, 3, 32, 32)
    found = {image.tobytes() for image in sets["test"].images}
    assert found == {image.tobytes() for image in original}
    assert sets["train"].class_names[9] == "class9"
    inner = load("cifar10", "test", (3, 32, 32), root=cifar / "cifar-10-batches-py")
    assert np.array_equal(inner.images, sets["test"].images)
    grey = load("cifar10", "test", (1, 32, 32), root=cifar)
    assert np.array_equal(grey.images, convert_array(sets["test"].images, (1, 32, 32), "crop"))


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damaged_cifar_is_never_unpickled(cifar: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    path = cifar / "cifar-10-batches-py/data_batch_3"
    if damage == "changed":
        path.write_bytes(path.read_bytes() + b"x")
    else:
        path.unlink()

    def never(*args: object, **options: object) -> object:
        raise AssertionError("unpickled")

    monkeypatch.setattr(pickle, "load", never)
    with pytest.raises(ValueError, match=r"cifar-10-batches-py is incomplete or damaged; pass --data.download true"):
        load("cifar10", "train", (3, 32, 32), root=cifar)
