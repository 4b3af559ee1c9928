"""Who sees what when: every image once, by ranks and workers together, and never many files at a time."""

from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from glow_app.data import ImageSet, load_split, train_loader
from glow_app.data.loader import shuffle_blocks
from glow_app.data.sharded_images import OPEN_SHARDS
from glow_app.data.shards.pack import Packing, pack_folder


@pytest.fixture
def images(pets: Path) -> ImageSet:
    packing = Packing(shard_bytes=4_000, validation_fraction=0.05, test_fraction=0.05)
    pack_folder(pets, pets.parent / "shards", packing)
    return load_split("shards", "train", (3, 4, 6), root=pets.parent / "shards")


def seen(images: ImageSet, epoch: int = 0, **options: int) -> list[int]:
    loader = train_loader(images, 3, **options)
    loader.epoch = epoch
    return [int(value) for batch, _ in loader for value in batch[:, 0, 0, 0]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_two_ranks_see_every_image_once_an_epoch(images: ImageSet, num_workers: int) -> None:
    assert len(images) == 36
    for epoch in range(2):
        ranks = [seen(images, epoch, num_replicas=2, rank=rank, num_workers=num_workers) for rank in range(2)]
        assert [len(part) for part in ranks] == [18, 18]
        assert Counter(chain(*ranks)) == Counter(images.images[:, 0, 0, 0].tolist())


def test_the_order_changes_with_epoch_and_seed_and_with_nothing_else(images: ImageSet) -> None:
    assert seen(images) == seen(images, num_workers=2)
    assert seen(images) != seen(images, epoch=1)
    assert seen(images) != seen(images, seed=1)


def test_an_epoch_goes_on_in_its_middle(images: ImageSet) -> None:
    whole = seen(images)
    loader = train_loader(images, 3, num_workers=2)
    loader.load_state_dict({"epoch": 0, "served": 5})
    assert [int(value) for batch, _ in loader for value in batch[:, 0, 0, 0]] == whole[15:]


def test_few_blocks_at_a_time_and_well_mixed() -> None:
    blocks = np.repeat(np.arange(100), 50)
    order = shuffle_blocks(blocks, np.random.default_rng(0))
    assert sorted(order) == list(range(5000))
    opened = [len(np.unique(blocks[order[start : start + 50]])) for start in range(0, 5000, 50)]
    assert max(opened) <= OPEN_SHARDS + 1
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for position, block in enumerate(blocks[order]):
        first.setdefault(block, position)
        last[block] = position
    open_now = [sum(first[b] <= position <= last[b] for b in first) for position in range(0, 5000, 50)]
    assert max(open_now) <= OPEN_SHARDS + 2
    # Within a block the order is random.
    ranks = [np.argsort(np.argsort(order[blocks[order] == block])) for block in range(100)]
    correlations = [np.corrcoef(rank, np.arange(50))[0, 1] for rank in ranks]
    assert abs(np.mean(correlations)) < 0.05
