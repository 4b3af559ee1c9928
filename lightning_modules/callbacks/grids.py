"""Sample grids during training."""

from pathlib import Path

import numpy as np
import pytorch_lightning as pl
from PIL import Image
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger

from glow_app.models.image_model import ImageModel
from glow_app.pictures.images import save_picture
from glow_app.pipeline.sampling import draw, draw_settings
from lightning_modules.image_module import ImageModule
from lightning_modules.runs.loggers import RunWandbLogger


class SampleGrids(Callback):
    """Writes a grid of samples to the run's ``samples/`` after each validation, always from the same noise.

    To use averaged weights, place it before the averaging callback in the list.

    Args:
        temperature: Factor of the noise; the one that the model recommends, usually 0.7, if None.
        num_images: Images per grid.
    """

    def __init__(self, temperature: float | None = None, num_images: int = 40) -> None:
        self.temperature, self.num_images = temperature, num_images

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the grid."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, ImageModule)
        folder = Path(trainer.default_root_dir) / "samples"
        try:
            picture = self.draw(trainer, pl_module.model)
            save_picture(picture, folder / f"step{trainer.global_step:07d}.png")
        except (FloatingPointError, ValueError, OSError) as error:  # non-finite samples of early weights; full disks
            pl.utilities.rank_zero_warn(f"no sample grid: {error}")
            return
        for logger in trainer.loggers:
            if isinstance(logger, RunWandbLogger):
                logger.log_image("samples", [picture], trainer.global_step)
            elif isinstance(logger, TensorBoardLogger):
                pixels = np.asarray(picture.convert("RGB"))
                logger.experiment.add_image("samples", pixels, trainer.global_step, dataformats="HWC")

    def draw(self, trainer: pl.Trainer, model: ImageModel) -> Image.Image:
        """Return the grid."""
        return draw(model, range(self.num_images), draw_settings(model, self.temperature)).grid()
