"""A run of training, from its specification to the trained model; read it from top to bottom.

A specification has the arguments of :class:`~lightning_modules.image_module.ImageModule`, or of
:class:`~lightning_modules.restoration.RestorationModule` if the flow is given damaged pictures, a section for each of
:data:`SECTIONS`, and ``name``, ``run_dir``, ``seed``, ``init_from``, ``init_levels_from``, ``expected`` and ``logger``.
"""

import shlex
import sys
import warnings
from dataclasses import dataclass
from inspect import isclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, LearningRateMonitor
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch.optim.lr_scheduler import OneCycleLR

from glow_app.evaluation.report import REPORT
from glow_app.flows import MultiscaleFlow
from glow_app.messages import UsageError, closest
from glow_app.pipeline import FEW_ORDINARY
from glow_app.restoration import PictureConditioning
from glow_app.spec import IMPORTED, REGISTRY, build, checked, described, parameters_of
from glow_app.storage.checkpoint import CHECKPOINT_KEY
from glow_app.storage.run_config import write_run_config
from lightning_modules import callbacks as own
from lightning_modules.callbacks.outcome import outcome
from lightning_modules.image_data import ImageDataModule
from lightning_modules.image_module import ImageModule
from lightning_modules.optimizers import Muon
from lightning_modules.restoration import RestorationGrids, RestorationModule
from lightning_modules.runs.checkpoints import LAST, AtomicCheckpointIO, require_same_model
from lightning_modules.runs.length import Length, measure_step
from lightning_modules.runs.loggers import RunWandbLogger, csv_logger
from lightning_modules.runs.run_folder import Launch, launched_processes, locked_run_dir
from lightning_modules.runs.run_trainer import RunTrainer
from lightning_modules.runs.start import Start
from lightning_modules.runs.state import RunState
from lightning_modules.runs.stopping import exit_code_of_signals
from lightning_modules.schedules import LinearWarmupCosine

Spec = dict[str, Any]

# Parts of a run by other people, or with a base of theirs.
REGISTRY.update((name.lower(), each) for name in torch.optim.__all__ if isclass(each := getattr(torch.optim, name)))
REGISTRY |= {"muon": Muon, "cosine": LinearWarmupCosine, "one_cycle": OneCycleLR}
REGISTRY |= {"wandb": RunWandbLogger, "tensorboard": TensorBoardLogger}

# The grids come before the averaging, which restores the current weights when validation ends.
CALLBACKS: dict[str, type[Callback]] = {
    "guard": own.NonFiniteGuard,
    "saving": own.SaveProgress,
    "samples": own.SampleGrids,
    "ema": own.EMA,
    "early_stopping": own.StopEarly,
}
SECTIONS: dict[str, type] = {"data": ImageDataModule, "trainer": pl.Trainer, **CALLBACKS}
_OF_RUN = ("name", "run_dir", "seed", "init_from", "init_levels_from", "expected", "logger")


@dataclass(frozen=True)
class Parts:
    """The parts of a run, and its whole specification, with all defaults but those of Lightning's trainer."""

    module: ImageModule
    data: ImageDataModule
    trainer: RunTrainer
    spec: Spec


def run(spec: Spec, start: Start, launch: Launch, length: Length | None = None) -> str:
    """Train, and return the run's folder.

    Args:
        spec: What to train, on what, and how.
        start: The checkpoint or the model from which the run starts.
        launch: The processes of the run.
        length: Its length, if time decides it.
    Raises:
        UsageError: If an option is unknown, invalid, or contradicts others.
    """
    run_dir = Path(spec["run_dir"])
    if launch.run_dir is not None:  # another process has the lock, and has written the specification
        _train(build_parts(spec, start), run_dir, start)
        return str(run_dir)
    with locked_run_dir(run_dir, start.checkpoint, launch.begins_anew):
        parts = build_parts(spec, start)
        if spec["data"].get("source") == "folder" and start.checkpoint is None:
            _print_pictures(parts.module, parts.data)
        if length is not None:
            measured = measure_step(parts.module, parts.data, parts.trainer)
            options, description = length.options(spec["trainer"].get("max_steps", -1), measured)
            parts.trainer.limit(options)
            parts.spec["trainer"] |= options
            print(f"time        {description} (options: --minutes, --epochs)", flush=True)
        if start.contents:  # before the specification of the run is replaced
            require_same_model(start.contents[CHECKPOINT_KEY]["model"], parts.module.model.config)
        for name in ("optimizer", "lr_scheduler") if start.spec else ():
            if parts.spec[name] != start.spec.get(name):
                warnings.warn(f"{name} is restored as it was saved; start a new run to change it", stacklevel=2)
        write_run_config(run_dir, parts.spec)
        launch.share(str(run_dir))
        _train(parts, run_dir, start)
    return str(run_dir)


