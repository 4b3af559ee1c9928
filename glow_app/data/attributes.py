"""Attributes of images from a table."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True)
class Attributes:
    """A table of attributes.

    Args:
        files: Names of the images, N.
        names: Names of the attributes, A.
        values: (N, A): 0 and 1 for a column of two values, otherwise standardised.
    """

    files: list[str]
    names: list[str]
    values: Tensor


def read_attributes(path: Path, names: list[str] | None = None) -> Attributes:
    """Read a CSV with a header and a file name and numbers per line, such as CelebA's ``list_attr_celeba.csv``.

    Args:
        names: Columns to read; all if omitted.
    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not such a table, or a column is unknown, constant or not numeric.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *lines = [line for line in csv.reader(file) if line]
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV with a header, and a file name and numbers in each line") from error
    columns = [name.strip() for name in header]
    if len(columns) < 2:
        raise ValueError(f"{path} has one column; expected file names and numbers, separated by commas")
    values = []
    for name in names or columns[1:]:
        if columns[1:].count(name) != 1:
            raise ValueError(f"{path}: expected one column {name} among {', '.join(columns[1:])}")
        values.append(_column(path, name, [line[columns.index(name, 1) :][:1] for line in lines]))
    return Attributes([line[0] for line in lines], list(names or columns[1:]), torch.stack(values, dim=1))


def _column(path: Path, name: str, cells: list[list[str]]) -> Tensor:
    try:
        numbers = [float(cell) for (cell,) in cells]
    except ValueError as error:
        raise ValueError(f"{path}: a value in column {name} is missing or not a number ({error})") from error
    column = torch.tensor(numbers, dtype=torch.float64)
    distinct = column.unique()
    if not all(map(math.isfinite, numbers)) or len(distinct) < 2:
        raise ValueError(f"{path}: column {name} is constant or has a non-finite value; leave it out")
    return (column > distinct[0]).double() if len(distinct) == 2 else (column - column.mean()) / column.std()
