"""Sample grids while training."""

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from glow_app.pictures.images import save_png
from lightning_modules.density import DensityModule
from lightning_modules.runs.run_loggers import RunLogger
from lightning_modules.sharding import is_sharded

__all__ = ["SampleGrids"]


class SampleGrids(Callback):
    """Writes a grid of samples at each temperature into the run's ``samples/``, from the same noise every time.

    Belongs before the averaging callback in the list, whose weights it then sees.

    Args:
        temperatures: One grid each; 0.5, 0.7 and 1.0 if None.
        num_images: Images a grid.
        every_n_epochs: Not more often than validation.
        seed: Of the fixed noise.
    """

    def __init__(
        self,
        temperatures: list[float] | None = None,
        num_images: int = 40,
        every_n_epochs: int = 1,
        seed: int = 0,
    ) -> None:
        self.temperatures = temperatures or [0.5, 0.7, 1.0]
        self.num_images = num_images
        self.every_n_epochs = every_n_epochs
        self.seed = seed

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the grids of this epoch."""
        epoch = trainer.current_epoch + 1
        # A pass of sharded weights takes all ranks.
        takes_part = trainer.is_global_zero or is_sharded(pl_module)
        if trainer.sanity_checking or not takes_part or epoch % self.every_n_epochs:
            return
        assert isinstance(pl_module, DensityModule)
        folder = Path(trainer.default_root_dir) / "samples"
        folder.mkdir(parents=True, exist_ok=True)
        model = pl_module.model
        for temperature in self.temperatures:
            try:
                images = model.sample(self.num_images, temperature, self.seed)
            except FloatingPointError as error:  # early weights may draw such, and are trained on
                pl.utilities.rank_zero_warn(f"no sample grid at temperature {temperature:g}: {error}")
                continue
            if not trainer.is_global_zero:
                continue
            picture = images.grid()
            try:
                save_png(picture, folder / f"epoch{epoch:05d}_t{temperature:.2f}.png")
            except OSError as error:  # training is worth more than a picture
                pl.utilities.rank_zero_warn(f"no sample grid in {folder}: {error}")
            for logger in trainer.loggers:
                if isinstance(logger, RunLogger):
                    logger.log_picture(f"samples/t{temperature:.2f}", picture, trainer.global_step)