def build_parts(spec: Spec, start: Start) -> Parts:
    """Return module, data module and trainer of a run; raise UsageError if an option is unknown or invalid."""
    pl.seed_everything(spec["seed"], workers=True)
    try:
        return _built(spec, start)
    except (ValueError, MisconfigurationException) as error:
        raise UsageError(f"glow fit: {error}") from error


def _built(spec: Spec, start: Start) -> Parts:
    flow, seed = build(spec.get("flow", {}), MultiscaleFlow, "flow"), spec["seed"]
    kind: Any = ImageModule
    callbacks = CALLBACKS
    if isinstance(flow.conditioning, PictureConditioning):
        kind, callbacks = RestorationModule, CALLBACKS | {"samples": RestorationGrids}
        del callbacks["early_stopping"]  # the first figures are of the encoder, not of the flow
    known = [*parameters_of(kind), *callbacks, "data", "trainer", *_OF_RUN]
    for name in spec:
        if name not in known:
            raise ValueError(f"there is no option {name}{closest(name, known)}")
    options = {name: spec[name] for name in parameters_of(kind) if name in spec and name not in ("flow", "seed")}
    arguments = {"flow": flow, **checked(kind, options)}
    module = kind(**arguments, seed=seed)
    of_data = {"image_shape": flow.image_shape, "seed": seed}
    data = ImageDataModule(**checked(ImageDataModule, spec["data"], "data", of_data), **of_data)
    if start.data:
        data.recorded = start.data
    of_callbacks = {name: checked(part, spec.get(name, {}), name) for name, part in callbacks.items()}
    trainer = _trainer(spec, start, module, [callbacks[name](**of_callbacks[name]) for name in callbacks])
    whole = {name: spec[name] for name in _OF_RUN if name in spec and name != "expected"}
    whole |= described(kind, arguments, ["seed"])
    whole |= {"data": described(ImageDataModule, data.hparams, of_data), "trainer": dict(spec["trainer"])}
    whole |= {name: described(part, of_callbacks[name]) for name, part in callbacks.items()}
    return Parts(module, data, trainer, whole)


def _trainer(spec: Spec, start: Start, module: ImageModule, callbacks: list[Callback]) -> RunTrainer:
    """Return the trainer, with this project's callbacks, a CSV log and the loggers of the specification."""
    run_dir, passed = spec["run_dir"], ("logger", "callbacks", "plugins", "default_root_dir")
    options = checked(pl.Trainer, spec["trainer"], "trainer", passed)
    if options.get("strategy") == "ddp":  # buffers do not change in training steps
        options["strategy"] = DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True)
    live = options.get("enable_progress_bar")
    plugins: list[Any] = [AtomicCheckpointIO(start.contents)]
    if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
        # Lightning's own handler would save without the checks of SaveProgress.
        plugins.append(SLURMEnvironment(auto_requeue=False))
    given = spec.get("logger") or []
    try:
        loggers = [
            build({**({"type": each} if isinstance(each, str) else each), "save_dir": run_dir}, Logger, "logger")
            for each in (given if isinstance(given, list) else [given])
        ]
    except ModuleNotFoundError as error:
        raise ValueError("the logger needs tensorboard; run: pip install 'glow-app[tensorboard]'") from error
    if "max_epochs" not in options and options.get("max_steps", -1) != -1:
        options["max_epochs"] = -1  # RunTrainer hides the other limit
    options |= {"enable_progress_bar": False, "enable_model_summary": bool(options.get("enable_model_summary"))}
    max_time = options.pop("max_time", None)
    trainer = RunTrainer(
        **options | launched_as(options.get("strategy", "auto")),
        plugins=plugins,
        logger=[csv_logger(Path(run_dir), start.step), *loggers],
        default_root_dir=run_dir,
        callbacks=[
            own.Progress(sys.stdout.isatty() if live is None else live),
            LearningRateMonitor("step"),
            own.Throughput(),
            own.BestCheckpoint(run_dir, module.monitor),
            own.ExportBest(),
            *callbacks,
            own.Report(),
        ],
    )
    if max_time is not None:
        trainer.limit({"max_time": max_time})
    return trainer


