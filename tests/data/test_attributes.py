from pathlib import Path

import pytest
import torch

from glow_app.data.attributes import read_attributes


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_two_values_become_0_and_1_and_others_are_standardised(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "image_id,Smiling,age\n1.png,-1,10\n2.png,1,20\n3.png,1,30\n")
    found = read_attributes(path)
    assert (found.files, found.names) == (["1.png", "2.png", "3.png"], ["Smiling", "age"])
    assert found.values[:, 0].tolist() == [0, 1, 1]
    assert found.values[:, 1].tolist() == pytest.approx([-1, 0, 1])
    assert torch.equal(read_attributes(path, ["age"]).values, found.values[:, 1:])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 lines"),
        ("file,a\n1.png,1\n", "has 2 lines"),
        ("file,a\n1.png,1\n2.png,x\n", r"line 3: 'x' in column a is not a number"),
        ("file,a\n1.png,1\n2.png,nan\n", r"line 3: 'nan' in column a is not a number"),
        ("file,a\n1.png,1\n2.png\n", "line 3 has 1 cell, the header 2"),
        ("file,a\n1.png,1,0\n2.png,0\n", "line 2 has 3 cells, the header 2"),
        ("file,a\n1.png,\n2.png,0\n", r"line 2: '' in column a is not a number"),
        ("file,a,b,a\n1.png,1,0,1\n2.png,0,1,0\n", "column a occurs twice"),
        ("file,a\n\n1.png,1\n\n\n2.png,x\n", r"line 6: 'x' in column a is not a number"),
        ("file,a\n1.png,1\n2.png,1\n", "column a is 1 everywhere"),
        ("file;a\n1.png;1\n2.png;0\n", "with commas between them and not ';'"),
        ("file" + ",a" * 1001 + "\n1.png,1\n2.png,0\n", "has 1,001 attributes; expected at most 1,000: name some"),
    ],
)
def test_what_is_no_table(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_attributes(write(tmp_path / "a.csv", text))


def test_a_picture_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0 and more")
    with pytest.raises(ValueError, match=r"photo.jpg is not UTF-8 text; expected a CSV"):
        read_attributes(tmp_path / "photo.jpg")


def test_an_unknown_column(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no column b; known: a"):
        read_attributes(write(tmp_path / "a.csv", "file,a\n1.png,1\n2.png,0\n"), ["b"])
