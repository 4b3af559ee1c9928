"""`glow fit`, `glow validate` and `glow test`: LightningCLI with a folder for each run."""

import os
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
from pytorch_lightning.callbacks import Callback, LearningRateMonitor, RichProgressBar
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from glow_app.messages import UsageError, closest
from glow_app.models.image_model import ImageModel
from lightning_modules.callbacks import (
    BestCheckpoint,
    ExportBest,
    InitializeActNorm,
    Progress,
    Throughput,
)
from lightning_modules.command_line.arguments import (
    configs_first,
    refuse_trainer_options,
    require_total_steps,
)
from lightning_modules.command_line.kinds import KindName, kind_of
from lightning_modules.command_line.quiet import quiet
from lightning_modules.command_line.resumption import WHOLE, Start, start_of
from lightning_modules.data import ImageDataModule
from lightning_modules.runs.checkpoint_io import AtomicCheckpointIO
from lightning_modules.runs.loggers import csv_logger
from lightning_modules.runs.recovery import LAST
from lightning_modules.runs.run_config import SaveRunConfig
from lightning_modules.runs.run_folder import SHARED, choose_run_dir, prepare_run_dir, release_run_dir
from lightning_modules.runs.stopping import ends_as_asked

# Defaults of all experiments; in the package, so that they are also installed.
BASE_CONFIG = Path(__file__).with_name("base.yaml")


