"""The configuration of a run, kept inside its checkpoints."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import yaml
from pytorch_lightning.cli import SaveConfigCallback

from glow_app.checkpoint import read_checkpoint
from lightning_modules.run_loggers import RunLogger

__all__ = ["SaveRunConfig", "config_of"]

CONFIG_KEY = "glow_app_config"


class SaveRunConfig(SaveConfigCallback):
    """Keeps the whole configuration beside the checkpoints and inside each, so that a checkpoint alone is enough."""

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the configuration to the loggers that keep one."""
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                logger.log_config(yaml.safe_load(self.parser.dump(self.config, skip_none=False)))

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the configuration as text."""
        checkpoint[CONFIG_KEY] = self.parser.dump(self.config, skip_none=False)


def config_of(path: Path) -> str:
    """Return the configuration inside a checkpoint, as text.

    Raises:
        ValueError: If there is none.
    """
    checkpoint = read_checkpoint(path)
    if CONFIG_KEY not in checkpoint:
        raise ValueError(
            f"{path} holds no configuration: it was not written by `glow fit`; pass --config and --ckpt_path"
        )
    return checkpoint[CONFIG_KEY]
