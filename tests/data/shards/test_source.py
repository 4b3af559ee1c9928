"""Shards as a source: what is read, from where, and what is said when something is wrong with them."""

import json
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glow_app.data import ImageSet, load_split, train_loader
from glow_app.data.sharded_images import ShardError
from glow_app.data.shards.addresses import fetch, join
from glow_app.data.shards.pack import Packing, pack_folder
from glow_app.data.shards.shard_cache import ShardCache
from glow_app.files import sha256_of

Serve = Callable[[Path], Any]
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
    server = serve(shards)
    address = server.address
    assert np.array_equal(load(address).images, load(shards).images)
    assert load(address).labels.tolist() == load(shards).labels.tolist()
    before = len([path for path in server.asked if path.endswith(".tar")])
    assert load(address).images.shape[0] == 32
    assert len([path for path in server.asked if path.endswith(".tar")]) == before, "kept shards are not fetched again"


def test_the_cache_stays_below_its_size(shards: Path, serve: Serve, tmp_path: Path) -> None:
    address = serve(shards).address
    sizes = [path.stat().st_size for path in shards.glob("train-*.tar")]
    room = 2.5 * max(sizes)
    assert sum(sizes) > 2 * room
    with pytest.warns(UserWarning, match=r"cache_gb is .* would be fetched repeatedly"):
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
    address = serve(shards).address
    with pytest.raises(ShardError, match=r"train-000001.tar is damaged: its SHA-256"):
        _ = load(address).images


