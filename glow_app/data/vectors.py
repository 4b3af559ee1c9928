"""Vectors as training data: points of the toy densities, or rows of a table."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from glow_app.data.batched import BatchedSet
from glow_app.data.request import Cut, Split, check_split
from glow_app.data.tables import check_columns, read_table
from glow_app.data.toys import TOYS
from glow_app.messages import closest
from glow_app.seeding import step_generator

_NUM_VALIDATION = 5_000
_NUM_TEST = 20_000


class VectorSet(BatchedSet[Tensor]):
    """Vectors of one split, read a whole batch at a time.

    Args:
        values: float32 (N, D).
        column_names: Name of each column.
    Shape:
        An item is a float32 (D,); a batch is (B, D).
    Raises:
        ValueError: If the values are not float32 (N, D), or the names do not match them.
    """

    noun = "vectors"

    def __init__(self, values: Tensor, column_names: Sequence[str]) -> None:
        if values.dtype != torch.float32 or values.ndim != 2:
            raise ValueError(f"values are {values.dtype} {tuple(values.shape)}; expected torch.float32 (N, D)")
        if len(column_names) != values.shape[1]:
            raise ValueError(f"{len(column_names)} column names do not fit {values.shape[1]} columns; name every one")
        self.values = values
        self.column_names = tuple(column_names)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"VectorSet({len(self)} vectors of {', '.join(self.column_names)})"

    def __getitem__(self, index: int) -> Tensor:
        return self.values[index]

    def __getitems__(self, indices: Sequence[int]) -> Tensor:
        return self.values[torch.as_tensor(indices)]


def load_vectors(
    source: str,
    split: Split,
    *,
    path: str | Path | None = None,
    seed: int = 0,
    num_samples: int = 50_000,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    limit: int | None = None,
) -> VectorSet:
    """Load one split of a toy density or of a table.

    The points of a toy depend only on ``seed`` and ``split``, and splits are independent: ``num_samples`` points for
    training, 5,000 for validation and 20,000 for testing. A table is cut in three by a permutation of its rows that
    depends only on ``seed``, unless its file has splits.

    Args:
        source: One of ``TOYS``, or "table".
        split: "train", "validation" or "test".
        path: The table, a .csv, .tsv, .npy or .npz file.
        seed: Seed of a toy's points, or of a table's cut into splits.
        num_samples: Number of training points of a toy.
        validation_fraction: Fraction held out for validation, of a table without splits.
        test_fraction: Fraction held out for testing, of a table without splits.
        limit: Maximum number of vectors; the first of the split are kept.
    Raises:
        ValueError: If an argument is out of range, the file is not a table of finite numbers, or a column of the
            training split is constant or nearly constant.
        FileNotFoundError: If the file does not exist.
    """
    check_split(split, limit)
    cut = Cut(seed=seed, validation_fraction=validation_fraction, test_fraction=test_fraction)
    if source in TOYS:
        if path is not None:
            raise ValueError(f"path is {path}, but source {source!r} reads no file; set source to 'table'")
        vectors = _sample_toy(source, split, seed, num_samples)
    elif source == "table":
        if path is None:
            raise ValueError("source 'table' needs path: a .csv, .tsv, .npy or .npz file")
        vectors = _cut_table(Path(path).expanduser(), split, cut)
    else:
        known = [*TOYS, "table"]
        raise ValueError(f"unknown source {source!r}; known: {', '.join(known)}{closest(source, known)}")
    vectors = VectorSet(vectors.values[:limit], vectors.column_names)
    if split == "train" and source == "table":
        check_columns(f"{path}, training split,", vectors.values.numpy(), vectors.column_names)
    return vectors


def _sample_toy(source: str, split: Split, seed: int, num_samples: int) -> VectorSet:
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}; expected at least 1")
    count = {"train": num_samples, "validation": _NUM_VALIDATION, "test": _NUM_TEST}[split]
    generator = step_generator(seed, 0, "cpu", f"{source}/{split}")
    return VectorSet(TOYS[source].sample(count, generator), ("x0", "x1"))


def _cut_table(path: Path, split: Split, cut: Cut) -> VectorSet:
    table = read_table(path)
    if split in table.parts:
        return VectorSet(torch.from_numpy(table.parts[split]), table.column_names)
    rows = table.parts[None]
    return VectorSet(torch.from_numpy(rows[cut.rows(len(rows), split, noun="rows")]), table.column_names)
