"""The training loader: its order is a function of seed and epoch alone, and it resumes inside an epoch."""

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from glow_app.data.batched import BatchedSet
from glow_app.data.sharded_images import OPEN_SHARDS

T = TypeVar("T")

NUM_FIRST = 512  # images; initialised from 32, a Glow of four levels begins 0.04 bits/dim higher


class ResumableSampler(DistributedSampler[int]):
    """A ``DistributedSampler`` that can leave out the first ``start`` positions of a pass.

    Where examples lie in blocks, files of which only some can be at hand, each rank gets a stretch of the order of
    :func:`shuffle_blocks`, so that ranks read different files.
    """

    start = 0
    blocks: np.ndarray | None = None

    def __iter__(self) -> Iterator[int]:
        return islice(super().__iter__() if self.blocks is None else self._stretch(self.blocks), self.start, None)

    def _stretch(self, blocks: np.ndarray) -> Iterator[int]:
        order = shuffle_blocks(blocks, np.random.default_rng([self.seed, self.epoch]))
        first = self.rank * self.num_samples
        return iter(order[first : first + self.num_samples].tolist())


def shuffle_blocks(blocks: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return a random order of examples that is in few blocks at a time.

    The blocks are put in random order, and each example falls at random into one of the :data:`OPEN_SHARDS` stretches
    that begin with its own block: so new blocks come and old ones go one by one.

    Args:
        blocks: Number of the block of each example, (N,).
        generator: Decides the order.
    Shape:
        int64 (N,), a permutation.
    """
    numbers, place = np.unique(blocks, return_inverse=True)
    when = generator.permutation(len(numbers))[place] + OPEN_SHARDS * generator.random(len(blocks))
    return np.argsort(when, kind="stable")


class TrainLoader(DataLoader[T]):
    """Shuffled full batches of one rank, whose state can be saved and loaded inside an epoch.

    It counts its own passes. A framework's ``set_epoch`` agrees with that count in an ordinary run, but not where a
    run is stopped by a number of steps inside an epoch: that counts as a whole epoch, and its rest would be lost.
    Build it with :func:`train_loader`.

    Attributes:
        waited: Seconds that whoever took its batches has waited for them.
    """

    epoch = 0
    served = 0
    waited = 0.0
    pass_length: int | None = None
    _continues = False

    # A generator: nothing is drawn before the first batch is wanted. Worker processes would otherwise start on
    # epoch 0 when the loop creates its iterator, before a resumed run has set the epoch.
    def __iter__(self) -> Iterator[T]:  # type: ignore[override]
        if (self.served and not self._continues) or self.served >= (self.pass_length or len(self)):
            self.epoch, self.served = self.epoch + 1, 0
        self._continues = False
        # The loop may have exchanged the sampler, to overfit on the first batches for example.
        if isinstance(self.sampler, ResumableSampler):
            self.sampler.start = self.served * (self.batch_size or 1)
            self.sampler.set_epoch(self.epoch)
        batches = super().__iter__()
        if not isinstance(self.sampler, ResumableSampler):
            for _ in range(self.served):
                next(batches, None)
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - start
            if batch is None:
                return
            self.served += 1
            yield batch

    @property
    def stride(self) -> int:
        """Examples that a batch takes on all ranks together."""
        return (self.batch_size or 1) * getattr(self.sampler, "num_replicas", 1)

    def state_dict(self) -> dict[str, int]:
        """Return the pass, how many of its batches and examples were handed out, and whether that was all of it."""
        whole = self.served >= (self.pass_length or len(self))
        return {"epoch": self.epoch, "served": self.served, "examples": self.served * self.stride, "whole": int(whole)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from :meth:`state_dict` at the next iteration; in batches of another size too, or on more ranks.

        Where the examples that were handed out are no whole number of batches now, the last few come again.
        """
        self.epoch, self.served = state["epoch"], state["served"]
        if state.get("whole"):
            self.served = self.pass_length or len(self)
        elif "examples" in state:
            self.served = state["examples"] // self.stride
        self._continues = True


def train_loader(
    examples: BatchedSet[T],
    batch_size: int,
    *,
    seed: int = 0,
    num_replicas: int = 1,
    rank: int = 0,
    num_workers: int = 0,
) -> TrainLoader[T]:
    """Return the training loader of one rank.

    Args:
        examples: Training images or vectors.
        batch_size: Examples per batch and rank; the last partial batch of an epoch is left out.
        seed: Together with the epoch decides the order.
        num_replicas: Number of ranks that share an epoch.
        rank: This rank.
        num_workers: Loader processes; 0 is fast enough for a set in memory, as whole batches are read at once.
    Raises:
        ValueError: If a rank has fewer examples than one batch.
    """
    largest = len(examples) // num_replicas
    if batch_size < 1 or batch_size > largest:
        share = f"{len(examples)} training {examples.noun}" + (f" on {num_replicas} ranks" if num_replicas > 1 else "")
        raise ValueError(f"batch_size is {batch_size}, but with {share} it must be from 1 to {largest}")
    sampler = ResumableSampler(examples, num_replicas=num_replicas, rank=rank, shuffle=True, seed=seed, drop_last=True)
    sampler.blocks = examples.blocks
    return TrainLoader(
        examples,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=True,
        collate_fn=examples.collate,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # or every iteration would draw from the global one
    )


def first_examples(batches: Iterable[T], num_ranks: int = 1) -> T:
    """Return the first training examples of one rank as one batch, to initialise a model from.

    Of images on all ranks together 512, or fewer if they are large: as many values as 512 colour images of 32x32 have,
    so that they fit into memory where a training batch does. At least one batch, and whole batches. Of vectors one
    batch, from which their mean and deviation are computed.

    Args:
        batches: Tensors of vectors, or tuples of images and labels.
        num_ranks: Number of ranks that take as many.
    """
    taken: list[Any] = []
    num_images = num_values = 0
    for batch in batches:
        if isinstance(batch, Tensor):
            return batch
        taken.append(batch)
        num_images += num_ranks * len(taken[-1][0])
        num_values += num_ranks * taken[-1][0].numel()
        if num_images >= NUM_FIRST or num_values >= NUM_FIRST * 3 * 32 * 32:
            break
    return tuple(map(torch.cat, zip(*taken, strict=True)))  # type: ignore[return-value]
