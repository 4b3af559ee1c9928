"""Base data module for images and points: splits by stage, and a training loader that can resume."""

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from glow_app.data.image_set import BatchedSet
from glow_app.data.splits import Split
from lightning_modules.loader import TrainLoader, train_loader

S = TypeVar("S", bound=BatchedSet[Any])

SPLITS: dict[str | None, tuple[Split, ...]] = {"fit": ("train", "validation"), "validate": ("validation",)}


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

    def setup(self, stage: str | None = None) -> None:
        """Load the splits of a stage: "fit" or "validate"."""
        for split in SPLITS.get(stage, ()):
            self.examples(split)

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
        examples, num_workers = self.examples("validation"), self.hparams.get("num_workers", 0)
        return DataLoader(
            examples,
            batch_size=self.hparams["eval_batch_size"] or self.hparams["batch_size"],
            collate_fn=examples.collate,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # otherwise every validation would draw from the global generator
        )


def ends_in_repetition(loader: Any, batch_idx: int) -> bool:
    """Return whether the batch ends in an example that ``DistributedSampler`` repeated as padding."""
    sampler = getattr(loader, "sampler", None)
    if not isinstance(sampler, DistributedSampler) or batch_idx + 1 < len(loader):
        return False
    left_over = len(sampler.dataset) % sampler.num_replicas  # type: ignore[arg-type]
    return 0 < left_over <= sampler.rank
