"""Loggers of a run: a CSV file that a resumed run continues, and Weights & Biases."""

import csv
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only, rank_zero_warn

from glow_app.evaluation.report import METRICS


def csv_logger(run_dir: Path, first_step: int) -> CSVLogger:
    """Return a logger to ``metrics.csv``, which keeps the rows that a resumed run logged before ``first_step``.

    Lightning's logger deletes an earlier file, so its rows are read before and written again.
    """
    path, rows = run_dir / METRICS, []
    logger = CSVLogger(run_dir, name="", version="")
    if path.exists() and not getattr(rank_zero_only, "rank", 0):
        with path.open(newline="") as file:
            # A killed run may have left half a row.
            whole = (row for row in csv.DictReader(file) if None not in row.values())
            rows = [row for row in whole if int(row["step"]) < first_step]
        logger.experiment.metrics = rows
        logger.save()
    return logger


def _harmless(method: Callable[..., Any]) -> Callable[..., None]:
    """Let a method warn once instead of failing, on the first rank only."""

    @wraps(method)
    def call(self: "RunWandbLogger", *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # a network client may raise many errors
            if not self.warned:
                rank_zero_warn(f"not logged to Weights & Biases: {type(error).__name__}: {error}; training continues")
            self.warned = True

    return rank_zero_only(call)


class RunWandbLogger(WandbLogger):
    """Weights & Biases: a single W&B run across all resumes, whose failures never stop the training.

    If W&B has no key, or its server does not answer in time at the start, the run is logged offline. Later failures
    are ignored after a single warning.

    Args:
        save_dir: The run's folder, in which ``wandb/`` is created; set by ``glow fit``.
        id: Id of the W&B run; set by ``glow fit`` for each new run, and kept by its resumes.
        project: Project of the W&B run.
        offline: Write files for ``wandb sync`` instead of uploading.
        timeout: Time limit, in seconds, for the server's first answer and for the upload at the end.
        options: Further arguments of ``wandb.init``, such as ``entity``, ``name`` or ``tags``.
    """

    def __init__(
        self,
        save_dir: str = ".",
        id: str | None = None,
        project: str = "glow-app",
        offline: bool = False,
        timeout: float = 60,
        options: dict[str, Any] | None = None,
    ) -> None:
        import wandb

        settings = wandb.Settings(init_timeout=timeout, finish_timeout=timeout, finish_timeout_raises=False)
        own: Any = ({"mode": "offline"} if offline else {}) | (options or {})
        super().__init__(save_dir=save_dir, id=id, project=project, settings=settings, **own)
        self._wandb_init.pop("anonymous", None)  # W&B warns of it, whatever its value
        self.warned = False

    @property
    def experiment(self) -> Any:
        """The W&B run; started on first use, offline if that fails."""
        try:
            return super().experiment
        except Exception as error:
            if self._wandb_init.get("mode") == "offline":
                raise
            import wandb

            reason = str(error).splitlines()[0][:200]
            print(f"Weights & Biases: logging offline ({reason}); wandb sync uploads it later", file=sys.stderr)
            wandb.teardown()  # or its service would refuse to start the same run again
            self._wandb_init["mode"] = "offline"
            return super().experiment

    log_hyperparams = _harmless(WandbLogger.log_hyperparams)
    log_metrics = _harmless(WandbLogger.log_metrics)  # also of images

    @_harmless
    def log_export(self, folder: Path) -> None:
        """Log an exported model as an artifact."""
        self.experiment.log_artifact(str(folder), f"model-{self._id}", type="model")
