"""Seeded division of a set's positions into train, validation and test."""

import numpy as np

from glow_app.data.base import ImageSet
from glow_app.data.request import Split, SplitRequest


def split_indices(
    count: int,
    split: Split,
    *,
    seed: int,
    validation_fraction: float,
    test_fraction: float,
    noun: str = "images",
) -> np.ndarray:
    """Return the positions of one split: a seeded permutation of ``range(count)``, cut in three.

    Only positions decide, never content. The three splits are disjoint and cover everything.

    Args:
        count: Number of examples to divide.
        split: Which part to return.
        seed: Seed of the permutation.
        validation_fraction: Share held out for validation; 0 when it comes from elsewhere.
        test_fraction: Share held out for the test; 0 when it comes from elsewhere.
        noun: What the examples are called in messages.
    Shape:
        int64 (n,), in permuted order.
    Raises:
        ValueError: If a part that should have examples would have none.
    """
    fractions = {"validation": validation_fraction, "test": test_fraction}
    sizes = {name: round(count * fraction) for name, fraction in fractions.items()}
    sizes["train"] = count - sum(sizes.values())
    if split != "train" and not fractions[split]:
        raise ValueError(f"there is no {split} split: {split}_fraction is 0; set it above 0, for example to 0.1")
    for name, size in sizes.items():
        if size < 1 and (name == "train" or fractions[name]):
            held_out = f"validation_fraction {validation_fraction:g} and test_fraction {test_fraction:g}"
            raise ValueError(f"{count} {noun} are too few: {held_out} leave none for {name}; add {noun} or change them")
    order = np.random.default_rng(seed).permutation(count)
    test, validation, train = np.split(order, [sizes["test"], sizes["test"] + sizes["validation"]])
    return {"train": train, "validation": validation, "test": test}[split]


def choose(pool: ImageSet, request: SplitRequest, *, has_validation: bool = False, has_test: bool = False) -> ImageSet:
    """Cut the requested split out of a training pool and apply the limit.

    Args:
        pool: Images to divide.
        request: Which split, with which seed, fractions and limit.
        has_validation: Validation images stand elsewhere, so none are held out here.
        has_test: Test images stand elsewhere, so none are held out here.
    """
    indices = split_indices(
        len(pool),
        request.split,
        seed=request.seed,
        validation_fraction=0.0 if has_validation else request.validation_fraction,
        test_fraction=0.0 if has_test else request.test_fraction,
    )
    return pool.subset(indices[: request.limit])


def shuffled(pool: ImageSet, request: SplitRequest) -> ImageSet:
    """Return an official split whole, in seeded order, so that a limit keeps a mixture of classes."""
    return pool.subset(np.random.default_rng(request.seed).permutation(len(pool))[: request.limit])
