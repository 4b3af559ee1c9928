"""Random numbers that are a pure function of ``(stream, seed, step)``: not of earlier draws or the number of processes.

A resumed run draws the same noise as an uninterrupted one. On several ranks, each takes its rows of the noise of the
whole batch.
"""

import hashlib
import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import index
from typing import Any, NamedTuple

import torch
from torch import Tensor

from glow_app.numeric_limits import LARGEST_SEED


class Share(NamedTuple):
    """The rows of a global batch that belong to a rank: ``rank``, ``rank + num_ranks``, ..., as ``DistributedSampler``.

    Args:
        num_rows: Rows of a rank's full batch, if this batch may be smaller; if None, the rows of this batch.
    """

    rank: int = 0
    num_ranks: int = 1
    num_rows: int | None = None


class SharedGenerator(torch.Generator):
    """A generator for :func:`draw_rows`; direct draws from it are the same on every rank."""

    share: Share


class ImageGenerators(torch.Generator):
    """A generator for :func:`draw_rows` only, with a separate generator per row."""

    each: list[torch.Generator]

    @classmethod
    def of(cls, each: Sequence[torch.Generator]) -> "ImageGenerators":
        """Combine the generators of the rows."""
        generators = cls("cpu")
        generators.each = list(each)
        return generators

    def get_state(self) -> Tensor:
        """Return the states of all rows."""
        return torch.stack([generator.get_state() for generator in self.each])

    def set_state(self, new_state: Tensor) -> "ImageGenerators":
        """Restore the states from :meth:`get_state`."""
        for generator, row in zip(self.each, new_state, strict=True):
            generator.set_state(row.clone())  # torch reads past a row of a larger tensor
        return self


def step_generator(
    seed: int, step: int, device: torch.device | str, stream: str, share: Share | None = None
) -> torch.Generator:
    """Return the generator of one training or evaluation step.

    Args:
        step: A counter; if it is the batch index in an epoch, ``stream`` must name the epoch.
        stream: Name of the purpose; different streams are independent.
        share: The rows of this rank; all rows if None.
    """
    digest = hashlib.sha256(f"{stream}/{seed}/{step}/0".encode()).digest()
    generator = SharedGenerator(device)
    generator.share = share or Share()
    generator.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    return generator


def draw_rows(
    draw: Callable[..., Tensor],
    shape: Sequence[int],
    generator: torch.Generator | None,
    device: torch.device | str = "cpu",
    **options: Any,
) -> Tensor:
    """Return random numbers, a row per example; on several ranks, the rows of this rank.

    Args:
        draw: A function like ``torch.rand``, called with a shape, ``generator``, ``device`` and ``options``.
        shape: (B, ...).
        generator: An ordinary generator, or from :func:`step_generator` or :func:`image_generators`.
        device: Device to draw on without a generator; a generator draws on its own device.
    """
    num, *rest = shape
    draw = partial(draw, device=device if generator is None else generator.device, **options)
    if isinstance(generator, ImageGenerators):
        return torch.cat([draw((1, *rest), generator=row_generator) for row_generator in generator.each])
    rank, num_ranks, num_rows = generator.share if isinstance(generator, SharedGenerator) else Share()
    return draw((max(num, num_rows or 0) * num_ranks, *rest), generator=generator)[rank::num_ranks][:num]


def image_generators(seeds: Sequence[int]) -> torch.Generator:
    """Return a generator for :func:`draw_rows` that draws the row of each image from its own seed."""
    return ImageGenerators.of([image_generator(seed) for seed in seeds])


def image_generator(seed: int) -> torch.Generator:
    """Return the generator of an image, on the CPU, so that a seed gives the same numbers on every device."""
    return torch.Generator("cpu").manual_seed(seed)


def random_seed(count: int) -> int:
    """Return a random first seed that leaves room for ``count`` seeds."""
    return random.SystemRandom().randrange(LARGEST_SEED - count + 2)


def one_seed_each(num: int, seeds: int | Sequence[int] | None) -> list[int]:
    """Return a seed per image: consecutive from ``seeds``, or from a random first seed if None; or ``seeds`` itself.

    Raises:
        ValueError: If ``num`` is below 1, a seed is not an integer or out of range, or their number is wrong.
    """
    if not hasattr(num, "__index__") or num < 1:
        raise ValueError(f"num is {num!r}; expected a whole number of at least 1")
    if seeds is None:
        seeds = random_seed(num)
    try:
        first = seeds if isinstance(seeds, Iterable) else range(index(seeds), index(seeds) + num)
        each = [index(seed) for seed in first]
    except TypeError as error:
        raise ValueError(f"seeds is {seeds!r}; expected a whole number, or one per image") from error
    if len(each) != num:
        raise ValueError(f"got {len(each)} seeds for {num} images")
    if min(each) < 0 or max(each) >= 2**63:
        raise ValueError(f"seeds are from {min(each)} to {max(each)}; expected 0 to 2**63 - 1")
    return each
