"""Shards as a source: what is read, from where, and what is said when something is wrong with them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from glow_app.data import ImageSet, load_split, train_loader
from glow_app.data.shards import ShardError
from glow_app.data.shards.pack import Packing, pack_folder

Serve = Callable[[Path], tuple[str, list[str]]]
SHAPE = (3, 4, 6)


@pytest.fixture
def shards(pets: Path) -> Path:
    pack_folder(pets, pets.parent / "shards", Packing(shard_bytes=4_000))
    return pets.parent / "shards"


def load(root: Path | str, split: str = "train", **options: object) -> ImageSet:
    return load_split("shards", split, SHAPE, root=root, **options)  # type: ignore[arg-type]


def values(images: ImageSet) -> list[int]:
    return images.images[:, 0, 0, 0].tolist()


def test_subset_head_and_items(shards: Path) -> None:
    images = load(shards)
    whole = images.images
    assert whole.shape == (32, *SHAPE)
    assert np.array_equal(images.head(5), whole[:5])
    assert np.array_equal(images.subset([7, 3]).images, whole[[7, 3]])
    image, label = images[-1]
    assert np.array_equal(image.numpy(), whole[-1])
    assert label == images.labels[-1]
    batch, labels = images.__getitems__([30, 1])
    assert np.array_equal(batch.numpy(), whole[[30, 1]])
    assert labels.tolist() == [int(value < 100) for value in whole[[30, 1], 0, 0, 0]]
    few = values(load(shards, limit=5))
    assert few == values(load(shards, limit=5))
    assert len(set(few) & set(values(images))) == 5


def test_files_are_opened_by_each_worker_itself(shards: Path) -> None:
    images = load(shards)
    images.head(1)
    batches = train_loader(images, 4, num_workers=2)
    seen = [int(value) for batch, _ in batches for value in batch[:, 0, 0, 0]]
    assert sorted(seen) == sorted(values(images))


def test_from_an_address_as_from_the_disk(shards: Path, serve: Serve) -> None:
    address, asked = serve(shards)
    assert np.array_equal(load(address).images, load(shards).images)
    assert load(address).labels.tolist() == load(shards).labels.tolist()
    before = len([path for path in asked if path.endswith(".tar")])
    assert load(address).images.shape[0] == 32
    assert len([path for path in asked if path.endswith(".tar")]) == before, "kept shards are not fetched again"


def test_the_cache_stays_below_its_size(shards: Path, serve: Serve, tmp_path: Path) -> None:
    address, _ = serve(shards)
    sizes = [path.stat().st_size for path in shards.glob("train-*.tar")]
    room = 2.5 * max(sizes)
    assert sum(sizes) > 2 * room
    images = load(address, cache_dir=tmp_path / "kept", cache_gb=room / 1e9)
    for _ in range(2):
        assert sorted(values(images)) == sorted(values(load(shards)))
        kept = sum(
            path.stat().st_size for path in (tmp_path / "kept/shards").iterdir() if not path.suffix and path.is_file()
        )
        assert 0 < kept <= room


def test_a_shard_that_arrives_damaged_is_refused(shards: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = shards / "train-000001.tar"
    content = bytearray(damaged.read_bytes())
    content[1500] ^= 1
    damaged.write_bytes(content)
    address, _ = serve(shards)
    with pytest.raises(ShardError, match=r"train-000001.tar is damaged: its SHA-256"):
        _ = load(address).images


def test_an_address_that_fails_is_tried_again(shards: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    waited: list[float] = []
    failures = iter([OSError("connection reset"), OSError("timeout")])
    opened = fsspec.open

    def flaky(*args: object, **kwargs: object) -> object:
        if (error := next(failures, None)) is not None:
            raise error
        return opened(*args, **kwargs)

    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setattr(fsspec, "open", flaky)
    assert len(load(serve(shards)[0])) == 32
    assert waited == [1, 4]


def test_a_missing_or_torn_shard_is_told_before_training(shards: Path) -> None:
    shard = shards / "train-000001.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    with pytest.raises(ShardError, match=rf"train-000001.tar has {len(whole) - 100} bytes and not {len(whole)}"):
        load(shards)
    shard.unlink()
    with pytest.raises(ShardError, match=r"train-000001\.tar is missing"):
        load(shards)


def test_the_next_image_stands_in_for_one_that_cannot_be_read(shards: Path) -> None:
    whole = load(shards).images
    index = np.load(shards / "train.index.npy")
    with (shards / "train-000000.tar").open("r+b") as file:
        file.seek(index["offset"][1])
        file.write(bytes(20))
    with pytest.warns(UserWarning, match=r"image 1 of .*train-000000.tar cannot be read .* the next one stands in"):
        found = load(shards).images
    assert np.array_equal(found[1], whole[2])
    assert np.array_equal(np.delete(found, 1, 0), np.delete(whole, 1, 0))


def test_shards_in_which_nothing_can_be_read(shards: Path) -> None:
    for shard in shards.glob("train-*.tar"):
        shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(ShardError, match=r"train-000000.tar is damaged: no image from its 0th on can be read"):
        load(shards).head(1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "is no manifest of shards"),
        ("not json", "is no manifest of shards"),
        ('{"format": "glow-shards", "version": 99}', "is of version 99; update glow-app"),
        (
            '{"format": "glow-shards", "version": 1, "class_names": [], "image_shape": null, "splits": '
            '{"train": {"index": "../x", "index_sha256": "", "shards": []}}}',
            "is not below the folder",
        ),
    ],
)
def test_a_bad_manifest(shards: Path, text: str, message: str) -> None:
    (shards / "manifest.json").write_text(text)
    with pytest.raises(ShardError, match=message):
        load(shards)


def test_no_manifest_no_root_and_a_damaged_index(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="glow data pack writes shards"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"pass --data\.root PLACE"):
        load_split("shards", "train", SHAPE)
    (shards / "train.index.npy").write_bytes(b"x")
    with pytest.raises(ShardError, match=r"index .* is missing or damaged"):
        load(shards)


def test_other_sources_read_no_addresses() -> None:
    with pytest.raises(ValueError, match="use source 'shards'"):
        load_split("folder", "train", SHAPE, root="https://example.org/pictures")


def test_held_out_parts_lie_in_few_shards(shards: Path) -> None:
    manifest = json.loads((shards / "manifest.json").read_text())
    del manifest["splits"]["validation"], manifest["splits"]["test"]
    (shards / "manifest.json").write_text(json.dumps(manifest))
    parts = {split: load(shards, split) for split in ("train", "validation", "test")}
    assert [len(part) for part in parts.values()] == [26, 3, 3]
    assert len({value for part in parts.values() for value in values(part)}) == 32
    assert all(len(np.unique(parts[split].blocks)) <= 2 for split in ("validation", "test"))  # type: ignore[arg-type]
