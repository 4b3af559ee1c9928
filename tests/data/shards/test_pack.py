import os
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glow_app.data import ImageSet, load_split
from glow_app.data.shards.check import damaged_files
from glow_app.data.shards.pack import Packing, Report, pack_folder
from glow_app.data.shards.source import read_manifest

Make = Callable[..., Path]
SHAPE = (3, 4, 6)
SMALL = 4_000  # bytes: a few images a shard


def pack(root: Path, **options: object) -> Report:
    return pack_folder(root, root.parent / "shards", Packing(**{"shard_bytes": SMALL, **options}))  # type: ignore[arg-type]


def load(root: Path, split: str = "train", shape: tuple[int, int, int] = SHAPE, **options: object) -> ImageSet:
    return load_split("shards", split, shape, root=root.parent / "shards", **options)  # type: ignore[arg-type]


def pixels(images: ImageSet) -> list[tuple[bytes, int]]:
    return sorted((image.tobytes(), int(label)) for image, label in zip(images.images, images.labels, strict=True))


@pytest.mark.parametrize("image_shape", [None, SHAPE])
def test_shards_hold_the_splits_of_the_folder(pets: Path, image_shape: tuple[int, int, int] | None) -> None:
    report = pack(pets, image_shape=image_shape)
    assert len(report.manifest.splits["train"].shards) > 2
    assert not report.skipped
    for split in ("train", "validation", "test"):
        packed, folder = load(pets, split), load_split("folder", split, SHAPE, root=pets)
        assert pixels(packed) == pixels(folder)
        assert packed.class_names == folder.class_names == ("cat", "dog")
        assert report.manifest.splits[split].count == len(folder)


def test_an_image_is_brought_to_its_size_once(tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    ramp = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for number in range(10):
        Image.fromarray(ramp + number).save(tmp_path / f"large/{number}.jpg")
    pack(tmp_path / "large", image_shape=SHAPE)
    assert pixels(load(tmp_path / "large")) == pixels(load_split("folder", "train", SHAPE, root=tmp_path / "large"))
    assert read_manifest(str(tmp_path / "shards")).image_shape == SHAPE


def test_own_directories_are_the_splits(tmp_path: Path, make_images: Make) -> None:
    make_images(tmp_path / "sets/train/b", 6)
    make_images(tmp_path / "sets/test/a", 3, first=30)
    pack(tmp_path / "sets")
    found = {split: load(tmp_path / "sets", split) for split in ("train", "validation", "test")}
    assert [len(part) for part in found.values()] == [5, 1, 3]
    assert found["test"].class_names == ("a", "b")
    assert found["test"].labels.tolist() == [0] * 3
    assert sorted(found["test"].images[:, 0, 0, 0]) == [30, 31, 32]


def test_the_layout_is_that_of_webdataset(pets: Path) -> None:
    pack(pets)
    shard = pets.parent / "shards/train-000000.tar"
    with tarfile.open(shard) as tar:
        names = tar.getnames()
        label = int(tar.extractfile("000000000.cls").read())  # type: ignore[union-attr]
    assert names[:4] == ["000000000.png", "000000000.cls", "000000001.png", "000000001.cls"]
    first = (pets.parent / "shards/train.names.txt").read_text().splitlines()[0]
    assert ["cat", "dog"][label] == first.partition("/")[0]


def test_the_same_folder_gives_the_same_bytes(pets: Path) -> None:
    pack(pets)
    (pets.parent / "shards").rename(pets.parent / "earlier")
    pack(pets)
    files = sorted(path.name for path in (pets.parent / "earlier").iterdir())
    assert files == sorted(path.name for path in (pets.parent / "shards").iterdir())
    assert all((pets.parent / "earlier" / n).read_bytes() == (pets.parent / "shards" / n).read_bytes() for n in files)


def test_broken_files_are_left_out_and_named(pets: Path) -> None:
    (pets / "dog/broken.png").write_bytes(b"\x89PNG no more")
    (pets / "dog/torn.png").write_bytes((pets / "dog/003.png").read_bytes()[:45])
    report = pack(pets)
    assert sorted(name for name, _ in report.skipped) == ["dog/broken.png", "dog/torn.png"]
    assert sum(entry.count for entry in report.manifest.splits.values()) == 40
    assert not list(damaged_files(pets.parent / "shards"))


def test_an_image_that_claims_to_be_huge_is_left_out(pets: Path) -> None:
    content = bytearray((pets / "dog/003.png").read_bytes())
    for side in (3_000, 30_000):  # one that is believed at first, and one that is not
        content[16:24] = side.to_bytes(4, "big") * 2
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
        (pets / f"dog/liar{side}.png").write_bytes(content)
    found = dict(pack(pets).skipped)
    assert "truncated" in found["dog/liar3000.png"]
    assert "it has more than 178,956,970 pixels; reduce it or cut" in found["dog/liar30000.png"]
    assert len(found) == 2


def test_what_is_no_regular_file_is_not_opened(pets: Path) -> None:
    os.mkfifo(pets / "dog/pipe.png")
    assert not pack(pets).skipped


def test_a_full_disk_is_told_with_the_place(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("glow_app.data.shards.pack.split_entry", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*shards'"):
        pack(pets)


@pytest.mark.slow
def test_a_packing_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    for number in range(1000):
        Image.fromarray(noise).save(tmp_path / f"many/{number}.bmp")
    code = f"from glow_app.cli import main; main(['data', 'pack', '{tmp_path}/many', '--output', '{tmp_path}/shards'])"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (workers := children.read_text().split()) or not list(tmp_path.glob(".shards-*/new/*.tar")):
        assert process.poll() is None
    process.kill()
    process.wait()
    for _ in range(100):
        if not any(Path(f"/proc/{worker}").exists() for worker in workers):
            return
        time.sleep(0.2)
    raise AssertionError(f"{workers} are still there")


def test_an_existing_folder_stays(pets: Path) -> None:
    (pets.parent / "shards").mkdir()
    with pytest.raises(FileExistsError, match="choose another --output"):
        pack(pets)


def test_nothing_is_left_of_an_interrupted_packing(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("glow_app.data.shards.pack.split_entry", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pack(pets)
    assert [path.name for path in pets.parent.iterdir() if "shards" in path.name] == []


def test_a_folder_without_a_readable_image(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    for number in range(20):
        (tmp_path / f"bad/{number}.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="none of the 16 images for train"):
        pack(tmp_path / "bad")
    assert not (tmp_path / "shards").exists()
