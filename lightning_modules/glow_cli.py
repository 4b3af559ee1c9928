"""`glow fit`: LightningCLI with a folder for each run."""

import logging
import os
import re
import shlex
import sys
import tempfile
import warnings
from argparse import ArgumentError
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from jsonargparse import Namespace
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from glow_app.conditioning import AttributeConditioning
from glow_app.data.attributes import table_in
from glow_app.data.sources import attribute_kinds
from glow_app.messages import UsageError, closest, format_warning
from glow_app.nn.class_path import class_path
from glow_app.storage.stored_model import read_run_config
from lightning_modules.callbacks import BestCheckpoint, ExportBest, Progress, Throughput
from lightning_modules.callbacks.outcome import outcome
from lightning_modules.command_line.arguments import configs_first
from lightning_modules.command_line.kinds import KindName, kind_of
from lightning_modules.command_line.resumption import Start, start_of
from lightning_modules.image_data import ImageDataModule
from lightning_modules.runs.checkpoints import LAST, AtomicCheckpointIO
from lightning_modules.runs.loggers import csv_logger
from lightning_modules.runs.run_config import SaveRunConfig, foreign_names
from lightning_modules.runs.run_folder import choose_run_dir, prepare_run_dir, release_run_dir
from lightning_modules.runs.run_trainer import RunTrainer
from lightning_modules.runs.stopping import exit_code_of_signals
from lightning_modules.transfer import copy_levels

# Defaults of all experiments; in the package, so that they are also installed.
BASE_CONFIG = Path(__file__).with_name("base.yaml")

# Warnings of Lightning for developers.
_UNWANTED = (
    "does not have many workers",
    "args parameter is intended",
    "exists and is not empty",
    "LeafSpec",
    "callbacks used to create the checkpoint need to be provided",
    "smaller than the logging interval",
    "could not find the monitored key",
    "broadcast_buffers",
    "sync_dist=True",
    "Using `DistributedSampler`",
)
_MISSING = re.compile(r"class_path '[\w.]*?(\w+)': the following arguments are required: (\w+(?:, \w+)*)")