def launched_as(strategy: Any) -> dict[str, Any]:
    """Return the trainer's arguments for which the processes of a launcher are the run; none without a launcher.

    Raises:
        ValueError: If the strategy is for other processes.
    """
    machines, on_each = launched_processes()
    if machines * on_each == 1:
        return {}
    name = strategy if isinstance(strategy, str) else type(strategy).__name__
    if name == "auto":
        strategy = DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True)
    elif not (isinstance(strategy, DDPStrategy) or (name.startswith("ddp") and "spawn" not in name)):
        raise ValueError(
            f"trainer.strategy is {name}, but torchrun or SLURM started {machines * on_each} processes; "
            "leave it out, or use --config trainer/ddp"
        )
    return {"strategy": strategy, "num_nodes": machines, "devices": on_each}


def _print_pictures(module: ImageModule, data: ImageDataModule) -> None:
    """Print the numbers of readable pictures of each split; of those to train on by class, if the model has classes."""
    train, num_held_out = data.examples("train"), len(data.examples("validation"))
    tested = f", {len(data.examples('test')):,} for testing" if data.hparams["test_fraction"] else ""
    names = train.class_names if module.model.vocabulary.values else ()
    counts = torch.bincount(torch.as_tensor(train.labels), minlength=len(names)).tolist() if names else []
    classes = [f"{name} {count:,}" for name, count in zip(names, counts, strict=True)]
    listed = f" ({', '.join(classes[:5] + ['...'] * (len(classes) > 5))})" if classes else ""
    few = ", so few that figures are uncertain" if num_held_out < FEW_ORDINARY else ""
    print(f"pictures    {len(train):,} to train on{listed}, {num_held_out:,} for validation{tested}{few}", flush=True)


def _train(parts: Parts, run_dir: Path, start: Start) -> None:
    """Train; exit with the code of a signal that stops it. The first process says what it does and what to do next."""
    module, trainer = parts.module, parts.trainer
    origin = start.give_weights(module.model)
    if trainer.is_global_zero:
        print(f"writes to   {run_dir}, sample grids to samples/")
        if origin:
            print(origin, flush=True)
        for logger in trainer.loggers:
            if isinstance(logger, RunWandbLogger):
                logger.log_hyperparams(parts.spec)
    with exit_code_of_signals(trainer, run_dir):
        trainer.fit(module, parts.data, ckpt_path=start.checkpoint)
    if not trainer.is_global_zero:
        return
    if line := outcome(trainer, module):
        print(line)
    if trainer.global_step == start.step:
        limit = RunState.of(trainer).reached_limit(trainer)
        print(f"training was already complete at step {start.step:,}; raise --{limit}")
    if (run_dir / REPORT).exists():
        print(f"report:     {run_dir / REPORT}")
    print(f"run folder: {run_dir}")
    if (run_dir / LAST).exists():
        allowed = [f" --import {name}" for name in IMPORTED]
        print(f"next: glow {module.next_command.format(run=shlex.quote(str(run_dir)) + ''.join(allowed))}")
