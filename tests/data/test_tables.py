import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glow_app.data.tables import read_table

NUMBERS = np.array([[1.5, -2.0], [3.0, 4e3], [-0.25, 6.0]])


def write(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def save(folder: Path, *arrays: Any, **named: Any) -> Path:
    path = folder / "table.npz"
    np.savez(path, *arrays, **named)
    return path


def error(path: Path) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        read_table(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize(
    "content",
    [
        "1.5,-2\n3,4e3\n-0.25,6\n",
        "1.5;-2\n3;4e3\n-0.25;6",
        "1.5\t-2\r\n3\t4e3\r\n-0.25\t6\r\n",
        "\ufeff1.5, -2\n\n3 ,4e3\n  \n-0.25,6\n\n",
        '"1.5","-2"\n3,4e3\n-0.25,6\n',
    ],
)
def test_csv_without_a_header(tmp_path: Path, content: str) -> None:
    table = read_table(write(tmp_path, content))
    values = table.parts[None]
    assert values.dtype == np.float32
    assert np.array_equal(values, NUMBERS)
    assert table.column_names == ("x0", "x1")


@pytest.mark.parametrize(
    ("header", "delimiter", "names"),
    [
        ("mass,charge", ",", ("mass", "charge")),
        ("\ufeffmass;charge", ";", ("mass", "charge")),
        (' "mass, kg" ; charge', ";", ("mass, kg", "charge")),
        ('"mass, kg",charge', ",", ("mass, kg", "charge")),
        ("mass\t", "\t", ("mass", "x1")),
    ],
)
def test_csv_with_a_header(tmp_path: Path, header: str, delimiter: str, names: tuple[str, ...]) -> None:
    rows = "\n".join(delimiter.join(map(str, row)) for row in NUMBERS)
    table = read_table(write(tmp_path, f"{header}\n{rows}\n", "table.TSV" if delimiter == "\t" else "table.csv"))
    assert table.column_names == names
    assert np.array_equal(table.parts[None], NUMBERS)


def test_one_column(tmp_path: Path) -> None:
    assert read_table(write(tmp_path, "a\n1\n2\n")).parts[None].tolist() == [[1], [2]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it is empty"),
        ("\n \n", "it is empty"),
        ("a,b\n", "it has a header but no rows"),
        ("a,b\n1,2\n\n3,oops\n", "row 2, column 'b' holds 'oops'; expected a number"),
        ("1,2\n3,\n", "row 2, column 'x1' holds ''; expected a number"),
        ("1,id7\n3,4\n", "row 1, column 'x1' holds 'id7'"),
        ("a;b\n1;2\n1,5;2\n", "row 2, column 'a' holds '1,5'; expected a number .*decimals are written with a point"),
        ("1 2\n3 4\n", "row 1, column '1 2' holds '3 4'; .*cells end at a comma, semicolon or tab"),
        ("1,2\n3,1_0\n", "row 2, column 'x1' holds '1_0'"),
        ("1,2\n3,4\n5,6,7\n", "row 3 has 3 cells, expected 2"),
        ("a,b,c\n1,2\n3,4\n", "row 1 has 2 cells, expected 3"),
        ("1,2\n3\n", "row 2 has 1 cells, expected 2"),
        ("a,b\n1,2\n3,nan\ninf,4\n", "has nan in row 2, column 'b', the first of 2 cells that are not finite float32"),
        ("1,2\n1e39,4\n", r"has 1e\+39 in row 2, column 'x0', the first of 1 cells"),
        (b"\xff\xfe1\x00", "can't decode byte 0xff"),
        ("x" * 200_000 + "\n1\n", "field larger than field limit"),
    ],
)
def test_bad_csv(tmp_path: Path, content: str | bytes, message: str) -> None:
    found = error(write(tmp_path, content))
    assert re.search(message, found)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.uint8])
def test_npy_of_any_real_type(tmp_path: Path, dtype: type) -> None:
    values: np.ndarray = np.asfortranarray(np.arange(12).reshape(4, 3).astype(dtype))
    np.save(tmp_path / "table.npy", values)
    table = read_table(tmp_path / "table.npy")
    assert table.column_names == ("x0", "x1", "x2")
    assert table.parts[None].dtype == np.float32
    assert table.parts[None].flags.c_contiguous
    assert np.array_equal(table.parts[None], values)