class GlowCLI(LightningCLI):
    """Builds module, data and trainer, with a folder for each run and this project's callbacks."""

    def __init__(self, start: Start) -> None:
        self.start = start
        arguments = configs_first(start.arguments)
        self.kind = kind_of(arguments)
        super().__init__(
            self.kind.module,
            self.kind.data,
            save_config_callback=SaveRunConfig,
            save_config_kwargs={"save_to_log_dir": False},
            trainer_class=RunTrainer,
            # Before the first step, validate only a model that has been trained before.
            trainer_defaults={"num_sanity_val_steps": 0 if start.source is None else -1},
            seed_everything_default=0,
            parser_kwargs={
                "prog": "glow fit",
                "exit_on_error": False,  # errors are reported in one line
                "allow_abbrev": False,  # new options could make abbreviations ambiguous
                "default_config_files": [str(BASE_CONFIG)],
            },
            args=arguments,
            run=False,
            auto_configure_optimizers=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run's options, and links that copy values shared by data and model."""
        parser.add_argument("--help-all", action="help", help="List all options and exit.")
        parser.add_argument("--name", type=str, default="run", help="Name of the run: first part of its folder.")
        parser.add_argument(
            "--run_dir", type=str | None, default=None, help="Folder of the run (default: runs/NAME/TIME)."
        )
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="Checkpoint to load; set by --resume.")
        kinds = "Kind of the run: images, restoration or points."
        parser.add_argument("--kind", type=KindName, default=self.kind.name, help=kinds)
        for name, callback in self.kind.callbacks.items():
            parser.add_lightning_class_args(callback, name)
        parser.link_arguments("seed_everything", "model.seed")
        parser.link_arguments("seed_everything", "data.seed")
        if self.kind.name != "points":
            parser.link_arguments("model.flow.init_args.image_shape", "data.image_shape")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the arguments; report jsonargparse's own errors in one line."""
        try:
            super().parse_arguments(parser, args)
        except ArgumentError as error:
            message = " ".join(str(error).split())
            if missing := _MISSING.search(message):
                keys = re.findall(r'Parser key "([\w.]+)"', message[: missing.start()])
                options = " ".join(f"--{'.'.join([*keys, name])} VALUE" for name in missing[2].split(", "))
                raise UsageError(f"glow fit: {missing[1]} needs {missing[2]}; add {options}") from error
            _, unknown, words = message.partition("unrecognized arguments: ")
            hint = closest(words.split("=")[0], map("--{}".format, parser.get_defaults().keys())) if unknown else ""
            raise UsageError(f"glow fit: {message[:600]}{hint}") from error

    def before_instantiate_classes(self) -> None:
        """Check and complete the configuration, and prepare the run's folder."""
        config = self.config
        if stored := self.start.config.get("model"):
            chosen = yaml.safe_load(self.parser.dump(config, skip_none=False))["model"]
            for name in ("optimizer", "lr_scheduler"):
                if chosen[name] != stored.get(name):
                    message = f"model.{name} is restored as it was saved; start a new run to change it"
                    warnings.warn(message, stacklevel=2)
        config.run_dir = choose_run_dir(config.name, config.run_dir)
        if config.data.get("attributes") == "auto":
            config.data.attributes = table_in(Path(config.data.root or ".")) is not None
            if not config.data.attributes:
                config.model.contrast = 0.0
        for name in ("root", "attributes"):  # absolute, since other commands may run in other folders
            if isinstance(path := config.data.get(name), str):
                config.data[name] = os.path.abspath(os.path.expanduser(path))
        if config.data.get("attributes") and (self.start.source is None or self.start.by_levels):
            self._condition_on_attributes(config)
        resumed = None if config.ckpt_path is None else Path(config.ckpt_path)
        prepare_run_dir(Path(config.run_dir), resumed, self.start.begin_anew)
        loggers = config.trainer.logger
        for logger in loggers if isinstance(loggers, list) else [loggers]:
            if arguments := getattr(logger, "init_args", None):
                arguments.save_dir = config.run_dir
                if "id" in arguments and resumed is None:
                    arguments.id = token_hex(4)
        config.trainer.default_root_dir = config.run_dir

    def _condition_on_attributes(self, config: Any) -> None:
        """Let a model without a conditioning be given the attributes of the data."""
        flow, data = config.model.flow.init_args, config.data
        if flow.conditioning is None:
            kinds = attribute_kinds(data.source, data.root, data.attributes)
            arguments = Namespace(attributes=kinds, features=32, hidden=64)
            flow.conditioning = Namespace(class_path=class_path(AttributeConditioning), init_args=arguments)

    def instantiate_classes(self) -> None:
        """Build all parts, raising a constructor's own error; load weights; tell the data module what is recorded."""
        try:
            super().instantiate_classes()
        except MisconfigurationException as error:
            raise UsageError(f"glow fit: {error}") from error
        except ValueError as error:
            cause: BaseException = error
            while cause.__cause__ is not None:  # jsonargparse wraps it in errors of all accepted types
                cause = cause.__cause__
            raise cause from error
        if (source := self.start.source) is not None:
            if self.start.by_levels:
                self.num_taken = copy_levels(self.model.model.flow, source.flow)
            else:
                self.model.model.load_state_dict(source.state_dict())
        if isinstance(self.datamodule, ImageDataModule) and self.start.data:
            self.datamodule.recorded = self.start.data

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Build the trainer with this project's callbacks, a CSV log and the configured loggers."""
        config = self.config_init
        options = config.trainer
        live = sys.stdout.isatty() if options.enable_progress_bar is None else options.enable_progress_bar
        plugins = options.plugins or []
        plugins = [AtomicCheckpointIO(), *(plugins if isinstance(plugins, list) else [plugins])]
        kwargs |= {"plugins": plugins, "enable_model_summary": bool(options.enable_model_summary)}
        if options.max_epochs is None and options.max_steps != -1:
            kwargs["max_epochs"] = -1  # RunTrainer hides the other limit
        if SLURMEnvironment.detect():
            # Lightning's own handler would save without the checks of SaveProgress.
            plugins.append(SLURMEnvironment(auto_requeue=False))
        callbacks = [
            *(options.callbacks or []),
            Progress(live),
            LearningRateMonitor("step"),
            Throughput(),
            BestCheckpoint(config.run_dir, self.model.monitor),
            ExportBest(),
        ]  # the base class adds those with options
        loggers = options.logger
        loggers = loggers if isinstance(loggers, list) else [loggers] if isinstance(loggers, Logger) else []
        loggers = [csv_logger(Path(config.run_dir), self.start.first_step), *loggers]
        return super().instantiate_trainer(callbacks=callbacks, logger=loggers, enable_progress_bar=False, **kwargs)

    def run(self) -> None:
        """Train; exit with the code of a signal that stops it."""
        run_dir, ckpt_path = self.config.run_dir, self.config.ckpt_path
        if self.trainer.is_global_zero:
            print(f"writes to   {run_dir}" + (", sample grids to samples/" if "samples" in self.kind.callbacks else ""))
            if self.start.place is not None:
                print(self._origin())
        with exit_code_of_signals(self.trainer, Path(run_dir)):
            self.trainer.fit(self.model, self.datamodule, ckpt_path=ckpt_path)

    def _origin(self) -> str:
        """Return the line that says what a run resumes or begins from."""
        place, source = self.start.place, self.start.source
        if source is None:
            return f"resumes     {place} at step {self.start.first_step:,}"
        if not self.start.by_levels:
            return f"begins from {place}"
        if not self.num_taken:
            return f"begins from scratch: no level of {place} fits this model"
        taken = f"levels 1 to {self.num_taken} of {len(self.model.model.flow.levels)}"
        return f"begins from {place} ({taken})"


