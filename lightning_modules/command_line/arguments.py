"""Options that the parser does not know, and checks of those that Lightning does not check."""

import inspect
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from glow_app.messages import UsageError
from lightning_modules.presets import config_path

SHORT = {"--config": "-c"}
INIT_FROM = "--init-from"


def take_options(option: str, arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return all values of ``option``, and the arguments without them.

    Raises:
        UsageError: If a value is missing.
    """
    values, rest, words = [], [], iter(arguments)
    names = {option, SHORT.get(option, option)}
    for word in words:
        name, equals, value = word.partition("=")
        if name not in names:
            rest.append(word)
            continue
        if not equals and not (value := next(words, "")):
            raise UsageError(f"{option} needs a path")
        values.append(value)
    return values, rest


def take_option(option: str, arguments: list[str]) -> tuple[str | None, list[str]]:
    """Return the last value of ``option``, which takes precedence, or None; and the arguments without the option."""
    values, rest = take_options(option, arguments)
    return values[-1] if values else None, rest


def given_options(arguments: list[str]) -> set[str]:
    """Return the names of options on the command line and in its files, without ``init_args`` and ``class_path``.

    The name of a class's option is included if the class's path is given, not if only an argument of the class is.
    """
    names = {re.split("[= ]", word.removeprefix("--"), maxsplit=1)[0] for word in arguments if word.startswith("--")}
    for config in take_options("--config", arguments)[0]:
        names |= set(_names_in(read_config(config_path(config))))
    return {re.sub(r"\.(init_args|class_path)(?=\.|$)", "", name) for name in names} - {"config"}


def read_config(path: str) -> Any:
    """Return the contents of a configuration file; None if it cannot be read, since the parser reports that better."""
    if not Path(path).is_file():
        return None  # a pipe can be read only once, by the parser
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None


def _names_in(config: Any) -> Iterator[str]:
    stack = [("", config)] if config is not None else []
    while stack:
        place, value = stack.pop()
        if not isinstance(value, dict) or "class_path" in value:
            yield place
        if isinstance(value, dict):
            stack += [(f"{place}.{name}" if place else str(name), child) for name, child in value.items()]


def configs_first(arguments: list[str]) -> list[str]:
    """Put configurations first, since they would override options before them, and replace their names by paths."""
    configs, rest = take_options("--config", arguments)
    return [*(f"--config={config_path(config)}" for config in configs), *rest]


def refuse_trainer_options(trainer: Mapping[str, Any], arguments: list[str]) -> None:
    """Refuse options of the trainer that Lightning does not check, or that contradict the run's folder.

    Raises:
        UsageError: If an interval is 0 or negative, ``default_root_dir`` or ``fast_dev_run`` is given, or the precision
            is float16, which Lightning replaces on a CPU.
    """
    # Not checked in ``trainer``: a run's config.yaml may be given, which has the folder of that run.
    if take_option("--trainer.default_root_dir", arguments)[0] is not None:
        raise UsageError("--trainer.default_root_dir has no effect; use --run_dir")
    if trainer["fast_dev_run"]:
        raise UsageError("--trainer.fast_dev_run leaves a run that cannot go on; use --trainer.max_steps 1")
    if str(trainer["precision"]) in ("16", "16-mixed"):
        raise UsageError(f"--trainer.precision is {trainer['precision']}; expected 32-true, bf16-mixed or 64-true")
    for name in ("accumulate_grad_batches", "check_val_every_n_epoch", "val_check_interval"):
        value = trainer[name]
        if isinstance(value, int | float) and value <= 0:
            raise UsageError(f"--trainer.{name} is {value}; expected a number above 0; leave it out for the default")


def require_total_steps(class_path: str) -> None:
    """Refuse a schedule that would misinterpret its second argument, the number of steps.

    Raises:
        UsageError: If its second parameter is not ``total_steps``.
    """
    module, _, name = class_path.rpartition(".")
    arguments = list(inspect.signature(getattr(import_module(module), name)).parameters)
    if arguments[1:2] != ["total_steps"]:
        raise UsageError(
            f"model.lr_scheduler is {class_path}; expected a schedule whose second argument is total_steps, such as "
            "lightning_modules.schedules.LinearWarmupCosine"
        )
