"""Data for images and points: their splits, and a training loader that can resume within an epoch.

The order of the training examples depends only on seed and epoch.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Generic, TypeVar

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from glow_app.data.image_set import BatchedSet
from glow_app.data.splits import Split

T = TypeVar("T")
S = TypeVar("S", bound=BatchedSet[Any])

NUM_FIRST_IMAGES = 512  # images; a Glow of four levels initialised from 32 starts 0.04 bits/dim higher


class ResumableSampler(DistributedSampler[int]):
    """A ``DistributedSampler`` that can skip the first ``start`` positions of an epoch."""

    start = 0

    def __iter__(self) -> Iterator[int]:
        return islice(super().__iter__(), self.start, None)


class TrainLoader(DataLoader[T]):
    """Shuffled full batches of one rank; its state can be saved and restored within an epoch.

    Build it with :func:`train_loader`. It counts epochs itself and ignores a framework's ``set_epoch``: a run that
    stops after a number of steps within an epoch would count that as a whole epoch, and skip the rest on resuming.

    Attributes:
        waited: Total time that consumers waited for batches, seconds.
    """

    epoch = 0
    served = 0
    waited = 0.0
    pass_length: int | None = None
    _continues = False

    # A generator, so that nothing is drawn before the first batch is requested. Otherwise workers would start on epoch
    # 0 when the training loop creates the iterator, before a resumed run has restored the epoch.
    def __iter__(self) -> Iterator[T]:  # type: ignore[override]
        if (self.served and not self._continues) or self.served >= (self.pass_length or len(self)):
            self.epoch, self.served = self.epoch + 1, 0
        self._continues = False
        # The training loop may have replaced the sampler, for example to overfit on the first batches.
        if isinstance(self.sampler, ResumableSampler):
            self.sampler.start = self.served * (self.batch_size or 1)
            self.sampler.set_epoch(self.epoch)
        batches = super().__iter__()
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - start
            if batch is None:
                return
            self.served += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the epoch of the next batch, and how many of its batches were served."""
        is_complete = self.served >= (self.pass_length or len(self))
        return {"epoch": self.epoch + is_complete, "served": 0 if is_complete else self.served}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from :meth:`state_dict` at the next iteration."""
        self.epoch, self.served, self._continues = state["epoch"], state["served"], True


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
        batch_size: Examples per batch and rank; the last partial batch of an epoch is dropped.
        seed: Seed of the order, together with the epoch.
        num_replicas, rank: Number of ranks that share an epoch, and the index of this one.
        num_workers: Loader processes; 0 is fast enough for data in memory, because whole batches are read at once.
    Raises:
        ValueError: If a rank has fewer examples than one batch.
    """
    largest = len(examples) // num_replicas
    if batch_size < 1 or batch_size > largest:
        share = f"{len(examples)} training examples" + (f" on {num_replicas} ranks" if num_replicas > 1 else "")
        raise ValueError(f"batch_size is {batch_size}, but with {share} it must be from 1 to {largest}")
    sampler = ResumableSampler(examples, num_replicas=num_replicas, rank=rank, shuffle=True, seed=seed, drop_last=True)
    return TrainLoader(examples, batch_size, sampler=sampler, drop_last=True, **_options(examples, num_workers))


def _options(examples: BatchedSet[Any], num_workers: int) -> dict[str, Any]:
    """Return the options of all loaders."""
    return {
        "collate_fn": examples.collate,
        "num_workers": num_workers,
        "persistent_workers": num_workers > 0,
        "pin_memory": torch.cuda.is_available(),
        "generator": torch.Generator(),  # otherwise every iteration would advance the global one
    }


def first_examples(batches: Iterable[T], num_ranks: int = 1) -> T:
    """Return the first training examples of a rank as one batch, for initialising a model.

    For images, whole batches, until all ranks together have 512 images or as many values as 512 colour images of
    32x32, so that large images fit into memory wherever a training batch does. For points, one batch, from which
    their mean and standard deviation are computed.

    Args:
        batches: Tensors of points, or tuples of images and labels.
        num_ranks: Number of ranks, each of which takes as many.
    """
    taken: list[Any] = []
    num_images = num_values = 0
    for batch in batches:
        if isinstance(batch, Tensor):
            return batch
        taken.append(batch)
        num_images += num_ranks * len(taken[-1][0])
        num_values += num_ranks * taken[-1][0].numel()
        if num_images >= NUM_FIRST_IMAGES or num_values >= NUM_FIRST_IMAGES * 3 * 32 * 32:
            break
    return tuple(map(torch.cat, zip(*taken, strict=True)))  # type: ignore[return-value]


class ResumableDataModule(pl.LightningDataModule, ABC, Generic[S]):
    """Training and validation loaders of one source.

    The training order is a function of seed and epoch, on any number of ranks and after resuming, also within an
    epoch. A subclass implements ``_load``, and saves the hyperparameters ``batch_size``, ``eval_batch_size``
    (``batch_size`` if None), ``seed`` and, unless the loaders have no processes, ``num_workers``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sets: dict[Split, S] = {}
        self._progress: dict[str, int] | None = None

    @abstractmethod
    def _load(self, split: Split) -> S: ...

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the training loader, for the checkpoint."""
        loader = self.trainer.train_dataloader if self.trainer else None
        return {"train_loader": loader.state_dict()} if isinstance(loader, TrainLoader) else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the position of the next training loader."""
        self._progress = state.get("train_loader")

    def setup(self, stage: str) -> None:
        """Load the training and validation splits."""
        self.examples("train")
        self.examples("validation")

    def examples(self, split: Split) -> S:
        """Return the examples of a split; load them if necessary."""
        if split not in self._sets:
            self._sets[split] = self._load(split)
        return self._sets[split]

    def train_dataloader(self) -> TrainLoader[Any]:
        """Return this rank's shuffled batches, all of full size."""
        trainer = self.trainer
        loader = train_loader(
            self.examples("train"),
            self.hparams["batch_size"],
            seed=self.hparams["seed"],
            num_replicas=trainer.world_size if trainer else 1,
            rank=trainer.global_rank if trainer else 0,
            num_workers=self.hparams.get("num_workers", 0),
        )
        if trainer:
            loader.epoch, limit = trainer.current_epoch, trainer.limit_train_batches
            loader.pass_length = int(limit * len(loader)) if isinstance(limit, float) else min(limit, len(loader))
        if self._progress is not None:
            # Lightning itself restores the loader only if the checkpoint was saved within an epoch, and too late if the
            # optimiser's configuration has read the number of steps, which builds the loader.
            loader.load_state_dict(self._progress)
            self._progress = None
        return loader

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the validation split in order, which Lightning divides among ranks; the last batch may be smaller."""
        examples, options = self.examples("validation"), self.hparams
        batch_size = options["eval_batch_size"] or options["batch_size"]
        return DataLoader(examples, batch_size, **_options(examples, options.get("num_workers", 0)))


def ends_in_repetition(loader: Any, batch_idx: int) -> bool:
    """Return whether the batch ends in an example that ``DistributedSampler`` repeated as padding."""
    sampler = getattr(loader, "sampler", None)
    if not isinstance(sampler, DistributedSampler) or batch_idx + 1 < len(loader):
        return False
    left_over = len(sampler.dataset) % sampler.num_replicas  # type: ignore[arg-type]
    return 0 < left_over <= sampler.rank
