from pathlib import Path

import pytest
import torch

from glow_app.data.attributes import read_attributes


def test_two_values_become_0_and_1_and_others_are_standardised(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("image_id,Smiling,age\n1.png,-1,10\n\n2.png,1,20\n3.png,1,30\n")
    table = read_attributes(path)
    assert (table.files, table.names) == (["1.png", "2.png", "3.png"], ["Smiling", "age"])
    assert table.values[:, 0].tolist() == [0, 1, 1]
    assert table.values[:, 1].tolist() == pytest.approx([-1, 0, 1])
    assert torch.equal(read_attributes(path, ["age"]).values, table.values[:, 1:])
    with pytest.raises(ValueError, match="expected one column height among Smiling, age"):
        read_attributes(path, ["height"])


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
