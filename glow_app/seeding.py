"""Random numbers that depend on names and counters, never on what ran before, nor on how many processes run.

A run that was stopped and resumed draws the same noise as one that was not, since every draw is a pure function of
``(stream, seed, step)``; and so does a run on several ranks, each of which takes its rows of what one would have drawn.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["ImageGenerators", "Share", "draw_rows", "image_generator", "image_generators", "step_generator"]


class Share(NamedTuple):
    """Which rows of a batch that several ranks have together are this one's: ``rank``, ``rank + num_ranks``, ...

    It is the share that a ``DistributedSampler`` deals out.

    Args:
        rank: This rank.
        num_ranks: How many there are.
        num_rows: Rows of a full batch of one rank, where this one may be a partial one; its own number if None.
    """

    rank: int = 0
    num_ranks: int = 1
    num_rows: int | None = None


class SharedGenerator(torch.Generator):
    """A generator for :func:`draw_rows`; anything else that draws from it draws the same on every rank."""

    share: Share


class ImageGenerators(torch.Generator):
    """A generator for :func:`draw_rows` alone, with one of its own for each row."""

    each: list[torch.Generator]

    @classmethod
    def of(cls, each: Sequence[torch.Generator]) -> "ImageGenerators":
        """Return the generator of some rows, given that of each."""
        generators = cls("cpu")
        generators.each = list(each)
        return generators

    def get_state(self) -> Tensor:
        """Return the states of all rows."""
        return torch.stack([one.get_state() for one in self.each])

    def set_state(self, new_state: Tensor) -> "ImageGenerators":
        """Bring all rows to the states of :meth:`get_state`."""
        for one, row in zip(self.each, new_state, strict=True):
            one.set_state(row.clone())  # torch reads past a row of a larger tensor
        return self


def step_generator(
    seed: int, step: int, device: torch.device | str, stream: str, share: Share | None = None
) -> torch.Generator:
    """Return the generator of one training or evaluation step.

    Args:
        seed: The run's seed.
        step: Any counter: the global step in training, the batch index in evaluation.
        device: Where the generator draws.
        stream: What the numbers are for; two streams never share numbers.
        share: Of which rows this rank wants the noise; of all if None.
    """
    # Before ranks shared their noise theirs stood in the place of the 0.
    digest = hashlib.sha256(f"{stream}/{seed}/{step}/0".encode()).digest()
    generator = SharedGenerator(device)
    generator.share = share or Share()
    generator.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    return generator


def draw_rows(
    draw: Callable[[Sequence[int], torch.Generator | None], Tensor],
    shape: Sequence[int],
    generator: torch.Generator | None,
) -> Tensor:
    """Return random numbers, a row an example: where the batch is one of several, its rows of those for all of them.

    Args:
        draw: Called with a shape and the generator to draw from.
        shape: (B, ...).
        generator: Ordinary, from :func:`step_generator` with a share, or from :func:`image_generators`.
    """
    num, *rest = shape
    if isinstance(generator, ImageGenerators):
        return torch.cat([draw((1, *rest), one) for one in generator.each])
    rank, num_ranks, num_rows = generator.share if isinstance(generator, SharedGenerator) else Share()
    return draw((max(num, num_rows or 0) * num_ranks, *rest), generator)[rank::num_ranks][:num]


def image_generators(seeds: Sequence[int]) -> torch.Generator:
    """Return a generator for :func:`draw_rows` that draws each image's row from the generator of its own seed.

    Args:
        seeds: One an image of the batch.
    """
    return ImageGenerators.of([image_generator(seed) for seed in seeds])


def image_generator(seed: int) -> torch.Generator:
    """Return the CPU generator of one image; on the CPU always, so that a seed means the same on every device."""
    return torch.Generator("cpu").manual_seed(seed)
