"""`glow fit`, `glow validate` and `glow test`: LightningCLI with a folder for each run."""

import os
import shlex
import signal
import sys
import tempfile
import warnings
from argparse import ArgumentError
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import yaml
from pytorch_lightning.callbacks import LearningRateMonitor, RichProgressBar
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.environments import SLURMEnvironment

from glow_app.messages import UsageError
from glow_app.storage.checkpoint import density_of, read_checkpoint
from glow_app.storage.model_config import UnknownClassError
from glow_app.storage.stored_model import find_checkpoint
from lightning_modules.arguments import (
    configs_first,
    given_options,
    innermost,
    option_value,
    require_total_steps,
    suggestion,
    take_option,
)
from lightning_modules.callbacks import (
    BestCheckpoint,
    ExportBest,
    InitializeActNorm,
    LiveProgress,
    PlainProgress,
    Throughput,
)
from lightning_modules.callbacks.status import nothing_left
from lightning_modules.denormals import flushed_denormals
from lightning_modules.help import HELP
from lightning_modules.kinds import KindName, kind_of, other_kind
from lightning_modules.processes import end_others, ends_together
from lightning_modules.quiet import quiet
from lightning_modules.runs.checkpoint_io import AtomicCheckpointIO
from lightning_modules.runs.csv_logger import AppendingCSVLogger
from lightning_modules.runs.launchers import launched_world
from lightning_modules.runs.recovery import LAST, PREVIOUS, good_checkpoint, read_whole
from lightning_modules.runs.run_config import SaveRunConfig
from lightning_modules.runs.run_folder import SHARED, choose_run_dir, prepare_run_dir, release_run_dir
from lightning_modules.runs.run_loggers import RunLogger
from lightning_modules.runs.signals import RunStopped, requeue
from lightning_modules.stored_config import parsed_config, safe_config, trusted_places

__all__ = ["GlowCLI", "main"]

TRUST = "--trust-data"
# Options that name a part of the model by its class.
PARTS = ("model.flow.prior", "model.flow.conditioner", "model.prior")

# What every experiment shares. In the package, so that an installation without the repository trains alike.
BASE_CONFIG = Path(__file__).with_name("base.yaml")


