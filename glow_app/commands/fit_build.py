"""The parts of a run, built from its configuration: module, data module and trainer."""

import sys
from pathlib import Path
from pydoc import locate
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from pytorch_lightning import LightningDataModule, seed_everything
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from glow_app.commands.fit_start import Start
from glow_app.flows import MultiscaleFlow
from glow_app.messages import UsageError
from glow_app.spec import build as build_part
from glow_app.spec import name_of
from lightning_modules.callbacks import BestCheckpoint, ExportBest, Progress, Report, Throughput
from lightning_modules.image_module import ImageModule
from lightning_modules.kinds import KINDS
from lightning_modules.runs.checkpoints import AtomicCheckpointIO
from lightning_modules.runs.loggers import csv_logger
from lightning_modules.runs.run_folder import launched_processes
from lightning_modules.runs.run_trainer import RunTrainer

Parts = tuple[ImageModule, LightningDataModule, RunTrainer]


def build(parser: ArgumentParser, config: Namespace, start: Start) -> Parts:
    """Return module, data module and trainer of a run.

    Raises:
        UsageError: If options of the trainer contradict each other.
        ValueError: If an argument of another part is invalid, or a logger's package is missing.
    """
    seed_everything(config.seed_everything, workers=True)
    try:
        built = config.clone()
        built.model.flow = build_part(_specification(config.model.flow), MultiscaleFlow, "model.flow")
        parts = parser.instantiate(built)
        if start.data:
            parts.data.recorded = start.data
        return parts.model, parts.data, _trainer(parts, start)
    except MisconfigurationException as error:
        raise UsageError(f"glow fit: {error}") from error
    except ValueError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:  # jsonargparse wraps it in errors of all accepted types
            cause = cause.__cause__
        if isinstance(cause, ModuleNotFoundError) and "tensorboard" in str(cause):
            cause = ValueError("TensorBoardLogger needs tensorboard; run: pip install 'glow-app[tensorboard]'")
        raise cause from error


def _specification(value: Any) -> Any:
    """Return the specification of a part that options name by the path of its class."""
    if not isinstance(value, Namespace) or "class_path" not in value:
        return value.as_dict() if isinstance(value, Namespace) else value
    arguments = {name: _specification(given) for name, given in vars(value.get("init_args", Namespace())).items()}
    return {"type": name_of(locate(value.class_path)), **arguments}


def _trainer(parts: Namespace, start: Start) -> RunTrainer:
    """Return the trainer, with this project's callbacks, a CSV log and the configured loggers."""
    options, kind = parts.trainer, KINDS[parts.kind]
    live = sys.stdout.isatty() if options.enable_progress_bar is None else options.enable_progress_bar
    plugins = [AtomicCheckpointIO(start.contents), *_as_list(options.plugins)]
    if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
        # Lightning's own handler would save without the checks of SaveProgress.
        plugins.append(SLURMEnvironment(auto_requeue=False))
    callbacks = [
        *_as_list(options.callbacks),
        Progress(live),
        LearningRateMonitor("step"),
        Throughput(),
        BestCheckpoint(parts.run_dir, parts.model.monitor),
        ExportBest(),
        *(parts[name] for name in kind.callbacks),
        Report(),
    ]
    loggers = [logger for logger in _as_list(options.logger) if isinstance(logger, Logger)]
    arguments: dict[str, Any] = {
        "plugins": plugins,
        "callbacks": callbacks,
        "logger": [csv_logger(Path(parts.run_dir), start.step), *loggers],
        "default_root_dir": parts.run_dir,
        "enable_progress_bar": False,
        "enable_model_summary": bool(options.enable_model_summary),
    }
    if options.max_epochs is None and options.max_steps != -1:
        arguments["max_epochs"] = -1  # RunTrainer hides the other limit
    return RunTrainer(**{**options, **arguments, **launched_as(options.strategy)})


def launched_as(strategy: Any) -> dict[str, Any]:
    """Return the trainer's arguments for which the processes of a launcher are the run; none without a launcher.

    Raises:
        UsageError: If the strategy is for other processes.
    """
    machines, on_each = launched_processes()
    if machines * on_each == 1:
        return {}
    name = strategy if isinstance(strategy, str) else type(strategy).__name__
    if name == "auto":  # as in configs/trainer/ddp.yaml
        strategy = DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True)
    elif not (isinstance(strategy, DDPStrategy) or (name.startswith("ddp") and "spawn" not in name)):
        raise UsageError(
            f"glow fit: trainer.strategy is {name}, but torchrun or SLURM started {machines * on_each} processes; "
            "leave it out, or use --config trainer/ddp"
        )
    return {"strategy": strategy, "num_nodes": machines, "devices": on_each}


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
