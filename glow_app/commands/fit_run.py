"""A run of ``glow fit``: its options become a configuration, from which its parts are built once and trained."""

import os
import shlex
import time
import warnings
from argparse import Namespace
from collections.abc import Collection, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any

import yaml
from jsonargparse import ArgumentParser
from jsonargparse import Namespace as Options

from glow_app.commands.fit_build import Parts, build
from glow_app.commands.fit_config import BASE_CONFIG, merged, parse, read_layer
from glow_app.commands.fit_folder import Choices, choose, print_pictures, require_usable
from glow_app.commands.fit_length import length_by_time, measure_step
from glow_app.commands.fit_start import Start, begun, resumed, stored_config
from glow_app.conditioning import AttributeConditioning
from glow_app.data.attributes import table_in
from glow_app.data.sources import attribute_kinds
from glow_app.evaluation.report import REPORT
from glow_app.files import atomic_file
from glow_app.nn.class_path import class_path
from glow_app.spec import IMPORTED
from glow_app.storage.checkpoint import CHECKPOINT_KEY
from glow_app.storage.stored_model import RUN_CONFIG, read_run_config
from lightning_modules.callbacks.outcome import outcome, reached_limit
from lightning_modules.runs.checkpoints import LAST, require_same_model
from lightning_modules.runs.loggers import RunWandbLogger
from lightning_modules.runs.run_folder import Launch, locked_run_dir, refuse_earlier_run
from lightning_modules.runs.stopping import exit_code_of_signals

_MINUTES = 30.0  # at most, unless a time is given


def run(options: Namespace, overrides: list[str], dotted: Mapping[str, Any]) -> str:
    """Train, and return the run's folder.

    Args:
        options: Of the command.
        overrides: Its options with dots.
        dotted: The same, as values by name.
    """
    launch = Launch()
    start = Start() if options.resume is None else resumed(options.resume, options.run_dir)
    if launch.run_dir is not None:  # the first process has decided
        config = _read_config(launch.run_dir)
        if start.checkpoint is None:
            start = begun(config["init_from"], config["init_levels_from"])
        parser, parsed = parse(config, [])
        _train(build(parser, parsed, start), parsed, start)
        return launch.run_dir
    given = {word.split("=")[0].removeprefix("--") for word in overrides} | dotted.keys()
    start, choices, config, stored = _compose(options, start, given)
    parser, parsed = parse(merged(config, Options(dotted).as_dict()), overrides)
    _complete(parsed, start)
    with locked_run_dir(Path(parsed.run_dir), start.checkpoint, options.resume == "auto"):
        parts = build(parser, parsed, start)
        if options.folder and start.checkpoint is None:
            print_pictures(*parts[:2])
            if options.epochs is None:
                _set_length(options.minutes, choices, parsed, parts, given)
        if start.contents:  # before the configuration of the run is replaced
            require_same_model(start.contents[CHECKPOINT_KEY]["model"], parts[0].model.config)
        _write(parser, parsed, stored.get("model", {}))
        launch.share(parsed.run_dir)
        _train(parts, parsed, start)
    return parsed.run_dir


def _read_config(run_dir: str) -> dict[str, Any]:
    if (config := read_run_config(Path(run_dir))) is None:
        raise ValueError(f"there is no {run_dir}/{RUN_CONFIG}: all machines must share the run's folder")
    return config


def _compose(
    options: Namespace, start: Start, given: Collection[str]
) -> tuple[Start, Choices, dict[str, Any], dict[str, Any]]:
    """Return where a run starts, the choices of its pictures, its configuration, and that of the run to be resumed."""
    names = ("name", "run_dir", "kind", "init_from", "init_levels_from")
    own = {name: value for name in names if (value := getattr(options, name)) is not None}
    own |= {} if options.seed is None else {"seed_everything": options.seed}
    choices = Choices(options.config)
    if options.folder and start.checkpoint is not None:
        print(f"resuming {options.run_dir} with the options chosen at its start", flush=True)
        choices = Choices()
    elif options.folder:
        if options.run_dir is not None and options.resume is None:
            refuse_earlier_run(Path(options.run_dir))
        require_usable(options)
        start = begun(options.init_from, None)
        choices = choose(options, start.source, given)
        own = {"init_levels_from": choices.levels_of} | own
    layers = [read_layer(name) for name in choices.configs]
    stored = stored_config(start, layers)
    config = merged(read_layer(BASE_CONFIG), stored, *layers, own)
    if start.checkpoint is None and start.source is None:
        start = begun(config.get("init_from"), config.get("init_levels_from"))
    # Before the first step, validate only a model that has been trained before.
    sanity = {"trainer": {"num_sanity_val_steps": 0 if start.source is None else -1}}
    both = (sanity, config) if start.checkpoint is None else (config, sanity)
    return start, choices, merged(*both, start.layer(), choices.layer, own), stored


