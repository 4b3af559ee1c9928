"""MNIST, Fashion-MNIST and CIFAR-10, read by torchvision."""

import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from torchvision import datasets

from glow_app.data.base import ImageSet, choose
from glow_app.data.request import SplitRequest

_SETS = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST, "cifar10": datasets.CIFAR10}

# Where Debian's package dataset-fashion-mnist installs the original files.
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


def load_torchvision(name: str, request: SplitRequest) -> ImageSet:
    """Load one split of MNIST or Fashion-MNIST (28x28 grey), or of CIFAR-10 (32x32 RGB).

    The official test files are the test split; validation is cut from the training files. The root, by default
    ``$GLOW_DATA`` or ``~/.cache/glow/datasets``, contains the files as torchvision downloads them: ``MNIST/raw``,
    ``FashionMNIST/raw`` or ``cifar-10-batches-py``. Without a root, the files of Debian's package
    ``dataset-fashion-mnist`` are unpacked there.

    Args:
        name: "mnist", "fashion_mnist" or "cifar10".
        request: What to load.
    Raises:
        FileNotFoundError: If the files are missing or damaged, and downloading fails or is not requested.
    """
    dataset = _SETS[name]
    root = request.root or Path(os.environ.get("GLOW_DATA") or "~/.cache/glow/datasets").expanduser()
    raw = root / "FashionMNIST" / "raw"
    if name == "fashion_mnist" and request.root is None and DEBIAN_FASHION_MNIST.is_dir() and not raw.exists():
        _unpack(DEBIAN_FASHION_MNIST, raw)
    try:
        loaded = dataset(str(root), train=request.split != "test", download=request.download)
    except Exception as error:  # torchvision raises RuntimeError, OSError, AssertionError and more
        raise FileNotFoundError(
            f"{dataset.__name__} cannot be read from {root} ({error}); pass --data.download true, or --data.root DIR "
            "if you have it (--root, where a command has it)"
        ) from error
    pixels = np.asarray(loaded.data)
    images = pixels[:, None] if pixels.ndim == 3 else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    labels = torch.as_tensor(loaded.targets, dtype=torch.int64)
    return choose(ImageSet(images, labels, [label.split(" - ")[0] for label in loaded.classes]), request, ("test",))


def _unpack(packed: Path, raw: Path) -> None:
    raw.mkdir(parents=True)
    for path in packed.glob("*.gz"):
        with gzip.open(path) as source, (raw / path.stem).open("wb") as target:
            shutil.copyfileobj(source, target)
