"""Image data sets read by Hugging Face ``datasets``, from the hub or a local folder, as memory-mapped Arrow."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from glow_app.data.decoding import decode_image
from glow_app.data.image_set import ImageSet, LazyImages, select_split
from glow_app.data.splits import Resize, SplitRequest, named_splits
from glow_app.files import HUB

if TYPE_CHECKING:
    from datasets import Dataset

# Columns of integers that are labels, as in the layout of WebDataset, where no column has the type ClassLabel.
_LABEL_COLUMNS = ("label", "cls", "cls.txt")


def load_hub(address: str, request: SplitRequest) -> ImageSet:
    """Load one split of ``hf://NAME[:CONFIGURATION][@REVISION]``, an image data set on the hub; fetch it if needed."""
    name, _, revision = address.removeprefix(HUB).partition("@")
    name, _, configuration = name.partition(":")
    return _load(name, request, address, name=configuration or None, revision=revision or None)


def load_datasets(request: SplitRequest) -> ImageSet:
    """Load one split of a folder of Parquet files, of WebDataset tar files, or of ``save_to_disk``.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If ``root`` is None, or the folder has no images that ``datasets`` can read.
    """
    root = request.folder("datasets")
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; expected one of Parquet, tar or Arrow files")
    return _load(str(root), request, str(root))


def _load(place: str, request: SplitRequest, described: str, **options: str | None) -> ImageSet:
    """Load one split; images are from the first column of type ``Image``, labels from the first ``ClassLabel``."""
    try:
        import datasets
    except ImportError as error:
        raise ValueError(f"{described} needs the package datasets; run: pip install 'glow-app[hub]'") from error
    splits = _open(place, described, options)
    official = named_splits(splits) or ({"train": next(iter(splits))} if len(splits) == 1 else {})
    name = official.get(request.split, official.get("train"))
    if name is None:
        raise ValueError(f"{described} has no split to train on, only {', '.join(splits)}")
    columns = [column for column, feature in splits[name].features.items() if isinstance(feature, datasets.Image)]
    if not columns:
        raise ValueError(f"{described} has no column of images, only {', '.join(splits[name].features)}")
    # Decoded by decode_image, as the files of a folder are.
    rows = splits[name].select_columns(columns[0]).cast_column(columns[0], datasets.Image(decode=False))
    read = partial(_read, rows, columns[0], request.image_shape, request.resize)
    images = LazyImages((len(rows), *request.image_shape), read)
    labels, class_names = _labels(splits, name)
    names = _names(rows, columns[0], labels, class_names)
    return select_split(ImageSet(images, labels, class_names), request, official, names)


def _open(place: str, described: str, options: dict[str, str | None]) -> "dict[str, Dataset]":
    import datasets

    try:
        if any((Path(place) / name).is_file() for name in ("dataset_dict.json", "state.json")):
            saved = datasets.load_from_disk(place)
            return dict(saved) if isinstance(saved, datasets.DatasetDict) else {"train": saved}
        return dict(datasets.load_dataset(place, **options))
    except Exception as error:  # from the hub, the network, or the data set's files and metadata
        raise ValueError(f"{described} cannot be read: {' '.join(str(error).split())}") from error


def _labels(splits: "dict[str, Dataset]", name: str) -> tuple[Tensor, tuple[str, ...]]:
    """Return the labels of a split, int64 (N,), and the class names; zeros and none if any label is missing."""
    features = splits[name].features
    column = next((column for column, feature in features.items() if type(feature).__name__ == "ClassLabel"), None)
    if column is not None:
        class_names = tuple(features[column].names)
    else:
        column = next((key for key in _LABEL_COLUMNS if "int" in getattr(features.get(key), "dtype", "")), None)
        if column is None:
            return torch.zeros(len(splits[name]), dtype=torch.int64), ()
        most = max(int(_numbers(rows, column).max()) for rows in splits.values() if column in rows.features)
        class_names = tuple(map(str, range(most + 1)))
    labels = torch.from_numpy(_numbers(splits[name], column))
    return (labels, class_names) if (labels >= 0).all() else (torch.zeros_like(labels), ())


def _numbers(rows: "Dataset", column: str) -> np.ndarray:
    """Return a column of integers, int64 (N,), with -1 for missing values."""
    values = np.asarray(rows.select_columns(column).with_format("numpy")[:][column], dtype=np.float64)
    return np.nan_to_num(values, nan=-1).astype(np.int64)


def _names(rows: "Dataset", column: str, labels: Tensor, class_names: tuple[str, ...]) -> list[str] | None:
    """Return the names of the images as in a folder, ``CLASS/FILE``; None unless all are known and differ."""
    from pyarrow.compute import struct_field

    paths = struct_field(rows.with_format("arrow")[:][column], "path").to_pylist()
    if None in paths:
        return None
    names = [os.path.basename(path) if os.path.isabs(path) else path for path in paths]
    if class_names:  # a packed file has often lost its folder
        pairs = zip(names, labels.tolist(), strict=True)
        names = [name if "/" in name else f"{class_names[label]}/{name}" for name, label in pairs]
    return names if len(set(names)) == len(names) else None


def _read(rows: "Dataset", column: str, image_shape: tuple[int, int, int], resize: Resize, row: int) -> np.ndarray:
    stored: Any = rows[row][column]
    return decode_image(stored["bytes"] or Path(stored["path"]), image_shape, resize)