def test_npz_with_one_array_is_still_to_be_cut(tmp_path: Path) -> None:
    assert np.array_equal(read_table(save(tmp_path, NUMBERS)).parts[None], NUMBERS)
    assert set(read_table(save(tmp_path, train=NUMBERS)).parts) == {None}


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_npz_with_splits(tmp_path: Path, validation: str) -> None:
    arrays = {"test": NUMBERS + 2, validation: NUMBERS[:1], "train": NUMBERS}
    parts = read_table(save(tmp_path, **arrays)).parts
    assert set(parts) == {"train", "validation", "test"}
    assert np.array_equal(parts["train"], NUMBERS)
    assert np.array_equal(parts["validation"], NUMBERS[:1])
    assert np.array_equal(parts["test"], NUMBERS + 2)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.arange(3.0), r"has the shape \(3,\); expected \(N, D\)"),
        (np.zeros((2, 3, 4)), r"has the shape \(2, 3, 4\); expected \(N, D\)"),
        (np.zeros((0, 3)), r"has the shape \(0, 3\); expected \(N, D\), both at least 1"),
        (np.zeros((1, 100_001), np.int8), "has 100,001 columns; expected at most 100,000"),
        (np.zeros((3, 2), complex), "has values of type complex128; expected real numbers"),
        (np.array([["1", "2"]]), "has values of type <U1; expected real numbers"),
        (np.array([[True, False]]), "has values of type bool"),
        (np.array([[None, 1]]), "cannot be read without unpickling"),
        (np.array([[0, 1], [2, np.inf], [-np.inf, np.nan]]), "has inf in row 2, column 'x1', the first of 3 cells"),
    ],
)
def test_bad_arrays(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "table.npy", array)
    splits = save(tmp_path, train=array, validation=NUMBERS, test=NUMBERS)
    for path in (tmp_path / "table.npy", splits):
        found = error(path)
        assert re.search(message, found)
    assert "array train" in found or "unpickling" in found


def test_bad_npz(tmp_path: Path) -> None:
    expected = "expected train, validation (or val) and test, or a single one"
    assert f"has the arrays train, test; {expected}" in error(save(tmp_path, train=NUMBERS, test=NUMBERS))
    assert f"has the arrays none; {expected}" in error(save(tmp_path))
    both = {"train": NUMBERS, "val": NUMBERS, "validation": NUMBERS}
    assert f"has the arrays train, val, validation; {expected}" in error(save(tmp_path, **both))
    more = {"train": NUMBERS, "val": NUMBERS, "test": NUMBERS, "labels": NUMBERS}
    assert f"labels; {expected}" in error(save(tmp_path, **more))
    wide = error(save(tmp_path, train=NUMBERS, val=np.eye(3), test=NUMBERS))
    assert "has splits of differing widths, train 2, validation 3, test 2" in wide


def test_files_that_are_no_arrays(tmp_path: Path) -> None:
    for name in ("table.npy", "table.npz"):
        assert "cannot be read without unpickling" in error(write(tmp_path, b"", name))
        assert "cannot be read without unpickling" in error(write(tmp_path, b"1,2\n3,4\n", name))
        assert "cannot be read without unpickling" in error(write(tmp_path, pickle.dumps(NUMBERS), name))
    whole = save(tmp_path, NUMBERS).read_bytes()
    assert "cannot be read without unpickling" in error(write(tmp_path, whole[: len(whole) // 2], "table.npz"))
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 255
    assert "table.npz" in error(write(tmp_path, bytes(damaged), "table.npz"))
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("notes.txt", "hello")
    assert "expected real numbers" in error(tmp_path / "other.npz")


def test_missing_files_and_unknown_suffixes(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.csv is not there; expected a file of numbers"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(FileNotFoundError, match="is a folder; expected a file of numbers"):
        read_table(tmp_path)
    assert "unknown suffix '.xlsx'; expected one of .csv, .tsv, .npy, .npz" in error(write(tmp_path, "1", "t.xlsx"))
    assert "unknown suffix ''" in error(write(tmp_path, "1", "table"))
