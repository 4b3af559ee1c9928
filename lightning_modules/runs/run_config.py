"""The configuration of a run, stored in its checkpoints."""

from typing import Any

import pytorch_lightning as pl
import yaml
from pytorch_lightning.cli import SaveConfigCallback

from glow_app.storage.seal import SEAL_KEY, places_of, seals
from lightning_modules.runs.run_loggers import RunLogger

CONFIG_KEY = "glow_app_config"  # in a checkpoint


class SaveRunConfig(SaveConfigCallback):
    """Stores the whole configuration in the run's folder and in each checkpoint, so that a checkpoint is sufficient.

    Without the checkpoint that the run was resumed from, so that the configuration begins a new run.
    """

    def __init__(self, parser: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        config = config.clone()
        config.ckpt_path = None
        super().__init__(parser, config, *args, **kwargs)

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Log the configuration."""
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                logger.log_config(yaml.safe_load(self.parser.dump(self.config, skip_none=False)))

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the configuration as text, and seals by which its user's commands recognise its folders and addresses."""
        text = self.parser.dump(self.config, skip_none=False)
        config = yaml.safe_load(text)
        checkpoint |= {CONFIG_KEY: text, SEAL_KEY: seals(places_of(config["data"], config["trainer"]["logger"]))}