def _complete(config: Any, start: Start) -> None:
    """Complete what depends on several options: folder, attributes, loggers."""
    config.run_dir = config.run_dir or f"runs/{config.name}/{time.strftime('%Y%m%d-%H%M%S')}"
    config.trainer.default_root_dir = config.run_dir
    data = config.data
    if data.get("attributes") == "auto":
        data.attributes = table_in(Path(data.root or ".")) is not None
        if not data.attributes:
            config.model.contrast = 0.0
    for name in ("root", "attributes"):  # absolute, since other commands may run in other folders
        if isinstance(path := data.get(name), str):
            data[name] = os.path.abspath(os.path.expanduser(path))
    if data.get("attributes") and (start.source is None or start.by_levels):
        flow = config.model.flow.init_args
        if flow.conditioning is None:
            kinds = attribute_kinds(data.source, data.root, data.attributes)
            arguments = {"attributes": kinds, "features": 32, "hidden": 64}
            flow.conditioning = Options(class_path=class_path(AttributeConditioning), init_args=Options(arguments))
    loggers = config.trainer.logger
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        if of_logger := getattr(logger, "init_args", None):
            of_logger.save_dir = config.run_dir
            if "id" in of_logger and start.checkpoint is None:
                of_logger.id = f"glow{token_hex(4)}"  # YAML reads 90823e05 as a number


def _set_length(minutes: float | None, choices: Choices, config: Any, parts: Parts, given: Collection[str]) -> None:
    """Limit the run by time, or by the steps that are given, and print its length."""
    steps = None if config.trainer.max_steps == -1 else config.trainer.max_steps
    most = choices.usual_steps if minutes is None else None
    length, description = length_by_time(minutes or _MINUTES, most, steps, measure_step(*parts))
    length = {name: value for name, value in length.items() if f"trainer.{name}" not in given}
    config.trainer.update(Options(length))
    parts[2].limit(length)
    print(f"time        {description} (options: --minutes, --epochs)", flush=True)


def _write(parser: ArgumentParser, config: Any, stored: Mapping[str, Any]) -> None:
    """Write the configuration; warn of what a resumed run does not change."""
    text = parser.dump(config, skip_unset=False)
    written = yaml.safe_load(text)
    for name in ("optimizer", "lr_scheduler") if stored else ():
        if written["model"][name] != stored.get(name):
            warnings.warn(f"model.{name} is restored as it was saved; start a new run to change it", stacklevel=2)
    with atomic_file(Path(config.run_dir) / RUN_CONFIG) as file:
        file.write(text.encode())


def _train(parts: Parts, config: Any, start: Start) -> None:
    """Train; exit with the code of a signal that stops it. The first process says what it does and what to do next."""
    module, data, trainer = parts
    run_dir = Path(config.run_dir)
    origin = start.give_weights(module.model)
    if trainer.is_global_zero:
        print(f"writes to   {run_dir}, sample grids to samples/")
        if origin:
            print(origin, flush=True)
        for logger in trainer.loggers:
            if isinstance(logger, RunWandbLogger):
                logger.log_hyperparams(_read_config(str(run_dir)))
    with exit_code_of_signals(trainer, run_dir):
        trainer.fit(module, data, ckpt_path=start.checkpoint)
    if not trainer.is_global_zero:
        return
    if line := outcome(trainer, module):
        print(line)
    if trainer.global_step == start.step:
        print(f"training was already complete at step {start.step:,}; raise --{reached_limit(trainer)}")
    if (run_dir / REPORT).exists():
        print(f"report:     {run_dir / REPORT}")
    print(f"run folder: {run_dir}")
    if (run_dir / LAST).exists():
        allowed = [f" --import {name}" for name in IMPORTED]
        print(f"next: glow {module.next_command.format(run=shlex.quote(str(run_dir)) + ''.join(allowed))}")
