"""MNIST, Fashion-MNIST and CIFAR-10, in the files that torchvision uses."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torchvision import datasets

from glow_app.data.base import ImageSet
from glow_app.data.idx import find_idx, read_idx_pair
from glow_app.data.request import SplitRequest
from glow_app.data.resizing import convert_array
from glow_app.data.splits import choose, shuffled

# Where Debian's package dataset-fashion-mnist installs the original files.
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


def default_root() -> Path:
    """Return ``$GLOW_DATA``, or ``~/.cache/glow/datasets``."""
    return Path(os.environ.get("GLOW_DATA") or "~/.cache/glow/datasets").expanduser()


def load_mnist(request: SplitRequest) -> ImageSet:
    """Load one split of MNIST (28x28 grey); arguments and errors as for :func:`load_fashion_mnist`."""
    return _official(request, lambda train: _idx_pool(request, datasets.MNIST, train, _folders(request, "MNIST")))


def load_fashion_mnist(request: SplitRequest) -> ImageSet:
    """Load one split of Fashion-MNIST (28x28 grey).

    Looked for in the root itself, in torchvision's ``FashionMNIST/raw`` below it, and when no root is given in the
    folder of Debian's package ``dataset-fashion-mnist``.

    Args:
        request: What to load.
    Raises:
        FileNotFoundError: If the files are not there and are not to be, or cannot be, downloaded.
        ValueError: If a file is damaged.
    """
    folders = _folders(request, "FashionMNIST")
    if request.root is None:
        folders.append(DEBIAN_FASHION_MNIST)
    return _official(request, lambda train: _idx_pool(request, datasets.FashionMNIST, train, folders))


def load_cifar10(request: SplitRequest) -> ImageSet:
    """Load one split of CIFAR-10 (32x32 RGB) from ``cifar-10-batches-py``, whose checksums torchvision verifies.

    Args:
        request: What to load.
    Raises:
        FileNotFoundError: If the files are not there and are not to be, or cannot be, downloaded.
        ValueError: If a file is damaged.
    """
    return _official(request, lambda train: _cifar_pool(request, train))


def _official(request: SplitRequest, load: Callable[[bool], ImageSet]) -> ImageSet:
    """The official test files are the test split; validation is cut from the training files."""
    test = request.split == "test"
    chosen = shuffled(load(False), request) if test else choose(load(True), request, ("test",))
    if chosen.image_shape == request.image_shape:
        return chosen
    images = convert_array(chosen.images, request.image_shape, request.resize)
    return ImageSet(images, chosen.labels, chosen.class_names)


def _folders(request: SplitRequest, name: str) -> list[Path]:
    root = request.root or default_root()
    return [root, root / "raw", root / name / "raw"]


def _idx_pool(request: SplitRequest, dataset: type[datasets.MNIST], train: bool, folders: list[Path]) -> ImageSet:
    prefix = "train" if train else "t10k"
    pair = _find_pair(folders, prefix)
    if pair is None and request.download:
        _download(dataset, request.root or default_root())
        pair = _find_pair(folders, prefix)
    if pair is None:
        raise _missing(f"{prefix}-images-idx3-ubyte", dataset, folders)
    pixels, labels = read_idx_pair(*pair)
    return ImageSet(pixels.numpy()[:, None], labels, [name.split(" - ")[0] for name in dataset.classes])


def _find_pair(folders: list[Path], prefix: str) -> tuple[Path, Path] | None:
    for folder in folders:
        images = find_idx(folder, f"{prefix}-images-idx3-ubyte")
        labels = find_idx(folder, f"{prefix}-labels-idx1-ubyte")
        if images and labels:
            return images, labels
    return None


def _cifar_pool(request: SplitRequest, train: bool) -> ImageSet:
    root = request.root or default_root()
    if root.name == datasets.CIFAR10.base_folder:
        root = root.parent
    if request.download:
        _download(datasets.CIFAR10, root)
    if not (root / datasets.CIFAR10.base_folder).is_dir():
        raise _missing(datasets.CIFAR10.base_folder, datasets.CIFAR10, [root])
    try:
        # The files are pickles: torchvision opens none before the checksums of all have proved right.
        cifar = datasets.CIFAR10(str(root), train=train)
    except RuntimeError as error:
        folder = root / datasets.CIFAR10.base_folder
        raise ValueError(f"{folder} is incomplete or damaged; pass --data.download true to fetch it again") from error
    images = np.ascontiguousarray(cifar.data.transpose(0, 3, 1, 2))
    return ImageSet(images, torch.tensor(cifar.targets, dtype=torch.int64), cifar.classes)


def _download(dataset: type[datasets.MNIST] | type[datasets.CIFAR10], root: Path) -> None:
    try:
        dataset(str(root), download=True)
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(f"could not download {dataset.__name__} to {root}: {error}") from error


def _missing(what: str, dataset: type, folders: list[Path]) -> FileNotFoundError:
    places = ", ".join(str(folder) for folder in folders)
    return FileNotFoundError(
        f"{dataset.__name__}: no {what} in {places}; pass --data.download true, or --data.root DIR if you have it "
        "(--root, where a command has it)"
    )