def test_a_file_of_any_size_is_fetched_from_a_server_without_ranges(tmp_path: Path, serve: Serve) -> None:
    (tmp_path / "served").mkdir()
    content = np.random.default_rng(0).bytes(12_000_000)
    (tmp_path / "served/a #1?.tar").write_bytes(content)
    fetch(join(serve(tmp_path / "served").address, "a #1?.tar"), tmp_path / "here")
    assert (tmp_path / "here").read_bytes() == content


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which are not waited for."""
    pauses: list[float] = []
    monkeypatch.setattr("glow_app.data.shards.addresses.time.sleep", pauses.append)
    return pauses


@pytest.mark.parametrize("failure", [500, 503, "torn"])
def test_what_fails_on_the_way_is_tried_again(
    shards: Path, serve: Serve, waited: list[float], failure: int | str
) -> None:
    server = serve(shards)
    server.failures = [failure, failure]
    images = load(server.address)
    assert waited == [1, 4]
    server.failures = [failure, failure, failure]
    assert images.head(3).shape[0] == 3
    assert waited == [1, 4, 1, 4, 15]


def test_a_server_that_stays_away_is_told_and_nothing_stands_in(
    shards: Path, serve: Serve, waited: list[float]
) -> None:
    server = serve(shards)
    images = load(server.address)
    server.failures = ["torn"] * 4
    with pytest.raises(ShardError, match=r"shard http://.*tar cannot be read: ClientPayloadError"):
        images.head(1)
    assert waited == [1, 4, 15]
    server.failures = [404]
    with pytest.raises(ShardError, match=r"shard http://.*tar cannot be read: FileNotFoundError"):
        images.head(1)
    with pytest.raises(ShardError, match=r"manifest\.json cannot be read: ClientConnector"):
        load("http://127.0.0.1:9/shards")
    with pytest.raises(ShardError, match=r"there is no http://.*; glow data pack writes"):
        load(f"{server.address}nothing")


def test_a_damaged_copy_in_the_cache_is_fetched_again(shards: Path, serve: Serve, tmp_path: Path) -> None:
    server = serve(shards)
    whole = load(server.address, cache_dir=tmp_path / "kept").images
    for path in (tmp_path / "kept/shards").iterdir():
        if path.is_file() and not path.suffix:
            path.write_bytes(b"")
    assert np.array_equal(load(server.address, cache_dir=tmp_path / "kept").images, whole)


def test_an_index_that_goes_is_told(shards: Path, serve: Serve, tmp_path: Path) -> None:
    images = load(serve(shards).address, cache_dir=tmp_path / "kept")
    shutil.rmtree(tmp_path / "kept/shards/indices")
    with pytest.raises(ShardError, match=r"is gone .*; restart the run"):
        images.head(1)


def test_a_cache_that_is_emptied_all_the_time_is_told(tmp_path: Path) -> None:
    def fetch(path: Path) -> None:
        path.write_bytes(b"x")

    def use(path: Path) -> None:
        path.unlink(missing_ok=True)
        raise FileNotFoundError(path)

    with pytest.raises(OSError, match="vanishes as soon as it is fetched"):
        ShardCache(tmp_path, 100).use("x", fetch, use)


def test_a_missing_or_torn_shard_is_told_before_training(shards: Path) -> None:
    shard = shards / "train-000001.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    with pytest.raises(ShardError, match=rf"train-000001.tar has {len(whole) - 100} bytes and not {len(whole)}"):
        load(shards)
    shard.unlink()
    with pytest.raises(ShardError, match=r"train-000001\.tar is missing"):
        load(shards)


def spoil(shards: Path, rows: list[int]) -> None:
    """Overwrite the beginnings of images of the training split, all in one shard."""
    index = np.load(shards / "train.index.npy")
    with (shards / "train-000000.tar").open("r+b") as file:
        for row in rows:
            file.seek(index["offset"][row])
            file.write(bytes(20))


@pytest.fixture
def one_shard(pets: Path) -> Path:
    pack_folder(pets, pets.parent / "shards", Packing())
    return pets.parent / "shards"


def test_the_next_image_stands_in_for_one_that_cannot_be_read_with_its_label(one_shard: Path) -> None:
    whole = load(one_shard)
    expected = whole.images
    spoil(one_shard, [1, 2, 31])
    images = load(one_shard)
    with pytest.warns(UserWarning, match="cannot be read") as told:
        found, labels = images.__getitems__(list(range(32)))
    rows = [0, 3, 3, *range(3, 31), 0]
    assert np.array_equal(found.numpy(), expected[rows])
    assert labels.tolist() == whole.labels[rows].tolist()
    first = str(told[0].message)
    assert re.fullmatch(r"image 1 of .*train-000000.tar cannot be read \(.*\); the next one stands in for it", first)
    assert "BytesIO" not in first


def test_what_stands_in_is_of_the_same_split(one_shard: Path) -> None:
    manifest = json.loads((one_shard / "manifest.json").read_text())
    del manifest["splits"]["validation"], manifest["splits"]["test"]
    (one_shard / "manifest.json").write_text(json.dumps(manifest))
    own = {split: set(values(load(one_shard, split))) for split in ("train", "validation", "test")}
    assert [len(part) for part in own.values()] == [26, 3, 3]
    assert len(set.union(*own.values())) == 32
    readable = set(values(load(one_shard))) - {0}
    spoil(one_shard, list(range(0, 32, 3)))
    assert readable
    for split, part in own.items():
        with warnings.catch_warnings(action="ignore"):
            assert set(values(load(one_shard, split))) <= part


def test_shards_in_which_nothing_can_be_read(shards: Path) -> None:
    for shard in shards.glob("train-*.tar"):
        shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(
        ShardError, match=r"train-000000.tar is damaged: image 0 of .*, and neither can the next 15; put a good"
    ):
        load(shards).head(1)


def test_shards_packed_at_another_size_are_told(pets: Path) -> None:
    pack_folder(pets, pets.parent / "small", Packing((1, 2, 2)))
    with pytest.warns(UserWarning, match="packed at 1x2x2, and their images are resized to 3x4x6"):
        load(pets.parent / "small")


def test_a_limit_is_a_mixture_from_few_shards(tmp_path: Path, make_images: Callable[..., Path]) -> None:
    make_images(tmp_path / "many", 200)
    pack_folder(tmp_path / "many", tmp_path / "shards", Packing(shard_bytes=10_000))
    manifest = json.loads((tmp_path / "shards/manifest.json").read_text())
    a_shard = manifest["splits"]["train"]["shards"][0]["count"]
    few = [load(tmp_path / "shards", limit=8, seed=seed) for seed in range(8)]
    assert len({tuple(values(images)) for images in few}) == 8
    touched = [len(np.unique(images.blocks)) for images in few if images.blocks is not None]
    assert 2 < max(touched) <= -(-80 // a_shard) + 1
    whole = load(tmp_path / "shards")
    assert whole.blocks is not None
    assert len(np.unique(whole.blocks)) > 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "is not a manifest of shards"),
        ("not json", "is not a manifest of shards"),
        ('{"format": "glow-shards", "version": 99}', "is of version 99; update glow-app"),
        (
            '{"format": "glow-shards", "version": 1, "class_names": [], "image_shape": null, "splits": '
            '{"train": {"index": "../x", "index_sha256": "", "shards": []}}}',
            "is not below the folder",
        ),
        (
            '{"format": "glow-shards", "version": 1, "class_names": [], "image_shape": null, "splits": '
            '{"train": {"index": "x", "index_sha256": "", "shards": []}}}',
            "a split has no shards",
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
    with pytest.raises(ShardError, match=r"index .* has another SHA-256"):
        load(shards)


def test_an_index_that_is_an_archive(shards: Path) -> None:
    content = json.loads((shards / "manifest.json").read_text())
    with (shards / "train.index.npy").open("wb") as file:
        np.savez(file, np.zeros(32))
    content["splits"]["train"]["index_sha256"] = sha256_of(shards / "train.index.npy")
    (shards / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(ShardError, match=r"index .* is damaged"):
        load(shards)


def test_other_sources_read_no_addresses() -> None:
    with pytest.raises(ValueError, match="use source 'shards'"):
        load_split("folder", "train", SHAPE, root="https://example.org/pictures")
