from itertools import chain

import numpy as np
import pytest
import torch

from glow_app.data.image_set import ImageSet
from lightning_modules.resumable_data import TrainLoader, first_examples, train_loader


def loader(count: int = 20, batch_size: int = 4, **options: int) -> TrainLoader:
    images = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)
    return train_loader(ImageSet(images, torch.zeros(count, dtype=torch.int64)), batch_size, **options)


def one_pass(batches: TrainLoader) -> list[list[int]]:
    return [images.flatten().tolist() for images, _ in batches]


def passes(batches: TrainLoader, count: int) -> list[list[int]]:
    return [batch for _ in range(count) for batch in one_pass(batches)]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_order_is_a_function_of_seed_and_epoch(num_workers: int) -> None:
    before = torch.get_rng_state()
    both = passes(loader(num_workers=num_workers), 2)
    assert torch.equal(torch.get_rng_state(), before)
    first, second = both[:5], both[5:]
    assert first == one_pass(loader())
    assert second != first
    late = loader(num_workers=num_workers)
    late.epoch = 1
    assert one_pass(late) == second
    assert one_pass(loader(seed=1)) != first


def test_every_image_once_and_full_batches_only() -> None:
    assert sorted(chain(*one_pass(loader(20)))) == list(range(20))
    batches = one_pass(loader(23))
    assert [len(batch) for batch in batches] == [4] * 5
    assert len(loader(23)) == 5


def test_ranks_share_an_epoch() -> None:
    ranks = [one_pass(loader(21, num_replicas=2, rank=rank)) for rank in range(2)]
    assert [len(part) for part in ranks] == [2, 2]
    seen = [*chain(*ranks[0], *ranks[1])]
    assert len(seen) == len(set(seen)) == 16


def test_a_pass_cut_short_is_followed_by_the_next_epoch() -> None:
    batches = loader()
    next(iter(batches))
    assert one_pass(batches) == passes(loader(), 2)[5:]


def test_an_invalid_batch_size_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size is 21, but with 20 training examples it must be from 1 to 20"):
        loader(20, 21)
    with pytest.raises(ValueError, match="on 3 ranks it must be from 1 to 6"):
        loader(20, 7, num_replicas=3)


def test_the_first_examples_are_whole_batches_up_to_a_limit() -> None:
    small = [(torch.full((100, 1, 4, 4), number), torch.full((100,), number)) for number in range(9)]
    images, labels = first_examples(small)
    assert images.shape == (600, 1, 4, 4)
    assert labels.unique().tolist() == [0, 1, 2, 3, 4, 5]
    assert len(first_examples(small, num_ranks=3)[0]) == 200
    assert len(first_examples(small[:2])[0]) == 200
    assert len(first_examples([(torch.zeros(4, 3, 128, 128),)] * 20)[0]) == 32
    assert len(first_examples([(torch.zeros(80, 3, 256, 256),)] * 2)[0]) == 80
    assert len(first_examples([torch.zeros(50, 2)] * 20)) == 50
