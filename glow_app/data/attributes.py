"""Attributes of images from a table."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from glow_app.messages import pluralise

MOST_ATTRIBUTES = 1000  # a regression on attributes stores the products of all pairs


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
        path: The CSV file.
        names: Columns to read; all if omitted.
    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not such a table, or a column is unknown, repeated, constant or not numeric.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a file; expected a CSV of file names and numbers")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, line) for line in reader if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not UTF-8 text; expected a CSV of file names and numbers") from error
    if len(lines) < 3 or len(lines[0][1]) < 2:
        raise ValueError(
            f"{path} has {len(lines)} lines; expected a header, and a file name and numbers in each line"
            f"{_other_separator(lines[0][1] if lines else [])}"
        )
    header = [name.strip() for name in lines[0][1]]
    chosen = header[1:] if names is None else names
    if len(chosen) > MOST_ATTRIBUTES:
        raise ValueError(f"{path} has {len(chosen):,} attributes; expected at most {MOST_ATTRIBUTES:,}: name some")
    for number, line in lines[1:]:
        if len(line) != len(header):
            raise ValueError(f"{path}, line {number} has {pluralise(len(line), 'cell')}, the header {len(header)}")
    columns = []
    for name in chosen:
        if header[1:].count(name) > 1 or chosen.count(name) > 1:
            raise ValueError(f"{path}: column {name} occurs twice; rename or leave out one of them")
        if name not in header[1:]:
            raise ValueError(f"{path} has no column {name}; known: {', '.join(header[1:])}")
        column = header.index(name, 1)
        columns.append(_column(path, name, [(number, line[column]) for number, line in lines[1:]]))
    return Attributes([line[0] for _, line in lines[1:]], chosen, torch.stack(columns, dim=1))


def _other_separator(header: list[str]) -> str:
    if len(header) != 1:
        return ""
    separator = next((sign for sign in ";\t|" if sign in header[0]), None)
    return "" if separator is None else f", with commas between them and not {separator!r}"


def _column(path: Path, name: str, cells: list[tuple[int, str]]) -> Tensor:
    values = []
    for number, cell in cells:
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"{path}, line {number}: {cell!r} in column {name} is not a number")
        values.append(value)
    column = torch.tensor(values, dtype=torch.float64)
    distinct = column.unique()
    if len(distinct) < 2:
        raise ValueError(f"{path}: column {name} is {distinct.item():g} everywhere; leave it out")
    return (column > distinct[0]).double() if len(distinct) == 2 else (column - column.mean()) / column.std()
