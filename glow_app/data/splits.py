"""Seeded division of a set's positions into train, validation and test."""

from collections.abc import Container

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
    official: Container[str] = (),
) -> np.ndarray:
    """Return the positions of one split: a seeded permutation of ``range(count)``, cut in three.

    Only positions decide, never content. The three splits are disjoint and cover everything.

    Args:
        count: Number of examples to divide.
        split: Which part to return.
        seed: Seed of the permutation.
        validation_fraction: Share held out for validation.
        test_fraction: Share held out for the test.
        noun: What the examples are called in messages.
        official: Splits that come from elsewhere, so that nothing is held out for them.
    Shape:
        int64 (n,), in permuted order.
    Raises:
        ValueError: If a part that should have examples would have none.
    """
    asked = {"validation": validation_fraction, "test": test_fraction}
    fractions = {name: 0.0 if name in official else fraction for name, fraction in asked.items()}
    sizes = {name: round(count * fraction) for name, fraction in fractions.items()}
    sizes["train"] = count - sum(sizes.values())
    if split != "train" and not fractions[split]:
        raise ValueError(f"there is no {split} split: {split}_fraction is 0; set it above 0, for example to 0.1")
    for name, size in sizes.items():
        if size < 1 and (name == "train" or fractions[name]):
            held_out = " and ".join(f"{name}_fraction {fraction:g}" for name, fraction in fractions.items())
            raise ValueError(f"{count} {noun} are too few: {held_out} leave none for {name}; add {noun} or change them")
    order = np.random.default_rng(seed).permutation(count)
    test, validation, train = np.split(order, [sizes["test"], sizes["test"] + sizes["validation"]])
    return {"train": train, "validation": validation, "test": test}[split]


def requested_rows(count: int, request: SplitRequest, official: Container[str] = ()) -> np.ndarray:
    """Return the positions of the requested split of a training pool, without the limit.

    Args:
        count: Images of the pool.
        request: Which split, with which seed and fractions.
        official: Splits whose images stand elsewhere, so that none are held out for them here.
    """
    return split_indices(
        count,
        request.split,
        seed=request.seed,
        validation_fraction=request.validation_fraction,
        test_fraction=request.test_fraction,
        official=official,
    )


def choose(pool: ImageSet, request: SplitRequest, official: Container[str] = ()) -> ImageSet:
    """Cut the requested split out of a training pool and apply the limit; arguments as :func:`requested_rows`."""
    return pool.subset(requested_rows(len(pool), request, official)[: request.limit])


def shuffled(pool: ImageSet, request: SplitRequest) -> ImageSet:
    """Return an official split whole, in seeded order, so that a limit keeps a mixture of classes."""
    return pool.subset(np.random.default_rng(request.seed).permutation(len(pool))[: request.limit])