class GlowCLI(LightningCLI):
    """LightningCLI that gives each run its own folder and the callbacks of this project."""

    def __init__(self, args: list[str], begin_anew: bool = False, command: str | None = None) -> None:
        self.command = command or args[0]  # for messages
        self.kind = kind_of(args)
        self.begin_anew = begin_anew
        # Errors are raised, to be told in one line; an abbreviation that works today is ambiguous tomorrow.
        strict = {"exit_on_error": False, "allow_abbrev": False}
        fit = {**strict, "default_config_files": [str(BASE_CONFIG)]}
        super().__init__(
            self.kind.module,
            self.kind.data,
            save_config_callback=SaveRunConfig,
            save_config_kwargs={"overwrite": True},
            # Validation before the first step would come before the actnorm has seen a batch.
            trainer_defaults={"num_sanity_val_steps": 0},
            seed_everything_default=0,
            auto_configure_optimizers=False,
            parser_kwargs={**strict, "prog": "glow", "fit": fit, "validate": strict, "test": strict},
            args=args,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The commands, and the arguments of the trainer's method that are not options."""
        evaluation = {"model", "dataloaders", "datamodule", "weights_only"}
        fit = {"model", "train_dataloaders", "val_dataloaders", "datamodule", "weights_only"}
        return {"fit": fit, "validate": evaluation, "test": evaluation}

    def setup_parser(self, *args: Any, **kwargs: Any) -> None:
        """Set up the parser; the report replaces Lightning's table of results."""
        super().setup_parser(*args, **kwargs)
        for name in ("validate", "test"):
            self._subcommand_parsers[name].set_defaults(verbose=False)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run's folder and the links: everything that data and model share is said once, at the model."""
        parser.add_argument("--name", type=str, default="run", help="Name of the run: first part of its folder.")
        parser.add_argument(
            "--run_dir", type=str | None, default=None, help="Folder of the run (default: runs/NAME/TIME)."
        )
        parser.add_argument(
            "--kind", type=KindName, default=self.kind.name, help="What the density is of: images or vectors."
        )
        for name, callback in self.kind.callbacks.items():
            parser.add_lightning_class_args(callback, name)
        parser.link_arguments("seed_everything", "model.seed")
        parser.link_arguments("seed_everything", "data.seed")
        parser.link_arguments(*self.kind.link)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; tell errors in one line, with the nearest known option."""
        try:
            super().parse_arguments(parser, args)
        except ArgumentError as error:
            text = " ".join(str(error).split())
            known = self._subcommand_parsers[args[0]]._option_string_actions
            hint = suggestion(text, known) or other_kind(self.kind, text)
            raise UsageError(f"glow {self.command}: {innermost(text)[:600]}{hint}") from error
        if (asked := self.config[self.config.subcommand].kind) != self.kind.name:
            raise UsageError(f"glow {self.command}: give the kind as --kind {asked}, or in a configuration file")

    def before_instantiate_classes(self) -> None:
        """Choose the run's folder."""
        config = self.config[self.subcommand]
        if self.subcommand == "fit":
            require_total_steps(config.model.lr_scheduler.class_path)
            self._tell_what_stays(config)
            config.run_dir = choose_run_dir(config.name, config.run_dir)
            resumed = None if config.ckpt_path is None else Path(config.ckpt_path)
            prepare_run_dir(Path(config.run_dir), resumed, self.begin_anew)
        if (world := launched_world()) is not None:
            config.trainer.devices, config.trainer.num_nodes = world
        config.trainer.default_root_dir = config.run_dir
        every, epochs = config.trainer.check_val_every_n_epoch, config.trainer.max_epochs
        if every is not None and epochs is not None and 0 < epochs < every:
            # Or a short trial of a long configuration would end without a validated model.
            config.trainer.check_val_every_n_epoch = epochs

    def _tell_what_stays(self, config: Any) -> None:
        """Warn where the options say other than the checkpoint, whose optimiser and schedule go on as they were."""
        if config.ckpt_path is None:
            return
        path = Path(config.ckpt_path)
        stored = parsed_config(read_checkpoint(path), path).get("model")
        asked = yaml.safe_load(self._subcommand_parsers["fit"].dump(config, skip_none=False))["model"]
        for name in ("optimizer", "lr_scheduler"):
            if isinstance(stored, dict) and asked[name] != stored.get(name):
                warnings.warn(f"model.{name} goes on as it was saved; begin a new run to change it", stacklevel=2)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Build the trainer; a CSV log always, other loggers as configured."""
        config = self.config_init[self.subcommand]
        terminal = sys.stdout.isatty()
        kwargs.setdefault("enable_progress_bar", terminal)
        kwargs.setdefault("enable_model_summary", False)
        callbacks = list(config.trainer.callbacks or [])
        if self.subcommand != "fit":
            callbacks += [RichProgressBar()] if terminal else []
            kwargs |= {"callbacks": callbacks, "logger": False, "enable_checkpointing": False}
            kwargs["plugins"] = [AtomicCheckpointIO()]
            return pl.Trainer(**{**config.trainer, **kwargs})
        os.makedirs(config.run_dir, exist_ok=True)
        loggers = config.trainer.logger
        loggers = loggers if isinstance(loggers, list) else [loggers] if isinstance(loggers, Logger) else []
        for logger in loggers:
            if isinstance(logger, RunLogger):
                logger.belong_to(Path(config.run_dir))
        callbacks += [LiveProgress()] if terminal else [PlainProgress()]
        metric = self.kind.module.metric
        best = BestCheckpoint(config.run_dir, f"val/{metric}")
        callbacks += [InitializeActNorm(), LearningRateMonitor("step"), Throughput(), best, ExportBest()]
        callbacks += [callback() for callback in self.kind.more_callbacks]
        callbacks += [config[name] for name in self.kind.callbacks]
        plugins = config.trainer.plugins or []
        plugins = plugins if isinstance(plugins, list) else [plugins]
        if SLURMEnvironment.detect():
            # Lightning's own handler would write a checkpoint of its own, past all that is done here to keep them good.
            plugins.append(SLURMEnvironment(auto_requeue=False))
        trainer_config = {
            **config.trainer,
            **kwargs,
            "callbacks": callbacks,
            "plugins": [AtomicCheckpointIO(), *plugins],
            "logger": [AppendingCSVLogger(config.run_dir), *loggers],
        }
        return self._instantiate_trainer(trainer_config, [])

    def _run_subcommand(self, subcommand: str) -> None:
        run_dir = self.config[subcommand].run_dir
        resume = f"go on with: glow fit --resume {run_dir}"
        try:
            with ends_together(self.trainer), flushed_denormals():
                super()._run_subcommand(subcommand)
        except RunStopped as stopped:
            if stopped.number == signal.SIGINT:
                raise KeyboardInterrupt(resume) from stopped
            requeued = stopped.number == signal.SIGUSR1
            if self.trainer.is_global_zero:
                print(f"{requeue() if requeued else 'terminated'}; {resume}", file=sys.stderr)
            raise SystemExit(0 if requeued else 128 + stopped.number) from stopped
        except SystemExit:
            # Outside the steps of a fit Lightning turns Ctrl-C into exit code 1, and SIGTERM into 0, both in silence.
            if not (self.trainer.received_sigterm or self.trainer.interrupted):
                raise
        except Exception:
            end_others(self.trainer)
            raise
        saved = run_dir is not None and (Path(run_dir) / LAST).exists()
        resume = resume if saved else "before there was anything to save"
        if self.trainer.received_sigterm:
            print(f"terminated; {resume}", file=sys.stderr)
            raise SystemExit(143)
        if self.trainer.interrupted:
            raise KeyboardInterrupt(resume)

    def _parse_ckpt_path(self) -> None:
        # The configuration inside the checkpoint is given as a config file already, with links and overrides.
        return


def main(command: str, arguments: list[str]) -> None:
    """Run ``glow fit``, ``glow validate`` or ``glow test``.

    Args:
        command: Which.
        arguments: The rest of the command line. ``--checkpoint`` (``--resume`` for fit) takes the configuration from
            inside the checkpoint; later options override it. ``--resume auto`` goes on with the newest good checkpoint
            of ``--run_dir``, or begins the run where there is none.

    Raises:
        UsageError: If an option is unknown or has no valid value.
    """
    quiet()
    if {"-h", "--help"} & set(arguments):
        print(HELP[command])
        if command != "fit":
            return
    option = "--resume" if command == "fit" else "--checkpoint"
    checkpoint, arguments = take_option(option, arguments)
    trust, arguments = TRUST in arguments, [word for word in arguments if word != TRUST]
    begin_anew, first_step = False, 0
    if command == "fit" and checkpoint == "auto":
        run_dir = option_value("--run_dir", arguments)
        if run_dir is None:
            raise UsageError("glow fit --resume auto needs --run_dir: the folder of the run, to go on with or to begin")
        found = good_checkpoint(Path(run_dir))
        checkpoint, begin_anew = (str(found), False) if found else (None, True)
    with tempfile.TemporaryDirectory() as scratch:
        if checkpoint is not None:
            path = find_checkpoint(checkpoint, (LAST, PREVIOUS) if command == "fit" else ("best.ckpt", LAST))
            if path.is_dir():
                remedy = "" if command == "fit" else "; glow evaluate measures an exported model"
                raise ValueError(
                    f"{checkpoint} is an exported model; glow {command} needs a .ckpt file or a run's folder{remedy}"
                )
            read = _whole(path) if command == "fit" else read_checkpoint(path)
            first_step = read.get("global_step", 0)
            config = Path(scratch) / "config.yaml"
            config.write_text(yaml.safe_dump(_stored(command, read, path, arguments, trust)))
            del read
            arguments = [f"--config={config}", f"--run_dir={path.parent}", *arguments, f"--ckpt_path={path}"]
        elif command != "fit":
            raise UsageError(f"glow {command} needs --checkpoint: a .ckpt file or a run's folder")
        try:
            cli = GlowCLI([command, *configs_first(arguments)], begin_anew)
        except RuntimeError as error:
            if "loading state_dict" not in str(error):
                raise
            raise ValueError(
                f"{checkpoint} does not match the configuration, for example because another prior or width was given: "
                f"{str(error).splitlines()[1].strip()[:200]}"
            ) from error
        finally:
            # Left there, the folder would be taken for its own by a run that is started from here later.
            if run_dir := os.environ.pop(SHARED, None):
                release_run_dir(Path(run_dir))
    if not cli.trainer.is_global_zero:
        return
    if command == "fit":
        _tell_end(cli, first_step)
    else:
        cli.kind.report(cli.model, cli.datamodule, command, cli.trainer.callback_metrics)


def _stored(command: str, checkpoint: dict[str, Any], path: Path, arguments: list[str], trust: bool) -> dict[str, Any]:
    """Return the configuration inside a checkpoint, as far as it may be run; see :mod:`.stored_config`."""
    given = given_options(arguments)
    model = None
    try:
        model = density_of(checkpoint).config  # told better here than by Lightning, if something is wrong with it
    except UnknownClassError as error:
        if not given.intersection(PARTS):
            options = " or ".join(f"--{part}" for part in PARTS)
            raise ValueError(
                f"{path}: {error}; where it is a part of your own, give it again with {options}"
            ) from error
    config = safe_config(checkpoint, path, given, model)
    if command != "fit":
        config.get("trainer", {}).pop("logger", None)  # of which an evaluation has none
    return trusted_places(config, checkpoint, path, given, trust)


def _tell_end(cli: GlowCLI, first_step: int) -> None:
    trainer, run_dir = cli.trainer, Path(cli.config.fit.run_dir)
    cli.kind.finish(run_dir, cli.datamodule)
    if trainer.global_step == first_step:
        print(nothing_left(trainer))
    print(f"run folder: {run_dir}")
    if (run_dir / LAST).exists():
        print(f"next: glow {cli.kind.next_command} --checkpoint {shlex.quote(str(run_dir))}")


def _whole(path: Path) -> dict[str, Any]:
    try:
        return read_whole(path)
    except ValueError as error:
        earlier = f"--resume auto --run_dir {path.parent} takes one before it, if there is one"
        raise ValueError(f"{error}; {earlier}") from error