class GlowCLI(LightningCLI):
    """LightningCLI with a folder for each run and this project's callbacks."""

    def __init__(self, asked: str, start: Start, runs: bool = True) -> None:
        self.asked, args = asked, [asked, *configs_first(start.arguments)]
        self.runs = runs
        self.kind = kind_of(args)
        self.start = start
        # Errors are raised, and reported in one line. No abbreviations, which new options could make ambiguous.
        strict = {"exit_on_error": False, "allow_abbrev": False}
        defaults = {"default_config_files": [str(BASE_CONFIG)]} if self.asked == "fit" else {}
        super().__init__(
            self.kind.module,
            self.kind.data,
            save_config_callback=SaveRunConfig,
            save_config_kwargs={"save_to_log_dir": False},
            # No validation before the first step: the actnorms are not initialised yet.
            trainer_defaults={"num_sanity_val_steps": 0},
            seed_everything_default=0,
            auto_configure_optimizers=False,
            parser_kwargs={**strict, "prog": "glow", self.asked: {**strict, **defaults}},
            args=args,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # a static method in the base class
        """Return the requested command, with those arguments of the trainer's method that are not options."""
        data = {"train_dataloaders", "val_dataloaders"} if self.asked == "fit" else {"dataloaders"}
        return {self.asked: {"model", "datamodule", "weights_only", *data}}

    def setup_parser(self, *args: Any, **kwargs: Any) -> None:
        """Set up the parser; disable Lightning's table of results, which the report replaces."""
        super().setup_parser(*args, **kwargs)
        if self.asked != "fit":
            self._subcommand_parsers[self.asked].set_defaults(verbose=False)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run's options, and links that copy values shared by data and model."""
        parser.add_argument("--help-all", action="help", help="List all options and exit.")
        parser.add_argument("--name", type=str, default="run", help="Name of the run: first part of its folder.")
        parser.add_argument(
            "--run_dir", type=str | None, default=None, help="Folder of the run (default: runs/NAME/TIME)."
        )
        parser.add_argument("--kind", type=KindName, default=self.kind.name, help="Kind of the data: images or points.")
        for name, callback in self.kind.callbacks.items():
            parser.add_lightning_class_args(callback, name)
        parser.link_arguments("seed_everything", "model.seed")
        parser.link_arguments("seed_everything", "data.seed")
        if self.kind.name == "images":
            parser.link_arguments("model.flow.init_args.image_shape", "data.image_shape")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the arguments; report jsonargparse's own errors in one line."""
        try:
            super().parse_arguments(parser, args)
        except ArgumentError as error:
            message = " ".join(str(error).split())
            _, unknown, words = message.partition("unrecognized arguments: ")
            options = self._subcommand_parsers[self.asked]._option_string_actions
            hint = closest(words.split("=")[0], options) if unknown else ""
            raise UsageError(f"glow {self.asked}: {message[:600]}{hint}") from error
        if (asked := self.config[self.config.subcommand].kind) != self.kind.name:
            raise UsageError(f"glow {self.asked}: give the kind as --kind {asked}, or in a configuration file")

    def before_instantiate_classes(self) -> None:
        """Check and complete the configuration, and prepare the run's folder."""
        config = self.config[self.subcommand]
        if self.subcommand == "fit":
            if config.name in ("", ".", "..") or not {"/", "\0"}.isdisjoint(config.name):
                raise UsageError(f"glow {self.asked}: --name is {config.name!r}; expected a plain name, without /")
            require_total_steps(config.model.lr_scheduler.class_path)
            refuse_trainer_options(config.trainer, self.start.arguments)
            self._warn_of_ignored_options(config)
            config.run_dir = choose_run_dir(config.name, config.run_dir)
            if (root := config.data.get("root")) is not None:  # absolute, since other commands may run in other folders
                config.data.root = os.path.abspath(os.path.expanduser(root))
            resumed = None if config.ckpt_path is None else Path(config.ckpt_path)
            prepare_run_dir(Path(config.run_dir), resumed, self.start.begin_anew)
            loggers = config.trainer.logger
            for logger in loggers if isinstance(loggers, list) else [loggers]:
                if arguments := getattr(logger, "init_args", None):
                    arguments.save_dir = config.run_dir
                    if "id" in arguments and resumed is None:
                        arguments.id = token_hex(4)
        config.trainer.default_root_dir = config.run_dir
        every, epochs = config.trainer.check_val_every_n_epoch, config.trainer.max_epochs
        if every is not None and epochs is not None and 0 < epochs < every:
            # Otherwise a short trial run of a long configuration would never be validated.
            config.trainer.check_val_every_n_epoch = epochs

    def _warn_of_ignored_options(self, config: Any) -> None:
        """Warn of options of the optimiser and schedule that the checkpoint's state overrides."""
        stored = self.start.config.get("model")
        if not stored:
            return
        asked = yaml.safe_load(self._subcommand_parsers["fit"].dump(config, skip_none=False))["model"]
        for name in ("optimizer", "lr_scheduler"):
            if asked[name] != stored.get(name):
                warnings.warn(f"model.{name} is restored as it was saved; begin a new run to change it", stacklevel=2)

    def instantiate_classes(self) -> None:
        """Build all parts, raising a constructor's own error; load weights; compare the data with the training's."""
        try:
            super().instantiate_classes()
        except MisconfigurationException as error:
            raise UsageError(f"glow {self.asked}: {error}") from error
        except ValueError as error:
            raise _first_cause(error) from error
        if self.start.weights is not None:
            try:
                self.model.model.load_state_dict(self.start.weights)
            except RuntimeError as error:
                raise self.start.mismatch(error) from error
        if not isinstance(self.datamodule, ImageDataModule):
            return
        if self.subcommand != "fit":
            limit = self.datamodule.hparams["limit"] if "data.limit" in self.start.given else None
            self.datamodule.compare(self.start.data, limit)
        elif self.start.data:
            self.datamodule.continue_from(self.start.data)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Build the trainer; for "fit", with a CSV log and the configured loggers."""
        config = self.config_init[self.subcommand]
        live = sys.stdout.isatty() if (asked := config.trainer.enable_progress_bar) is None else asked
        kwargs.setdefault("enable_model_summary", bool(config.trainer.enable_model_summary))
        callbacks = list(config.trainer.callbacks or [])
        if self.subcommand != "fit":
            callbacks += [RichProgressBar()] if live else []
            kwargs |= {"callbacks": callbacks, "enable_progress_bar": live}
            kwargs |= {"logger": False, "enable_checkpointing": False}
            kwargs |= {"plugins": [AtomicCheckpointIO()], **WHOLE}
            return pl.Trainer(**{**config.trainer, **kwargs})
        os.makedirs(config.run_dir, exist_ok=True)
        loggers = config.trainer.logger
        loggers = loggers if isinstance(loggers, list) else [loggers] if isinstance(loggers, Logger) else []
        plugins = config.trainer.plugins or []
        plugins = plugins if isinstance(plugins, list) else [plugins]
        if SLURMEnvironment.detect():
            # Lightning's own handler would save without the checks of SaveProgress.
            plugins.append(SLURMEnvironment(auto_requeue=False))
        kwargs |= {
            "callbacks": [*callbacks, *self._fit_callbacks(config, live)],
            "plugins": [AtomicCheckpointIO(), *plugins],
            "logger": [csv_logger(Path(config.run_dir), self.start.first_step), *loggers],
            "enable_progress_bar": False,  # instead of Lightning's, there is Progress
        }
        trainer = self._instantiate_trainer({**config.trainer, **kwargs}, [])
        # With max_steps, Lightning would count an epoch again that a resumed run has already finished.
        trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]
        return trainer

    def _fit_callbacks(self, config: Any, live: bool) -> list[Callback]:
        return [
            Progress(live),
            InitializeActNorm(),
            LearningRateMonitor("step"),
            Throughput(),
            BestCheckpoint(config.run_dir, self.model.monitor),
            ExportBest(),
            *(callback() for callback in self.kind.more_callbacks),
            *(config[name] for name in self.kind.callbacks),
        ]

    def _run_subcommand(self, subcommand: str) -> None:
        if not self.runs:
            return
        run_dir = self.config[subcommand].run_dir
        if subcommand == "fit" and self.trainer.is_global_zero:
            print(f"writes to   {run_dir}" + (", sample grids to samples/" if "samples" in self.kind.callbacks else ""))
            if self.start.checkpoint is not None:
                print(self.start.description)
        with ends_as_asked(self.trainer, None if run_dir is None else Path(run_dir)), _flushed_denormals():
            super()._run_subcommand(subcommand)

    def _parse_ckpt_path(self) -> None:
        """Do nothing: the run's configuration is passed as a config file, with links and overrides."""


def main(command: str, arguments: list[str]) -> None:
    """Run a command.

    Args:
        command: "fit", "validate" or "test".
        arguments: The rest of the command line. ``--checkpoint`` (``--resume`` for fit) takes the configuration of
            the checkpoint's run; other options override it. ``--resume auto`` continues from a good checkpoint of
            ``--run_dir``, or begins the run if there is none. ``--init-from`` takes architecture and weights from
            another model.
    Raises:
        UsageError: If an option is unknown or invalid.
    """
    quiet()
    with tempfile.TemporaryDirectory() as scratch:
        start, failed = start_of(command, arguments, Path(scratch)), True
        try:
            cli = GlowCLI(command, start)
            failed = False
        except RuntimeError as error:
            if "loading state_dict" not in str(error):
                raise
            raise start.mismatch(error) from error
        finally:
            # Otherwise a later run in this process would use the same folder.
            if run_dir := os.environ.pop(SHARED, None):
                release_run_dir(Path(run_dir), failed)
    if not cli.trainer.is_global_zero:
        return
    if command == "fit":
        _print_end(cli, start.first_step)
    else:
        stage = "val" if command == "validate" else "test"
        figures = {name: float(cli.trainer.callback_metrics[f"{stage}/{name}"]) for name in cli.model.figures}
        cli.kind.report(cli.model, cli.datamodule, "validation" if command == "validate" else "test", figures)


def built(arguments: list[str]) -> GlowCLI:
    """Return the module, data and trainer of ``glow fit`` with these options, without running it."""
    quiet()
    with tempfile.TemporaryDirectory() as scratch:
        start, run_dir = start_of("fit", arguments, Path(scratch)), Path(scratch) / "run"
        cli = GlowCLI("fit", start._replace(arguments=[*start.arguments, f"--run_dir={run_dir}"]), runs=False)
        release_run_dir(run_dir)
        del os.environ[SHARED]
    return cli


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    """Flush numbers below 1e-38 to zero: arithmetic with them, as in old moments, can be a hundred times slower.

    The mode of this thread is restored afterwards, since other code may rely on exact IEEE 754 arithmetic.
    """
    flushed_before = sys.float_info.min / 2 == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed_before)


