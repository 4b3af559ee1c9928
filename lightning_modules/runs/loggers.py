"""Loggers of a run: a CSV file that a resumed run continues, and Weights & Biases."""

import csv
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger
from pytorch_lightning.utilities import rank_zero_only, rank_zero_warn

METRICS = "metrics.csv"


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


class RunWandbLogger(Logger):
    """Weights & Biases: a single W&B run across all resumes, whose failures never stop the training.

    If W&B has no key, or its server does not answer in time at the start, the run is logged offline. Later failures
    are ignored after a single warning. Lightning's ``WandbLogger`` cannot change to offline.

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
        super().__init__()
        import wandb

        settings = wandb.Settings(init_timeout=timeout, finish_timeout=timeout, finish_timeout_raises=False)
        own = {"project": project, "dir": save_dir, "id": id, "resume": "allow", "settings": settings}
        self.options = own | ({"mode": "offline"} if offline else {}) | (options or {})
        self.warned = False
        self._run: Any = None

    @property
    def name(self) -> str:
        """The project of the W&B run."""
        return self.options["project"]

    @property
    def version(self) -> str | None:
        """The id of the W&B run."""
        return self.options["id"]

    @property
    def experiment(self) -> Any:
        """The W&B run; started on first use, offline if that fails."""
        if self._run is None:
            import wandb

            try:
                self._run = wandb.init(**self.options)
            except Exception as error:
                if self.options.get("mode") == "offline":
                    raise
                reason = str(error).splitlines()[0][:200]
                print(f"Weights & Biases: logging offline ({reason}); wandb sync uploads it later", file=sys.stderr)
                wandb.teardown()  # or its service would refuse to start the same run again
                self._run = wandb.init(**self.options | {"mode": "offline"})
            self._run.define_metric("trainer/global_step")
            self._run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return self._run

    @_harmless
    def log_hyperparams(self, params: Any) -> None:
        """Log the configuration of the run, plain types by name."""
        self.experiment.config.update(params, allow_val_change=True)

    @_harmless
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log figures by name."""
        self.experiment.log({**metrics, "trainer/global_step": step})

    @_harmless
    def log_image(self, key: str, images: list[Any], step: int) -> None:
        """Log pictures under a name."""
        import wandb

        self.experiment.log({key: [wandb.Image(image) for image in images], "trainer/global_step": step})

    @_harmless
    def log_export(self, folder: Path) -> None:
        """Log an exported model as an artifact."""
        self.experiment.log_artifact(str(folder), f"model-{self.version}", type="model")
