from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pytest

from glow_app.data.splits import Split, SplitRequest

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def rows(examples: int | list[str], split: Split, **options: Any) -> np.ndarray:
    return SplitRequest(split=split, image_shape=(1, 8, 8), **options).rows(examples)


def parts(count: int, seed: int = 0, validation: float = 0.1, test: float = 0.2) -> dict[str, list[int]]:
    options = {"seed": seed, "validation_fraction": validation, "test_fraction": test}
    return {split: rows(count, split, **options).tolist() for split in SPLITS}


def test_disjoint_and_complete() -> None:
    split = parts(101)
    assert [len(split[name]) for name in SPLITS] == [71, 10, 20]
    assert sorted(chain(*split.values())) == list(range(101))


def test_stable_and_determined_by_the_seed() -> None:
    assert parts(50) == parts(50)
    assert parts(50) != parts(50, seed=1)
    # Fixed numbers: another machine or release must not move images between splits.
    assert np.random.default_rng(0).permutation(10)[:2].tolist() == parts(10)["test"]
    assert parts(10)["test"] == [4, 6]


def test_names_decide_their_splits_one_by_one() -> None:
    names = [f"cats/{number:04d}.jpg" for number in range(2000)]
    cut = partial(rows, seed=3, validation_fraction=0.1, test_fraction=0.2)
    split_of = {names[row]: split for split in SPLITS for row in cut(names, split)}
    assert len(split_of) == 2000
    counts = [list(split_of.values()).count(split) / 2000 for split in SPLITS]
    assert counts == pytest.approx([0.7, 0.1, 0.2], abs=0.03)
    few = names[::7]
    assert all(split_of[few[row]] == split for split in SPLITS for row in cut(few, split))
    converted = [name.replace("jpg", "png") for name in names]
    assert all((cut(converted, split) == cut(names, split)).all() for split in SPLITS)
    # Fixed names: another machine or release must not move images between splits.
    assert cut(names[:20], "test").tolist() == [4, 19, 18]


def test_no_split_of_a_few_names_is_empty() -> None:
    for seed in range(50):
        parts = [rows(["a.png", "b.png", "c.png", "d.png"], split, seed=seed).tolist() for split in SPLITS]
        assert all(parts)
        assert sorted(chain(*parts)) == [0, 1, 2, 3]
    for names, number in ((["a.png", "b.png"], "2 images"), (["a.png"], "1 image")):
        with pytest.raises(ValueError, match=f"{number}, too few: train, validation, test need at least one each; add"):
            rows(names, "train")


def test_a_fraction_of_zero_holds_nothing_out() -> None:
    assert len(rows(5, "train", validation_fraction=0, test_fraction=0)) == 5
    with pytest.raises(ValueError, match="no validation split: validation_fraction is 0; set it above 0"):
        rows(5, "validation", validation_fraction=0)


@pytest.mark.parametrize("split", SPLITS)
def test_too_few_images(split: Split) -> None:
    with pytest.raises(ValueError, match=r"3 images are too few: .* leave none for validation"):
        rows(3, split, test_fraction=0.4)


@pytest.mark.parametrize(
    "change",
    [
        *({"split": "val"}, {"resize": "squash"}, {"image_shape": (2, 8, 8)}, {"image_shape": (8, 8)}, {"limit": 0}),
        *({"validation_fraction": 1.0}, {"test_fraction": -0.1}, {"validation_fraction": 0.5, "test_fraction": 0.5}),
    ],
    ids=str,
)
def test_bad_requests(change: dict) -> None:
    with pytest.raises(ValueError, match="|".join(("channels", *change))):
        SplitRequest(**{"split": "train", "image_shape": (1, 8, 8), **change})
