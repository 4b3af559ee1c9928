"""Data sets in memory: scikit-learn's digits, and MNIST, Fashion-MNIST and CIFAR-10 as torchvision reads them."""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from glow_app.data.image_set import ImageSet, select_split
from glow_app.data.splits import SplitRequest


def load_digits_split(request: SplitRequest) -> ImageSet:
    """Load one split of the 1,797 digits, 8x8 grey.

    The original digits have 17 levels, 0 to 16, one too many for 4 bits. Level 16 (9.1% of all pixels) is merged into
    15, and pixels are stored as ``min(level, 15) * 17``: the 16 values that 4-bit quantisation of 0..255 distinguishes.

    Raises:
        ValueError: If scikit-learn is not installed.
    """
    if (package := find_spec("sklearn")) is None or package.origin is None:
        raise ValueError("source 'digits' needs scikit-learn; run: pip install 'glow-app[demo]'")
    # Its file is read here, because importing the package takes a second.
    path = Path(package.origin).with_name("datasets") / "data" / "digits.csv.gz"
    rows = np.loadtxt(path, np.int64, delimiter=",")
    images = (np.minimum(rows[:, :-1], 15) * 17).astype(np.uint8).reshape(-1, 1, 8, 8)
    return select_split(ImageSet(images, torch.from_numpy(rows[:, -1].copy()), [*map(str, range(10))]), request)


def load_torchvision(name: str, request: SplitRequest) -> ImageSet:
    """Load one split of MNIST or Fashion-MNIST (28x28 grey), or of CIFAR-10 (32x32 RGB).

    The official test files are the test split; validation is cut from the training files. The root, by default
    ``$GLOW_DATA`` or ``~/.cache/glow/datasets``, contains the files as torchvision downloads them: ``MNIST/raw``,
    ``FashionMNIST/raw`` or ``cifar-10-batches-py``.

    Args:
        name: "MNIST", "FashionMNIST" or "CIFAR10".
    Raises:
        FileNotFoundError: If the files are missing or damaged, and downloading fails or is not requested.
    """
    from torchvision import datasets  # late: the server's container has no torchvision

    root = request.root or Path(os.environ.get("GLOW_DATA") or "~/.cache/glow/datasets").expanduser()
    try:
        loaded = getattr(datasets, name)(str(root), train=request.split != "test", download=bool(request.download))
    except Exception as error:  # torchvision raises RuntimeError, OSError, AssertionError and more
        remedy = {
            None: "pass the folder of its files as --root",
            False: "pass --data.download true, or the folder of its files as --data.root",
            True: "downloading failed; try again, or pass the folder of its files as --data.root",
        }[request.download]
        reason = str(error).removesuffix(" You can use download=True to download it")
        raise FileNotFoundError(f"{name} cannot be read from {root} ({reason}); {remedy}") from error
    pixels = np.asarray(loaded.data)
    images = pixels[:, None] if pixels.ndim == 3 else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    labels = torch.as_tensor(loaded.targets, dtype=torch.int64)
    class_names = [label.split(" - ")[0] for label in loaded.classes]
    return select_split(ImageSet(images, labels, class_names), request, ("test",))
