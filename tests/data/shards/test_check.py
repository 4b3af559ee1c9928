import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glow_app.data import load_split
from glow_app.data.sharded_images import ShardError
from glow_app.data.shards.check import damaged_files, index_folder
from glow_app.data.shards.pack import Packing, pack_folder


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), value, dtype=np.uint8)).save(file, format="PNG")
    return file.getvalue()


def test_foreign_shards_are_indexed(tmp_path: Path) -> None:
    for shard in range(2):
        members: dict[str, bytes] = {}
        for number in range(3 * shard, 3 * shard + 3):
            members |= {f"a/{number}.png": png(number), f"a/{number}.seg.png": b"not an image to learn"}
            members |= {f"a/{number}.json": json.dumps({"label": number % 3, "text": "x"}).encode()}
        write_tar(tmp_path / f"train-{shard:05d}.tar", members)
    write_tar(tmp_path / "val/00000.tar", {"0.png": png(50), "0.cls": b"2"})
    manifest = index_folder(tmp_path)
    assert {split: entry.count for split, entry in manifest.splits.items()} == {"train": 6, "validation": 1}
    train = load_split("shards", "train", (3, 4, 6), root=tmp_path, test_fraction=0.0)
    assert sorted(train.images[:, 0, 0, 0]) == list(range(6))
    assert train.labels.tolist() == (train.images[:, 0, 0, 0] % 3).tolist()
    assert train.class_names == ("0", "1", "2")
    assert load_split("shards", "validation", (3, 4, 6), root=tmp_path).labels.tolist() == [2]
    with pytest.raises(FileExistsError, match="remove it to write it anew"):
        index_folder(tmp_path)


def test_shards_with_an_image_without_a_label_are_unlabelled(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", {"0.png": png(1), "0.cls": b"1", "1.png": png(2)})
    assert index_folder(tmp_path).class_names == ()
    assert load_split(
        "shards", "train", (3, 4, 6), root=tmp_path, validation_fraction=0.0, test_fraction=0.0
    ).labels.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("content", "message"), [(b"no tar", "cannot be read as a tar file"), (b"", "cannot be read as a tar file")]
)
def test_what_is_no_tar_file(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "train-0.tar").write_bytes(content)
    with pytest.raises(ShardError, match=message):
        index_folder(tmp_path)


def test_a_tar_file_that_ends_early_or_has_no_images(tmp_path: Path) -> None:
    write_tar(tmp_path / "train-0.tar", {f"{n}.png": png(n) for n in range(10)})
    whole = (tmp_path / "train-0.tar").read_bytes()
    (tmp_path / "train-0.tar").write_bytes(whole[:2_000])
    with pytest.raises(ShardError, match="unexpected end of data"):
        index_folder(tmp_path)
    write_tar(tmp_path / "train-0.tar", {"readme.txt": b"x"})
    with pytest.raises(ShardError, match="holds no image"):
        index_folder(tmp_path)
    (tmp_path / "train-0.tar").unlink()
    with pytest.raises(ShardError, match="no tar files"):
        index_folder(tmp_path)


def test_the_split_is_a_word_of_the_name(tmp_path: Path) -> None:
    names = {
        "train": ["part-0.tar", "retrained-1.tar", "training/0.tar"],
        "validation": ["imagenet1k-validation-00.tar", "cc_val_0.tar", "dev-0.tar"],
        "test": ["testing-0.tar", "eval/1.tar", "my.test.tar"],
    }
    for name in (name for part in names.values() for name in part):
        write_tar(tmp_path / name, {"0.png": png(1)})
    manifest = index_folder(tmp_path)
    found = {str(split): sorted(shard.file for shard in entry.shards) for split, entry in manifest.splits.items()}
    assert found == {split: sorted(part) for split, part in names.items()}


@pytest.mark.parametrize("label", [b"a cat", b"-1", b"5000000", b"5000000000"])
def test_a_label_that_is_none(tmp_path: Path, label: bytes) -> None:
    write_tar(tmp_path / "x.tar", {"0.png": png(1), "0.cls": label})
    with pytest.raises(ShardError, match=r"0\.cls in .* holds (no|the) label"):
        index_folder(tmp_path)


def test_verify_reads_local_folders() -> None:
    with pytest.raises(ValueError, match="reads local folders"):
        list(damaged_files("https://example.org/shards"))


def test_verify_names_what_is_damaged(pets: Path) -> None:
    folder = pets.parent / "shards"
    pack_folder(pets, folder, Packing(shard_bytes=4_000))
    assert not list(damaged_files(folder))
    changed = bytearray((folder / "train-000000.tar").read_bytes())
    changed[700] ^= 1
    (folder / "train-000000.tar").write_bytes(changed)
    (folder / "train-000001.tar").unlink()
    (folder / "test-000000.tar").write_bytes(b"")
    lines = list(damaged_files(folder))
    assert len(lines) == 3
    assert "train-000000.tar has another SHA-256" in lines[0]
    assert "train-000001.tar is missing" in lines[1]
    assert "test-000000.tar has 0 bytes and not" in lines[2]
