"""Attributes of images from a table."""

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from posixpath import basename
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["yes_no", "real", "circular"]  # circular: like hue, of which 0 and 1 are the same

TABLE_NAME, CELEBA_NAME = "attributes.csv", "list_attr_celeba.csv"  # in the folder of the images


@dataclass(frozen=True)
class Attributes:
    """A table of attributes.

    Args:
        files: Names of the images, N.
        kinds: Kind of each attribute by its name, A.
        values: float64 (N, A): 0 and 1 for no and yes, NaN where unknown.
    """

    path: Path
    files: list[str]
    kinds: Mapping[str, Kind]
    values: Tensor

    @property
    def standardised(self) -> Tensor:
        """The values, with real ones of mean 0 and standard deviation 1."""
        is_real = torch.tensor([kind == "real" for kind in self.kinds.values()])
        return torch.where(is_real, (self.values - self.values.mean(0)) / self.values.std(0), self.values)

    def of(self, names: Sequence[str]) -> Tensor:
        """Return the values of images, float32 (n, A); NaN without a row.

        Args:
            names: Paths of the images in their folder. The table has the whole path, or only the name of the file.
        Raises:
            ValueError: If no image has a row, or a row has several images.
        """
        rows = {file: row for row, file in enumerate(self.files)}
        places = [rows.get(name, rows.get(basename(name), -1)) for name in names]
        present = [row for row in places if row >= 0]
        if not present:
            raise ValueError(
                f"{self.path} has no row for any of the images, such as {names[0]}; correct its file names"
            )
        row, count = Counter(present).most_common(1)[0]
        if count > 1:
            raise ValueError(
                f"{self.path}: {count} images are named {self.files[row]}; put their folders into the table"
            )
        unknown = torch.full((1, len(self.kinds)), math.nan)
        return torch.cat([self.values.float(), unknown])[places]


def read_attributes(path: Path, names: Sequence[str] | None = None, complete: bool = True) -> Attributes:
    """Read a CSV with a header and a file name and numbers per line, such as CelebA's ``list_attr_celeba.csv``.

    A column of two values, of which the smaller one is no, is of kind "yes_no"; others are "real".

    Args:
        names: Columns to read; all if omitted.
        complete: Whether to refuse empty cells, which are otherwise unknown.
    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not such a table, or a column is unknown, constant or not numeric.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            (_, header), *lines = [(reader.line_num, line) for line in reader if line]
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV with a header, and a file name and numbers in each line") from error
    columns = [name.strip() for name in header]
    if len(columns) < 2:
        raise ValueError(f"{path} has one column; expected file names and numbers, separated by commas")
    for number, line in lines:
        if len(line) != len(columns):
            raise ValueError(f"{path}, line {number} has {len(line)} cells; expected {len(columns)}, as in the header")
    kinds: dict[str, Kind] = {}
    values = []
    for name in names or columns[1:]:
        if columns[1:].count(name) != 1:
            raise ValueError(f"{path}: expected one column {name} among {', '.join(columns[1:])}")
        place = columns.index(name, 1)
        column = torch.tensor([_number(path, n, name, line[place], complete) for n, line in lines], dtype=torch.float64)
        distinct = column[~column.isnan()].unique()
        if len(distinct) < 2:
            raise ValueError(f"{path}: column {name} is constant; leave it out")
        kinds[name] = "yes_no" if len(distinct) == 2 else "real"
        values.append((column - distinct[0]) / (distinct[1] - distinct[0]) if len(distinct) == 2 else column)
    return Attributes(path, [line[0] for _, line in lines], kinds, torch.stack(values, dim=1))


def table_in(root: Path) -> Path | None:
    """Return the table in the folder of the images: ``attributes.csv``, or the one of CelebA; None if there is none."""
    return next((root / name for name in (TABLE_NAME, CELEBA_NAME) if (root / name).is_file()), None)


def table_of(root: Path, attributes: str | Path | bool) -> Attributes:
    """Return a table of images with unknown values: the one in their folder if True, or of a path."""
    path = (table_in(root) or root / TABLE_NAME) if attributes is True else Path(str(attributes))
    return _kept_table(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _kept_table(path: Path, _modified: int) -> Attributes:
    return read_attributes(path, complete=False)


def _number(path: Path, line: int, name: str, cell: str, complete: bool) -> float:
    if not complete and not cell.strip():
        return math.nan
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        hint = "" if complete else ", or an empty cell if it is unknown"
        raise ValueError(f"{path}, line {line}: {name} is {cell!r:.40}; expected a number{hint}")
    return number
