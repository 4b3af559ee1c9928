"""MNIST, Fashion-MNIST and CIFAR-10, from the files that torchvision uses."""

import os
from pathlib import Path

import numpy as np
import torch
from torchvision import datasets

from glow_app.data.base import ImageSet
from glow_app.data.idx import find_idx, read_idx_pair
from glow_app.data.request import SplitRequest
from glow_app.data.splits import choose

# Where Debian's package dataset-fashion-mnist installs the original files.
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


def default_root() -> Path:
    """Return ``$GLOW_DATA``, or ``~/.cache/glow/datasets``."""
    return Path(os.environ.get("GLOW_DATA") or "~/.cache/glow/datasets").expanduser()


def load_torchvision(name: str, request: SplitRequest) -> ImageSet:
    """Load one split of MNIST or Fashion-MNIST (28x28 grey), or of CIFAR-10 (32x32 RGB).

    The official test files are the test split; validation is cut from the training files. Files of the MNIST family
    are searched in the root and in torchvision's folder ``raw`` below it; without a root, Fashion-MNIST also in the
    folder of Debian's package ``dataset-fashion-mnist``. CIFAR-10 is read from ``cifar-10-batches-py``; torchvision
    verifies its checksums.

    Args:
        name: "mnist", "fashion_mnist" or "cifar10".
        request: What to load.
    Raises:
        FileNotFoundError: If the files are missing, and downloading fails or is not requested.
        ValueError: If a file is damaged.
    """
    is_training = request.split != "test"
    pool = _cifar_pool(request, is_training) if name == "cifar10" else _idx_pool(name, request, is_training)
    return choose(pool, request, ("test",))


def _idx_pool(name: str, request: SplitRequest, train: bool) -> ImageSet:
    dataset = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST}[name]
    root = request.root or default_root()
    folders = [root, root / "raw", root / dataset.__name__ / "raw"]
    if dataset is datasets.FashionMNIST and request.root is None:
        folders.append(DEBIAN_FASHION_MNIST)
    prefix = "train" if train else "t10k"
    pair = _find_pair(folders, prefix)
    if pair is None and request.download:
        _download(dataset, root)
        pair = _find_pair(folders, prefix)
    if pair is None:
        raise _missing(f"{prefix}-images-idx3-ubyte", dataset, folders)
    pixels, labels = read_idx_pair(*pair)
    return ImageSet(pixels[:, None], torch.from_numpy(labels), [name.split(" - ")[0] for name in dataset.classes])


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
        # The files are pickles; torchvision verifies the checksums of all before it opens any.
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
