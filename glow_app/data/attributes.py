"""Attributes of images from a table."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["Attributes", "read_attributes"]


@dataclass(frozen=True)
class Attributes:
    """A table of attributes.

    Args:
        files: Names of the images, N.
        names: Of the attributes, A.
        values: (N, A): 0 and 1 where a column has two values, else standardised.
    """

    files: list[str]
    names: list[str]
    values: Tensor


def read_attributes(path: Path, names: list[str] | None = None) -> Attributes:
    """Read a CSV: a header, then a file name and numbers in each line, such as CelebA's ``list_attr_celeba.csv``.

    Args:
        path: Of the CSV.
        names: Columns to take; all when omitted.
    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is no such table, or a column is unknown, has one value only or holds something else.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [line for line in csv.reader(file) if line]
    if len(lines) < 3 or len(lines[0]) < 2:
        raise ValueError(f"{path} has {len(lines)} lines; expected a header, and a file name and numbers in each line")
    header = [name.strip() for name in lines[0]]
    chosen = header[1:] if names is None else names
    columns = []
    for name in chosen:
        if name not in header[1:]:
            raise ValueError(f"{path} has no column {name}; known are {', '.join(header[1:])}")
        columns.append(
            _column(path, name, [line[header.index(name)] if len(line) == len(header) else "" for line in lines[1:]])
        )
    return Attributes([line[0] for line in lines[1:]], chosen, torch.stack(columns, dim=1))


def _column(path: Path, name: str, texts: list[str]) -> Tensor:
    values = []
    for number, text in enumerate(texts, 2):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"{path}, line {number}: {text!r} in column {name} is no number")
        values.append(value)
    column = torch.tensor(values, dtype=torch.float64)
    kinds = column.unique()
    if len(kinds) < 2:
        raise ValueError(f"{path}: column {name} is {kinds.item():g} everywhere; leave it out")
    return (column > kinds[0]).double() if len(kinds) == 2 else (column - column.mean()) / column.std()
