"""Loggers beside the CSV file: TensorBoard and Weights & Biases, with their files in the run's folder."""

import netrc
import os
import re
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import chdir
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import urlparse

import numpy as np
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only, rank_zero_warn

from glow_app import __version__


class RunLogger(ABC):
    """A logger of pictures and, where the service stores them, configurations and models."""

    @abstractmethod
    def belong_to(self, run_dir: Path) -> None:
        """Write into a run's folder, or continue the log there."""

    @abstractmethod
    def log_picture(self, name: str, picture: Image.Image, step: int) -> None:
        """Log a picture."""

    def log_config(self, config: dict[str, Any]) -> None:  # noqa: B027
        """Log the configuration of the run; does nothing by default."""

    def log_model(self, folder: Path) -> None:  # noqa: B027
        """Log an exported model; does nothing by default."""


class RunTensorBoardLogger(RunLogger, TensorBoardLogger):
    """TensorBoard, with files in the run's ``tensorboard/``."""

    def __init__(self) -> None:
        if find_spec("tensorboard") is None:
            raise ValueError("logging to TensorBoard needs tensorboard; run: pip install 'glow-app[tensorboard]'")
        super().__init__(".", name="", version="")

    def belong_to(self, run_dir: Path) -> None:
        """Write into ``tensorboard/``."""
        self._root_dir = str(run_dir / "tensorboard")

    @rank_zero_only
    def log_picture(self, name: str, picture: Image.Image, step: int) -> None:
        """Log a picture."""
        self.experiment.add_image(name, np.asarray(picture.convert("RGB")), step, dataformats="HWC")


class RunWandbLogger(RunLogger, WandbLogger):
    """Weights & Biases: a single W&B run across all resumes, whose failures never stop the training.

    Files are in the run's ``wandb/``, the id of the W&B run in ``wandb_id``. If the server does not answer in time at
    the start, the run is logged offline. Later failures are ignored after a single warning.

    Args:
        project: Project of the W&B run.
        offline: Write files for ``wandb sync`` instead of uploading. If None, only without a key, which
            ``WANDB_API_KEY`` or ``wandb login`` provides.
        timeout: Time limit, in seconds, for the server's first answer and for the upload at the end.
        options: Further arguments of ``wandb.init``, such as ``entity``, ``name`` or ``tags``.
    """

    def __init__(
        self,
        project: str = "glow-app",
        offline: bool | None = None,
        timeout: float = 60,
        options: dict[str, Any] | None = None,
    ) -> None:
        import wandb

        settings = wandb.Settings(init_timeout=timeout, finish_timeout=timeout, finish_timeout_raises=False)
        offline = not _has_key() if offline is None else offline
        super().__init__(project=project, offline=offline, settings=settings, **options or {})
        del self._wandb_init["anonymous"]  # deprecated; wandb warns
        self._warned = False

    def belong_to(self, run_dir: Path) -> None:
        """Reuse the id in ``wandb_id``, or create one; write into ``wandb/``."""
        if getattr(rank_zero_only, "rank", 0):
            return  # only the first process logs
        file = run_dir / "wandb_id"
        run_id = file.read_text().strip() if file.exists() else ""
        if not re.fullmatch("[0-9a-z]{1,64}", run_id):  # the folder may be someone else's
            file.write_text(run_id := token_hex(4))
        self._id = self._wandb_init["id"] = run_id
        self._save_dir = self._wandb_init["dir"] = str(run_dir)

    @property
    def experiment(self) -> Any:
        """The W&B run; started on first use, offline if the server does not answer."""
        try:
            return self._experiment or self._begin()
        except Exception as error:  # a network client may raise many errors
            if self._offline:
                raise
            reason = str(error).splitlines()[0][:200]
            rank_zero_warn(f"Weights & Biases does not answer ({reason}); this run is logged offline: wandb sync later")
            import wandb

            wandb.teardown()  # or its service would refuse to start the same run again
            self._offline = True
            return self._begin()

    def _begin(self) -> Any:
        if getattr(rank_zero_only, "rank", 0) == 0:
            _read_settings()
            if self._offline:  # Lightning sets an environment variable, too late for wandb to read
                self._wandb_init["mode"] = "offline"
        return super().experiment

    @rank_zero_only
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Log metrics."""
        self._try(lambda: super(RunWandbLogger, self).log_metrics(metrics, step))

    def log_hyperparams(self, params: Any) -> None:
        """Do nothing: :meth:`log_config` logs the whole configuration."""

    @rank_zero_only
    def log_config(self, config: dict[str, Any]) -> None:
        """Log the configuration, the version and the commit."""
        facts = {**config, "glow_app_version": __version__, "git_commit": _commit()}
        self._try(lambda: self.experiment.config.update(facts, allow_val_change=True))

    @rank_zero_only
    def log_picture(self, name: str, picture: Image.Image, step: int) -> None:
        """Log a picture."""
        self._try(lambda: self.log_image(name, [picture]))

    @rank_zero_only
    def log_model(self, folder: Path) -> None:
        """Log an exported model as an artifact."""
        import wandb

        def log() -> None:
            artifact = wandb.Artifact(f"model-{self._id}", type="model")
            artifact.add_dir(str(folder))
            self.experiment.log_artifact(artifact)

        self._try(log)

    def _try(self, log: Callable[[], Any]) -> None:
        try:
            log()
        except Exception as error:
            if not self._warned:
                rank_zero_warn(f"not logged to Weights & Biases: {type(error).__name__}: {error}; training goes on")
            self._warned = True


def _read_settings() -> None:
    """Let wandb read its settings, but not those in the current folder.

    In a downloaded folder of images, ``wandb/settings`` could send the key to another server, and write or upload any
    file.
    """
    import wandb

    for file in (Path("wandb/settings"), Path(".wandb/settings")):
        if file.exists():
            rank_zero_warn(
                f"{file} is not read, since it could write files and send your key anywhere; set variables "
                "such as WANDB_ENTITY or WANDB_BASE_URL instead"
            )
    with chdir(Path.cwd().anchor):
        wandb.setup()


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _commit() -> str | None:
    """Return the commit of the code if it runs from its own repository.

    A repository around an installed package may be anyone's, and git runs programs that a repository's configuration
    names.
    """
    repository = Path(__file__).parents[2]
    if not (repository / ".git").exists() or not (repository / "pyproject.toml").exists():
        return None
    command = ["git", "-c", "core.fsmonitor=false", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
