"""Seeded division of a set's positions into train, validation and test."""

from collections.abc import Container

import numpy as np

from glow_app.data.base import ImageSet
from glow_app.data.request import Split, SplitRequest
from glow_app.data.resizing import convert_array


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

    Only positions decide, never content. The three splits are disjoint and cover everything. An official split is
    returned whole, permuted as well, so that a limit keeps a mixture of classes.

    Args:
        count: Number of examples to divide.
        split: Which part to return.
        seed: Seed of the permutation.
        validation_fraction: Share held out for validation.
        test_fraction: Share held out for the test.
        noun: What the examples are called in messages.
        official: Splits with examples of their own, so that nothing is held out for them.
    Shape:
        int64 (n,), in permuted order.
    Raises:
        ValueError: If a part that should have examples would have none.
    """
    order = np.random.default_rng(seed).permutation(count)
    if split != "train" and split in official:
        return order
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
    test, validation, train = np.split(order, [sizes["test"], sizes["test"] + sizes["validation"]])
    return {"train": train, "validation": validation, "test": test}[split]


def requested_rows(count: int, request: SplitRequest, official: Container[str] = ()) -> np.ndarray:
    """Return the positions of the requested split, without the limit; arguments as for :func:`split_indices`."""
    return split_indices(
        count,
        request.split,
        seed=request.seed,
        validation_fraction=request.validation_fraction,
        test_fraction=request.test_fraction,
        official=official,
    )


def choose(pool: ImageSet, request: SplitRequest, official: Container[str] = ()) -> ImageSet:
    """Return the requested split of a pool at the requested shape, up to the limit.

    ``official`` is as for :func:`split_indices`; an official split has a pool of its own, the others are cut from the
    one for training.
    """
    chosen = pool.subset(requested_rows(len(pool), request, official)[: request.limit])
    if chosen.image_shape == request.image_shape:
        return chosen
    images = convert_array(chosen.images, request.image_shape, request.resize)
    return ImageSet(images, chosen.labels, chosen.class_names)
