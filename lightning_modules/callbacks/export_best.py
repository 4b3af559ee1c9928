"""Export of the model at the end of a run."""

import time
import warnings
from contextlib import suppress
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from glow_app.bijections import SolverError
from glow_app.messages import pluralise
from glow_app.models.image_model import ImageModel
from glow_app.pipeline import FEW_ORDINARY, MANY_ORDINARY, Measures, Reference, measure
from glow_app.storage.pretrained import save_pretrained, save_reference
from glow_app.storage.stored_model import StoredModel
from lightning_modules.image_data import ImageDataModule
from lightning_modules.runs.checkpoints import BEST, LAST
from lightning_modules.runs.loggers import RunWandbLogger

_MIN_BATCH, _MIN_VALUES = 16, 2**15  # of images that are measured together: small ones are many
_MAX_SECONDS = 60.0  # for a reference; after that, it has fewer images, but at least the minimum


class ExportBest(Callback):
    """Exports the best checkpoint, or the last one if there is none, to the run's ``model/`` when training ends.

    Models that can score images without being given anything also get statistics of validation images, with which
    ``glow score`` and ``glow serve`` recognise unusual images.
    """

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Export on the first rank, unless the same weights were exported before."""
        run_dir = Path(trainer.default_root_dir)
        path = next((path for name in (BEST, LAST) if (path := run_dir / name).exists()), None)
        if path is None or not trainer.is_global_zero:
            return
        folder, stored = run_dir / "model", StoredModel(path)
        model = stored.load()
        with suppress(OSError, ValueError):  # there is no earlier export
            if StoredModel(folder).hash == stored.hash:
                return  # the user may have added settings or a reference
        try:
            save_pretrained(model, folder, stored.facts, overwrite=True)
        except FileExistsError as error:  # it contains the user's own files, which must not be lost
            aside = folder.with_name(f"{folder.name}-{time.strftime('%Y%m%d-%H%M%S')}")
            warnings.warn(f"the earlier {folder} is now {aside}: {str(error).partition(';')[0]}", stacklevel=1)
            folder.rename(aside)
            save_pretrained(model, folder, stored.facts)
        data = getattr(trainer, "datamodule", None)
        if isinstance(data, ImageDataModule) and trainer.limit_val_batches:
            try:
                _save_reference(model.to(pl_module.device), data, folder)
            except (torch.OutOfMemoryError, SolverError, ValueError) as error:
                warnings.warn(f"the exported model has no reference of its scores: {error}", stacklevel=1)
        for logger in trainer.loggers:
            if isinstance(logger, RunWandbLogger):
                logger.log_export(folder)


def _save_reference(model: ImageModel, data: ImageDataModule, folder: Path) -> None:
    images = torch.from_numpy(data.examples("validation").head(MANY_ORDINARY).copy())
    try:
        model.conditioning.unknown(1)
    except ValueError:  # such a model is always given something, without which images have no scores
        return
    if len(images) < FEW_ORDINARY:
        print(
            "for verdicts, glow score needs ordinary pictures as --reference: "
            f"only {pluralise(len(images), 'picture')} held out, {FEW_ORDINARY} are needed"
        )
        return
    parts: list[Measures] = []
    end = time.monotonic() + _MAX_SECONDS
    size = max(_MIN_BATCH, _MIN_VALUES // model.num_dims)
    for first, part in zip(range(0, len(images), size), images.split(size), strict=True):
        parts.append(measure(model, part, seeds=range(first, first + len(part))))
        if first + len(part) >= FEW_ORDINARY and time.monotonic() > end:
            break
    save_reference(folder, Reference.of(Measures.joined(parts)).to_plain())