def _first_cause(error: BaseException) -> BaseException:
    """Return the original error, which jsonargparse wraps in errors of all accepted types."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _print_end(cli: GlowCLI, first_step: int) -> None:
    trainer, run_dir = cli.trainer, Path(cli.config.fit.run_dir)
    if cli.kind.finish is not None:
        cli.kind.finish(run_dir, cli.datamodule)
    if trainer.global_step == first_step:
        print(f"nothing was left to train at step {first_step:,}; raise --trainer.max_epochs, max_steps or max_time")
    print(f"run folder: {run_dir}")
    if (run_dir / LAST).exists():
        print(f"next: glow {_next_command(cli, shlex.quote(str(run_dir)))}")


def _next_command(cli: GlowCLI, run: str) -> str:
    """Return the command to suggest after a run, which may end in a note."""
    model = cli.model.model
    if not isinstance(model, ImageModel):
        return f"test --checkpoint {run}"
    if model.task is None:
        return f"sample --checkpoint {run}"
    if not model.trains_flow:
        return f"fit --resume {run} --trainer.max_steps STEPS (its flow is not trained yet)"
    command = f"restore PICTURE --checkpoint {run}"
    if model.flow.any_size:
        return command
    height, width = (side // model.task.factor for side in model.flow.image_shape[1:])
    return f"{command} (pictures of {width}x{height}; models with a Gaussian prior take any size)"
