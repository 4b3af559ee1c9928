"""Tables of numbers in CSV, NPY and NPZ files; every cell is checked."""

import csv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from glow_app.data.request import SPLIT_OF

# Smallest standard deviation of a column, relative to its largest magnitude; below, float32 has few distinct values.
MIN_SPREAD = 1e-5

# Largest unpacked size of an archive: a number of bytes, or a multiple of its packed size, whichever is larger.
MOST_UNPACKED = 64 << 20
MOST_PACKED = 50

MOST_COLUMNS = 100_000
LISTED = 10  # columns named in a message

# Arrays by split; None is the key of a table without splits.
_Parts = dict[str | None, np.ndarray]


@dataclass(frozen=True)
class Table:
    """A table of finite numbers, whole or in three splits.

    Args:
        parts: float32 (N, D) by split, all with the same columns; None is the key of a table without splits.
        column_names: Name of each column.
    """

    parts: _Parts
    column_names: tuple[str, ...]


def read_table(path: Path) -> Table:
    """Read a table and check every cell.

    A CSV file is delimited by commas, semicolons or tabs; its first line is a header if none of its cells is a number.
    An NPZ file contains a single array, or train, validation (or val) and test. Unnamed columns are called x0, x1 and
    so on. Nothing is unpickled. Row numbers in messages start at 1 and exclude the header and blank lines.

    Args:
        path: A .csv, .tsv, .npy or .npz file.
    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not a table of finite numbers.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; expected a file of numbers")
    readers = {".csv": _read_csv, ".tsv": _read_csv, ".npy": _read_numpy, ".npz": _read_numpy}
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise ValueError(f"{path} has the unknown suffix {suffix!r}; expected one of {', '.join(readers)}")
    arrays, names = readers[suffix](path)
    for split, array in arrays.items():
        _check_array(_label(path, split), array)
    widths = {split: array.shape[1] for split, array in arrays.items()}
    if len(set(widths.values())) > 1:
        listed = ", ".join(f"{split} {width}" for split, width in widths.items())
        raise ValueError(f"{path} has splits of differing widths, {listed}; save all of them with the same columns")
    names = names or _default_names(min(widths.values()))
    return Table({split: _to_float32(_label(path, split), array, names) for split, array in arrays.items()}, names)


def check_columns(label: str, values: np.ndarray, names: Sequence[str]) -> None:
    """Raise ValueError for columns without a density: constant columns, and columns that vary little beyond rounding.

    Args:
        label: Name of the table, for the message.
        values: Training split, float32 (N, D), finite.
        names: Name of each column.
    """
    ranges = zip(names, values.min(0), values.max(0), strict=True)
    constant = [f"{name!r} (always {low:g})" for name, low, high in ranges if low == high]
    if constant and len(values) > 1:
        listed = ", ".join(constant[:LISTED]) + (f" and {len(constant) - LISTED} more" if constant[LISTED:] else "")
        raise ValueError(f"{label} has constant columns, which have no density: {listed}; drop them")
    spread, largest = values.std(axis=0, dtype=np.float64), np.abs(values).max(axis=0)
    for name, std, most in zip(names, spread, largest, strict=True):
        if 0 < std < MIN_SPREAD * most:
            raise ValueError(
                f"{label} has column {name!r}, which varies by {std:.3g} about values as large as {most:.3g}, too "
                "little for float32; subtract a constant from it, such as its mean"
            )


def _read_csv(path: Path) -> tuple[_Parts, tuple[str, ...]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            return _parse_csv([line for line in file if line.strip()])
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from error


def _parse_csv(lines: Sequence[str]) -> tuple[_Parts, tuple[str, ...]]:
    if not lines:
        raise ValueError("it is empty; expected a line of numbers for every row")
    delimiter = next((sign for sign in "\t;" if sign in lines[0]), ",")
    first = _cells(lines[0], delimiter)
    _check_width("it", len(first))
    names = _default_names(len(first))
    if not any(map(_is_number, first)):
        names = tuple(cell or name for cell, name in zip(first, names, strict=True))
        lines = lines[1:]
    if not lines:
        raise ValueError("it has a header but no rows; expected a line of numbers for every row")
    try:
        values = np.loadtxt(lines, delimiter=delimiter, comments=None, quotechar='"', ndmin=2)
    except ValueError as error:
        raise ValueError(_first_fault(lines, delimiter, names) or str(error)) from error
    if values.shape[1] != len(names):
        raise ValueError(_first_fault(lines, delimiter, names))
    return {None: values}, names


def _first_fault(lines: Sequence[str], delimiter: str, names: Sequence[str]) -> str:
    for row, line in enumerate(lines, 1):
        cells = _cells(line, delimiter)
        if len(cells) != len(names):
            return f"row {row} has {len(cells)} cells, expected {len(names)}; give every row the same columns"
        for name, cell in zip(names, cells, strict=True):
            if not _is_number(cell):
                return (
                    f"row {row}, column {name!r} holds {cell!r}; expected a number "
                    "(cells end at a comma, semicolon or tab, decimals are written with a point)"
                )
    return ""


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell.isascii() and "_" not in cell  # which Python accepts but NumPy does not


def _read_numpy(path: Path) -> tuple[_Parts, tuple[str, ...]]:
    try:
        with path.open("rb") as file:
            _require_unpacked_size(file)
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {None: loaded}, ()
            arrays = {name: np.asarray(loaded[name]) for name in loaded.files}
    except Exception as error:  # the type of error depends on where the file is damaged
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path} cannot be read without unpickling ({reason}); save plain arrays of numbers"
        ) from error
    if len(arrays) == 1:
        return {None: next(iter(arrays.values()))}, ()
    parts: _Parts = {SPLIT_OF[name]: array for name, array in arrays.items() if name in SPLIT_OF}
    if len(arrays) != 3 or len(parts) != 3:
        listed = ", ".join(arrays) or "none"
        raise ValueError(
            f"{path} has the arrays {listed}; expected train, validation (or val) and test, or a single one"
        )
    return parts, ()


def _require_unpacked_size(file: IO[bytes]) -> None:
    """Raise ValueError for an archive that unpacks to far more than numbers would; seeks back to the start."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
        if unpacked > max(MOST_UNPACKED, MOST_PACKED * file.seek(0, 2)):
            raise ValueError(f"it unpacks to {unpacked:,} bytes; save it without compression")
    file.seek(0)


def _default_names(width: int) -> tuple[str, ...]:
    return tuple(f"x{column}" for column in range(width))


def _label(path: Path, split: str | None) -> str:
    return f"{path}" if split is None else f"{path}, array {split},"


def _check_array(label: str, array: np.ndarray) -> None:
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{label} has values of type {array.dtype}; expected real numbers")
    if array.ndim != 2 or not array.size:
        raise ValueError(f"{label} has the shape {array.shape}; expected (N, D), both at least 1")
    _check_width(label, array.shape[1])


def _check_width(label: str, width: int) -> None:
    if width > MOST_COLUMNS:
        raise ValueError(f"{label} has {width:,} columns; expected at most {MOST_COLUMNS:,}")


def _to_float32(label: str, array: np.ndarray, names: Sequence[str]) -> np.ndarray:
    with np.errstate(over="ignore"):
        values = array.astype(np.float32, order="C")
    is_fault = ~np.isfinite(values)
    if num_faults := int(is_fault.sum()):
        row, column = divmod(int(is_fault.argmax()), values.shape[1])
        raise ValueError(
            f"{label} has {array[row, column]} in row {row + 1}, column {names[column]!r}, the first of {num_faults} "
            "cells that are not finite float32 numbers; fill them or drop their rows"
        )
    return values
