"""Sample grids during training."""

from pathlib import Path

import pytorch_lightning as pl
from PIL import Image
from pytorch_lightning.callbacks import Callback

from glow_app.models.image_model import ImageModel
from glow_app.pictures.images import save_png
from lightning_modules.runs.loggers import RunWandbLogger


class SampleGrids(Callback):
    """Writes a grid of samples at each temperature to the run's ``samples/``, always from the same noise.

    To use averaged weights, place it before the averaging callback in the list.

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
        assert isinstance(pl_module.model, ImageModel)
        folder = Path(trainer.default_root_dir) / "samples"
        every = trainer.val_check_batch
        inside = trainer.check_val_every_n_epoch is None or (every is not None and every < trainer.num_training_batches)
        name = f"step{trainer.global_step:07d}" if inside else f"epoch{epoch:05d}"
        for temperature in self.temperatures:
            try:
                picture = self.draw(trainer, pl_module.model, temperature)
                save_png(picture, folder / f"{name}_t{temperature:.2f}.png")
            except (
                FloatingPointError,
                ValueError,
                OSError,
            ) as error:  # non-finite samples of early weights; full disks
                pl.utilities.rank_zero_warn(f"no sample grid at temperature {temperature:g}: {error}")
                continue
            for logger in trainer.loggers:
                if isinstance(logger, RunWandbLogger):
                    logger.log_image(f"samples/t{temperature:.2f}", [picture], trainer.global_step)

    def draw(self, trainer: pl.Trainer, model: ImageModel, temperature: float) -> Image.Image:
        """Return a grid at a temperature."""
        return model.sample(self.num_images, temperature, self.seed).grid()