def main(arguments: list[str]) -> None:
    """Train with the rest of the command line; raise UsageError if an option is unknown or invalid."""
    with built(arguments) as cli:
        cli.run()
    if cli.trainer.is_global_zero:
        _print_end(cli)


@contextmanager
def built(arguments: list[str]) -> Iterator[GlowCLI]:
    """Build the module, data and trainer of a run; unlock its folder at the end."""
    warnings.formatwarning = format_warning  # Lightning has replaced it
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for phrase in _UNWANTED:
        warnings.filterwarnings("ignore", f".*{phrase}.*")
    # Arithmetic with numbers below 1e-38, as in old moments, can be a hundred times slower.
    torch.set_flush_denormal(True)
    with tempfile.TemporaryDirectory() as scratch:
        start = start_of(arguments, Path(scratch))
        try:
            yield GlowCLI(start)
        except RuntimeError as error:
            if "loading state_dict" not in str(error):
                raise
            raise ValueError(
                f"{start.place} does not match the configuration, for example because another prior or width was "
                f"given: {str(error).splitlines()[1].strip()[:200]}"
            ) from error
        finally:
            torch.set_flush_denormal(False)
            release_run_dir()


def _print_end(cli: GlowCLI) -> None:
    trainer, run_dir, step = cli.trainer, Path(cli.config.run_dir), cli.start.first_step
    if cli.kind.finish is not None:
        cli.kind.finish(run_dir, cli.datamodule)
    if isinstance(cli.datamodule, ImageDataModule) and (line := outcome(trainer, cli.model)):
        print(line)
    if trainer.global_step == step:
        print(
            f"training was already complete at step {step:,}; raise --trainer.max_epochs, "
            "--trainer.max_steps, --trainer.max_time or --early_stopping.patience"
        )
    print(f"run folder: {run_dir}")
    if (run_dir / LAST).exists():
        allowed = [f" --allow-class {name}" for name in foreign_names(read_run_config(run_dir) or {})]
        print(f"next: glow {cli.model.next_command.format(run=shlex.quote(str(run_dir)) + ''.join(allowed))}")
