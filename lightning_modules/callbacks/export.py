"""The exported model at the end of a run."""

import time
import warnings
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from glow_app.bijections import SolverError
from glow_app.generation import MANY_ORDINARY, Measures, Reference, measure
from glow_app.models.base import Density
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.storage.pretrained import model_hash, save_pretrained, save_reference
from glow_app.storage.stored_model import StoredModel, load_density
from lightning_modules.data import ImageDataModule
from lightning_modules.likelihood_module import LikelihoodModule
from lightning_modules.runs.recovery import LAST
from lightning_modules.runs.run_loggers import RunLogger

_BATCH = 16
_FEWEST = 20  # validation images for a reference
_LONG_ENOUGH = 60.0  # seconds spent on a reference, after which fewer images have to do


class ExportBest(Callback):
    """Writes the best checkpoint, else the last, into the run's ``model/`` when training ends.

    Statistics of validation images go with it, by which ``glow score`` and ``glow serve`` tell usual images from
    unusual ones.
    """

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Export on one rank."""
        checkpoints = [one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)]
        # Others may watch something else, or nothing.
        assert isinstance(pl_module, LikelihoodModule)
        checkpoints.sort(key=lambda one: one.monitor != pl_module.monitor)
        run_dir = Path(trainer.default_root_dir)
        known = checkpoints[0].best_model_path if checkpoints else ""
        best = Path(known or run_dir / LAST)
        # The run's folder may have been moved, where a path is remembered from before.
        path = best if best.exists() else run_dir / best.name
        if trainer.is_global_zero and path.exists():
            model, before = load_density(path), _exported(run_dir / "model")
            if before is not None and model_hash(before) == model_hash(model):
                return  # perhaps with settings and a reference of the user's own
            _replace(run_dir / "model", model, StoredModel(path).facts)
            if isinstance(before, ImageModel) and before.generation != GenerationSettings():
                warnings.warn(
                    f"{run_dir / 'model'} no longer recommends {before.generation}, tuned for its earlier weights; "
                    "tune it again with glow evaluate --tune",
                    stacklevel=1,
                )
            data = getattr(trainer, "datamodule", None)
            is_scored = isinstance(model, ImageModel) and model.task is None
            if is_scored and isinstance(data, ImageDataModule) and trainer.limit_val_batches:
                assert isinstance(model, ImageModel)
                try:
                    self._save_reference(model.to(pl_module.device), data, run_dir / "model")
                except (torch.OutOfMemoryError, SolverError, ValueError) as error:
                    warnings.warn(f"the exported model has no reference of its scores: {error}", stacklevel=1)
            for logger in trainer.loggers:
                if isinstance(logger, RunLogger):
                    logger.log_model(run_dir / "model")

    @staticmethod
    def _save_reference(model: ImageModel, data: ImageDataModule, folder: Path) -> None:
        images = torch.from_numpy(data.examples("validation").head(MANY_ORDINARY).copy())
        if len(images) < _FEWEST:
            return
        parts: list[Measures] = []
        end = time.monotonic() + _LONG_ENOUGH
        for first, part in zip(range(0, len(images), _BATCH), images.split(_BATCH), strict=True):
            parts.append(measure(model, part, seeds=range(first, first + len(part))))
            if first + len(part) >= _FEWEST and time.monotonic() > end:
                break
        save_reference(folder, Reference.of(Measures.joined(parts)).to_plain())


def _exported(folder: Path) -> Density | None:
    """Return the model that was exported to a folder before, if there is one."""
    try:
        return load_density(folder)
    except (OSError, ValueError):
        return None


def _replace(folder: Path, model: Density, facts: Mapping[str, Any]) -> None:
    """Export a model, and move what is in its place aside if it may not be replaced.

    At the end of a run there is nobody to ask: a file of a desktop or of the user beside the model, such as
    ``.DS_Store``, is neither to end the run in an error nor to be lost.
    """
    try:
        save_pretrained(model, folder, facts, overwrite=True)
    except FileExistsError as error:
        aside = next(free for number in count(1) if not (free := folder.with_name(f"{folder.name}-{number}")).exists())
        folder.rename(aside)
        reason = str(error).partition(";")[0]
        warnings.warn(f"the earlier {folder} is now {aside}: {reason}", stacklevel=1)
        save_pretrained(model, folder, facts)
