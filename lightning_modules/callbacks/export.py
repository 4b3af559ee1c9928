"""Export of the model at the end of a run."""

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
from lightning_modules.runs.loggers import RunWandbLogger
from lightning_modules.runs.recovery import LAST

_BATCH = 16
_MIN_IMAGES = 20  # validation images for a reference
_MAX_SECONDS = 60.0  # for a reference; after that, it has fewer images, but at least the minimum


class ExportBest(Callback):
    """Exports the best checkpoint, or the last one if there is none, to the run's ``model/`` when training ends.

    Models without a task also get statistics of validation images, with which ``glow score`` and ``glow serve``
    recognise unusual images.
    """

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Export on the first rank."""
        checkpoints = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
        # The user's own callbacks may monitor another metric, or none.
        assert isinstance(pl_module, LikelihoodModule)
        checkpoints.sort(key=lambda callback: callback.monitor != pl_module.monitor)
        run_dir = Path(trainer.default_root_dir)
        recorded = checkpoints[0].best_model_path if checkpoints else ""
        best = Path(recorded or run_dir / LAST)
        # The recorded path is outdated if the run's folder was moved.
        path = best if best.exists() else run_dir / best.name
        if trainer.is_global_zero and path.exists():
            model, earlier = load_density(path), _exported(run_dir / "model")
            if earlier is not None and model_hash(earlier) == model_hash(model):
                return  # the user may have added settings or a reference
            _replace(run_dir / "model", model, StoredModel(path).facts)
            if isinstance(earlier, ImageModel) and earlier.generation != GenerationSettings():
                warnings.warn(
                    f"{run_dir / 'model'} no longer recommends {earlier.generation}, chosen for its earlier weights",
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
                if isinstance(logger, RunWandbLogger):
                    logger.log_export(run_dir / "model")

    @staticmethod
    def _save_reference(model: ImageModel, data: ImageDataModule, folder: Path) -> None:
        images = torch.from_numpy(data.examples("validation").head(MANY_ORDINARY).copy())
        if len(images) < _MIN_IMAGES:
            return
        parts: list[Measures] = []
        end = time.monotonic() + _MAX_SECONDS
        for first, part in zip(range(0, len(images), _BATCH), images.split(_BATCH), strict=True):
            parts.append(measure(model, part, seeds=range(first, first + len(part))))
            if first + len(part) >= _MIN_IMAGES and time.monotonic() > end:
                break
        save_reference(folder, Reference.of(Measures.joined(parts)).to_plain())


def _exported(folder: Path) -> Density | None:
    """Return the model that an earlier run exported to a folder, or None."""
    try:
        return load_density(folder)
    except (OSError, ValueError):
        return None


def _replace(folder: Path, model: Density, facts: Mapping[str, Any]) -> None:
    """Export a model to a folder; rename an existing folder that must not be replaced.

    Other files beside an earlier model, such as the user's or ``.DS_Store``, must neither make the run fail nor be
    lost.
    """
    try:
        save_pretrained(model, folder, facts, overwrite=True)
    except FileExistsError as error:
        aside = next(free for number in count(1) if not (free := folder.with_name(f"{folder.name}-{number}")).exists())
        folder.rename(aside)
        reason = str(error).partition(";")[0]
        warnings.warn(f"the earlier {folder} is now {aside}: {reason}", stacklevel=1)
        save_pretrained(model, folder, facts)
