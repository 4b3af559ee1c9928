from math import nan
from pathlib import Path

import pytest
import torch

from glow_app.data.attributes import read_attributes


def test_two_values_become_0_and_1_and_others_can_be_standardised(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("image_id,Smiling,age\n1.png,-1,10\n\n2.png,1,20\n3.png,1,30\n")
    table = read_attributes(path)
    assert (table.files, table.kinds) == (["1.png", "2.png", "3.png"], {"Smiling": "yes_no", "age": "real"})
    assert table.values.tolist() == [[0, 10], [1, 20], [1, 30]]
    assert table.standardised[:, 0].tolist() == [0, 1, 1]
    assert table.standardised[:, 1].tolist() == pytest.approx([-1, 0, 1])
    assert torch.equal(read_attributes(path, ["age"]).values, table.values[:, 1:])
    with pytest.raises(ValueError, match="expected one column height among Smiling, age"):
        read_attributes(path, ["height"])


def test_images_find_their_rows_by_path_or_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("file,Smiling,age\na/1.png,1,10\n2.png,0,\n3.png,,30\n1.png,0,50\n", encoding="utf-8-sig")
    with pytest.raises(ValueError, match=r"a\.csv, line 3: age is ''; expected a number"):
        read_attributes(path, ["age"])
    table = read_attributes(path, complete=False)
    values = table.of(["b/2.png", "a/1.png", "b/4.png", "c/1.png", "3.png"])
    expected = [[0, nan], [1, 10], [nan, nan], [0, 50], [nan, 30]]
    torch.testing.assert_close(values, torch.tensor(expected), equal_nan=True)
    for names, message in ((["x.png"], "no row for any"), (["a/2.png", "b/2.png"], "2 images are named 2.png")):
        with pytest.raises(ValueError, match=message):
            table.of(names)
    path.write_text("file,a,b\n1.png,1,2\n\n2.png,0,x\n")
    with pytest.raises(ValueError, match=r"a\.csv, line 4: b is 'x'"):
        read_attributes(path, complete=False)


@pytest.mark.parametrize(
    "text",
    [
        *("", "file,a\n1.png,1\n", "file;a\n1.png;1\n2.png;0\n", "file,a\n1.png,1\n2.png,1\n"),
        *(f"file,a\n1.png,1\n2.png{rest}\n" for rest in (",x", ",nan", "", ",")),
        "file,a,b,a\n1.png,1,0,1\n2.png,0,1,0\n",
        "\xff\xd8\xff\0",
    ],
)
def test_invalid_tables_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"a\.csv"):
        read_attributes(tmp_path / "a.csv")
