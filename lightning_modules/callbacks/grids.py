"""Sample grids during training."""

from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from glow_app.models.image_model import ImageModel
from glow_app.nn.condition_encoder import base_picture
from glow_app.pictures.images import grid, save_png
from glow_app.seeding import step_generator
from lightning_modules.image_data import ImageDataModule
from lightning_modules.image_module import DensityModule
from lightning_modules.runs.loggers import RunWandbLogger


class SampleGrids(Callback):
    """Writes a grid of samples at each temperature to the run's ``samples/``, always from the same noise.

    With a task, columns are validation images; rows are the original, the damaged image, and two draws. To use averaged
    weights, place it before the averaging callback in the list.

    Args:
        temperatures: Temperatures, with a grid for each; 0.5, 0.7 and 1.0 if None.
        num_images: Images per grid.
        every_n_epochs: Interval in epochs; grids are written only after a validation.
        seed: Seed of the noise.
    """

    def __init__(
        self, temperatures: list[float] | None = None, num_images: int = 40, every_n_epochs: int = 1, seed: int = 0
    ) -> None:
        self.temperatures = temperatures or [0.5, 0.7, 1.0]
        self.num_images, self.every_n_epochs, self.seed = num_images, every_n_epochs, seed

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the grids of this epoch."""
        epoch = trainer.current_epoch + 1
        if trainer.sanity_checking or not trainer.is_global_zero or epoch % self.every_n_epochs:
            return
        assert isinstance(pl_module, DensityModule)
        folder = Path(trainer.default_root_dir) / "samples"
        folder.mkdir(parents=True, exist_ok=True)
        every = trainer.val_check_batch
        inside = trainer.check_val_every_n_epoch is None or (every is not None and every < trainer.num_training_batches)
        name = f"step{trainer.global_step:07d}" if inside else f"epoch{epoch:05d}"
        model, condition, labels, rows, num_images = pl_module.model, None, None, None, self.num_images
        if model.task is not None:
            condition, labels, rows = _damaged(trainer, model, max(1, num_images // 4), self.seed)
            num_images = len(condition)
        for temperature in self.temperatures:
            try:
                images = model.sample(num_images, temperature, self.seed, labels, condition=condition)
            except (FloatingPointError, ValueError) as error:  # such as early weights that draw non-finite samples
                pl.utilities.rank_zero_warn(f"no sample grid at temperature {temperature:g}: {error}")
                continue
            picture = images.grid() if rows is None else grid(torch.cat([rows, images.cpu()]), len(rows) // 2)
            try:
                save_png(picture, folder / f"{name}_t{temperature:.2f}.png")
            except OSError as error:  # no reason to stop the training
                pl.utilities.rank_zero_warn(f"no sample grid in {folder}: {error}")
            for logger in trainer.loggers:
                if isinstance(logger, RunWandbLogger):
                    logger.log_image(f"samples/t{temperature:.2f}", [picture], trainer.global_step)


def _damaged(trainer: pl.Trainer, model: ImageModel, num: int, seed: int) -> tuple[Tensor, list[int] | None, Tensor]:
    """Return conditions and classes of validation images, each twice, and two rows: originals and damaged images."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, ImageDataModule)
    examples = data.examples("validation")
    images = torch.from_numpy(examples.head(num))
    condition = model.condition(images, step_generator(seed, 0, "cpu", "damage"))
    assert condition is not None
    labels = None if model.flow.num_classes is None else 2 * examples.labels[:num].tolist()
    return torch.cat([condition, condition]), labels, torch.cat([images, base_picture(condition, images.shape[1])])
