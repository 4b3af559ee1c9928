"""Data module for an image source."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

from glow_app.data.image_set import ImageSet
from glow_app.data.sources import load_split
from glow_app.data.splits import Resize, Split, SplitRequest
from glow_app.seeding import Share, draw_rows, step_generator
from lightning_modules.resumable_data import ResumableDataModule

_DIVISION = ("source", "seed", "validation_fraction", "test_fraction", "count")  # arguments that decide the splits


class ImageDataModule(ResumableDataModule[ImageSet]):
    """Training and validation loaders of one image source.

    Args:
        source: "digits", "fashion_mnist", "mnist", "cifar10", "folder", "photos" (many crops of each), "datasets" (a
            folder of Hugging Face ``datasets``), "faces" (rendered), or "hf://NAME" of a data set on the hub.
        image_shape: (C, H, W) of the images; C is 1 (grey) or 3 (RGB).
        root: The image folder, or the folder of the data set's files.
        batch_size: Training images per batch and rank.
        eval_batch_size: Images per validation batch and rank; ``batch_size`` if None.
        num_workers: Loader processes; 0 is fast enough for images in memory.
        download: Whether to download missing files of the torchvision sets.
        seed: Seed of splits, order and flips.
        validation_fraction: Fraction of the training images held out for validation.
        test_fraction: Fraction held out for testing if the source has no official test split.
        resize: "crop", "stretch" or "pad".
        horizontal_flip: Whether to mirror each training image with probability one half.
        cache_dir: Folder for decoded images.
        limit: Maximum number of images per split.
        count: Number of faces that source "faces" renders for all splits together; 10,000 if None.
        attributes: Attributes as labels instead of classes: a CSV about the images of a folder; or true for
            ``attributes.csv`` or CelebA's in the folder, or for those of "faces"; "auto" for one in the folder, if any.
    Shape:
        Batches are images, uint8 (B, C, H, W), and labels, classes (B,) or attributes (B, A).
    Raises:
        ValueError: In ``setup`` or when a loader is built, if an argument does not fit the data.
        FileNotFoundError: In ``prepare_data`` or ``setup``, if the data does not exist.
    """

    def __init__(
        self,
        source: str = "digits",
        image_shape: tuple[int, int, int] = (1, 8, 8),
        root: str | None = None,
        batch_size: int = 64,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        download: bool = False,
        seed: int = 0,
        validation_fraction: float = 0.1,
        test_fraction: float = 0.1,
        resize: Resize = "crop",
        horizontal_flip: bool = False,
        cache_dir: str | None = None,
        limit: int | None = None,
        count: int | None = None,
        attributes: bool | str | None = None,
    ) -> None:
        super().__init__()
        # Plain types only: these go into every checkpoint.
        image_shape = cast(tuple[int, int, int], tuple(image_shape))
        root = None if root is None else str(root)
        cache_dir = None if cache_dir is None else str(cache_dir)
        self.save_hyperparameters(logger=False)
        self.recorded: Mapping[str, Any] | None = None  # arguments of this module in the run so far

    def setup(self, stage: str) -> None:
        """Load the training and validation splits; warn if they are divided differently from the run so far."""
        super().setup(stage)
        if self.recorded is not None:
            options = [name for name in _DIVISION if self.recorded.get(name) != self.hparams[name]]
            if options:
                rank_zero_warn(
                    f"{', '.join(options)} changed since the start of the run; it may have trained on images that are "
                    "now held out"
                )

    def prepare_data(self) -> None:
        """Download, decode a folder or render faces, in one process before the others need it."""
        super().setup("fit")

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Mirror training images, as a function of the seed and of the batch's number in the whole run."""
        trainer = self.trainer
        if not (self.hparams["horizontal_flip"] and trainer and trainer.training):
            return batch
        images, labels = batch
        # Drawn on the CPU, so that the result is the same on every device.
        share = Share(trainer.global_rank, trainer.world_size)
        number = trainer.fit_loop.total_batch_idx + 1
        generator = step_generator(self.hparams["seed"], number, "cpu", "horizontal_flip", share)
        draws = draw_rows(torch.rand, (len(images),), generator)
        mirrored = draws.lt(0.5).to(images.device)
        return torch.where(mirrored[:, None, None, None], images.flip(-1), images), labels

    def _load(self, split: Split) -> ImageSet:
        names = (field.name for field in fields(SplitRequest) if field.name in self.hparams)
        options = {"split": split, **{name: self.hparams[name] for name in names}}
        try:
            return load_split(self.hparams["source"], **options)
        except FileNotFoundError as error:
            if self.recorded is None:
                raise
            raise FileNotFoundError(f"{error}; if the pictures have moved, pass --data.root") from error
