"""Checks of the configuration in a checkpoint: only plain values and allowed classes are accepted."""

import inspect
import os
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
import yaml
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from glow_app.flows import Glow
from glow_app.messages import is_line
from glow_app.storage.checkpoint import require_few
from glow_app.storage.model_config import ALLOWED_CLASSES
from glow_app.storage.seal import SEAL_KEY, places_of, strange_places
from lightning_modules.command_line import allowed_values as allowed
from lightning_modules.command_line.kinds import KINDS, Kind
from lightning_modules.runs.run_config import CONFIG_KEY

MAX_LENGTH = 100_000  # characters; a usual configuration has 3,000
MAX_VALUES = 10_000

# Without dots and slashes: no path of a class, which the parser would import, and hardly any path of a file.
_WORD = re.compile(r"[\w,: -]{0,64}")

_Check = Callable[[Any, str], Any]

_rank_zero_print = rank_zero_only(print)


def parsed_config(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the configuration in a checkpoint, unchecked: it may be compared, but not run.

    Raises:
        ValueError: If it is missing or damaged.
    """
    text = checkpoint.get(CONFIG_KEY)
    if text is None:
        raise ValueError(
            f"{path} holds no configuration: it was not written by `glow fit`; pass --config and --ckpt_path"
        )
    try:
        if not isinstance(text, str) or len(text) > MAX_LENGTH:
            raise ValueError(f"expected at most {MAX_LENGTH:,} characters of text")
        config = yaml.safe_load(text)
        if not isinstance(config, dict):
            raise ValueError("expected names and values")
        require_few(config, MAX_VALUES)
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} holds a damaged configuration ({reason}); pass --config and --ckpt_path") from error
    return config


def safe_config(
    checkpoint: Mapping[str, Any], path: Path, given: Collection[str], model: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the part of a checkpoint's configuration that is safe to run.

    Every value must be a number, a word or a list of these, and every class must be on the allow-list of its option.
    Other values are errors, unless the user gives that option, which then overrides the checkpoint's.

    Args:
        checkpoint: The contents of the checkpoint.
        path: Path of the checkpoint, for messages.
        given: Options from the user, see :func:`~lightning_modules.command_line.arguments.given_options`.
        model: The configuration stored with the weights, which overrides the sizes in the text.
    Raises:
        ValueError: If a value is not accepted, or the configuration is missing or damaged.
    """
    return _Filter(path, given).config(parsed_config(checkpoint, path), model)


def trusted_places(
    config: Mapping[str, Any], checkpoint: Mapping[str, Any], path: Path, given: Collection[str], trust: bool
) -> dict[str, Any]:
    """Return the configuration with only those folders, addresses and loggers of services that may be used.

    They are accepted, and printed, if the checkpoint is the user's own, see :mod:`glow_app.storage.seal`, or with
    ``trust``. Those of other checkpoints are dropped if the user gives the same option or, for data, ``data.source``.

    Raises:
        ValueError: If another user's checkpoint has such an option that this user does not give.
    """
    data, trainer = dict(config.get("data", {})), dict(config.get("trainer", {}))
    places = places_of(data, trainer.get("logger"))
    strange = [] if trust else strange_places(places, checkpoint.get(SEAL_KEY))
    for name, value in places.items():
        option = "trainer.logger" if name == "logger" else f"data.{name}"
        if name in strange and (option in given or (name != "logger" and "data.source" in given)):
            (trainer if name == "logger" else data).pop(name)
        elif name in strange:
            raise ValueError(
                f"{path} says {str(value)[:80]!r} for {option}, and has no seal of yours; if you know where it comes "
                f"from, pass --trust-data or give --{option} yourself"
            )
        elif option not in given:
            _rank_zero_print(f"{option} as in {path}: {str(value)[:200]!r}")
    return {**config, "data": data, "trainer": trainer}


class _RefusedError(ValueError):
    """A value is not accepted from a checkpoint."""


class _Filter:
    """Checks a configuration value by value; ``place`` is the path of a value, such as ``model.optimizer``."""

    def __init__(self, path: Path, given: Collection[str]) -> None:
        self.path, self.given = path, given

    def config(self, config: dict[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
        kind = KINDS[self._one_of(config.pop("kind", "images"), "kind", KINDS)]
        config.pop("run_dir", None)  # the checkpoint's own folder is used
        config.pop("ckpt_path", None)
        checks: dict[str, _Check] = {
            "seed_everything": self._plain,
            "name": lambda value, at: (self._plain if "/" in str(value) else self._text)(value, at),
            "trainer": self._trainer,
            "model": lambda value, _: self._model(value, kind, model),
            "data": partial(self._arguments, cls=kind.data, check=self._data_value),
        }
        for name, callback in kind.callbacks.items():
            checks[name] = partial(self._arguments, cls=callback, check=self._plain)
        return {"kind": kind.name, **self._each(config, "", checks)}

    def _trainer(self, value: Any, place: str) -> dict[str, Any]:
        values = self._mapping(value, place)
        logger = {"logger": self._loggers(values["logger"], f"{place}.logger")} if "logger" in values else {}
        checks: dict[str, _Check] = dict.fromkeys(allowed.TRAINER, self._plain)
        checks |= {"accelerator": partial(self._one_of, known=allowed.ACCELERATORS), "strategy": self._strategy}
        for name in allowed.DROPPED:
            if values.get(name) and f"trainer.{name}" not in self.given:
                warnings.warn(
                    f"trainer.{name} is left out: it is not taken from {self.path}; give it again to use it",
                    stacklevel=2,
                )
        return self._each({name: values[name] for name in values if name in checks}, place, checks) | logger

    def _strategy(self, value: Any, place: str) -> Any:
        if not isinstance(value, dict):
            return self._one_of(value, place, allowed.STRATEGIES)
        checks: dict[str, _Check] = dict.fromkeys(allowed.STRATEGY_ARGUMENTS, self._plain)
        # Every argument is stored; where the others are null, false or 0, they have torch's defaults.
        arguments = self._mapping(value.get("init_args") or {}, place)
        arguments = {name: arguments[name] for name in arguments if arguments[name] or name in checks}
        return self._class({**value, "init_args": arguments}, place, allowed.STRATEGY_CLASSES, checks)

    def _loggers(self, value: Any, place: str) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, list):
            return [self._loggers(logger, place) for logger in value]
        name = self._mapping(value, place).get("class_path")
        options = allowed.LOGGERS.get(name, ()) if isinstance(name, str) else ()
        checks: dict[str, _Check] = dict.fromkeys(options, self._text)
        if "options" in checks:
            args: dict[str, _Check] = dict.fromkeys(allowed.WANDB_OPTIONS, self._text)
            checks["options"] = lambda spec, at: None if spec is None else self._each(self._mapping(spec, at), at, args)
        return self._class(value, place, allowed.LOGGERS, checks)

    def _model(self, value: Any, kind: Kind, model: Mapping[str, Any]) -> dict[str, Any]:
        part = partial(self._class, known=ALLOWED_CLASSES)
        flow = f"{Glow.__module__.rpartition('.')[0]}.{Glow.__name__}"
        names = self._parameters(kind.module)
        checks: dict[str, _Check] = dict.fromkeys(names, self._plain) | {
            "flow": partial(
                self._class, known=(flow,), checks=self._parameters(Glow) | {"conditioner": part, "prior": part}
            ),
            "prior": part,
            "task": lambda value, at: value if value is None else part(value, at),
            "optimizer": partial(self._class, known=allowed.OPTIMIZERS),
            "lr_scheduler": partial(self._class, known=allowed.SCHEDULES),
        }
        accepted = self._each(self._mapping(value, "model"), "model", {name: checks[name] for name in names})
        if kind.name == "images":
            task = {"task": model["task"]} if "task" in model else {}
            flow_config = {"class_path": flow, "init_args": model["flow"]}
            return accepted | {"num_bits": model["num_bits"], "flow": flow_config} | task
        return accepted | dict(model)

    def _class(
        self, value: Any, place: str, known: Collection[str], checks: Mapping[str, _Check] | None = None
    ) -> dict[str, Any]:
        """Accept a class of the allow-list, whose arguments pass ``checks``, or are plain if None."""
        spec = {"class_path": value} if isinstance(value, str) else self._mapping(value, place)
        name, arguments = spec.get("class_path"), spec.get("init_args") or {}
        if not isinstance(name, str) or name not in known or not {"class_path", "init_args"} >= spec.keys():
            self._refuse(place, name if set(spec) <= {"class_path", "init_args"} else spec)
        arguments = self._mapping(arguments, place)
        checks = dict.fromkeys(arguments, self._plain) if checks is None else checks
        return {"class_path": name, "init_args": self._each(arguments, f"{place}.init_args", checks)}

    def _arguments(self, value: Any, place: str, cls: type, check: _Check) -> dict[str, Any]:
        return self._each(self._mapping(value, place), place, dict.fromkeys(self._parameters(cls), check))

    def _parameters(self, cls: type) -> dict[str, _Check]:
        return dict.fromkeys(list(inspect.signature(cls).parameters), self._plain)

    def _each(self, values: Mapping[str, Any], place: str, checks: Mapping[str, _Check]) -> dict[str, Any]:
        accepted = {}
        for name, value in values.items():
            at = f"{place}.{name}" if place else str(name)
            try:
                if not isinstance(name, str) or not name.isidentifier() or name not in checks:
                    self._refuse(at, value)
                accepted[name] = checks[name](value, at)
            except _RefusedError:
                if _short(at) not in self.given:
                    raise
        return accepted

    def _mapping(self, value: Any, place: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            self._refuse(place, value)
        return value

    def _plain(self, value: Any, place: str) -> Any:
        processes = max(16, 2 * (os.cpu_count() or 1), torch.cuda.device_count())
        bounds = allowed.LARGEST | dict.fromkeys(allowed.PROCESSES, processes)
        if place in bounds and not (value is None or value == "auto" or 0 <= _count(value) <= bounds[place]):
            self._refuse(place, value)
        if isinstance(value, list):
            return [self._plain(item, place) for item in value]
        if isinstance(value, dict) and place == "trainer.max_time":
            return {str(unit): self._plain(number, place) for unit, number in value.items()}
        if isinstance(value, str) and not _WORD.fullmatch(value):
            self._refuse(place, value)
        if value is not None and not isinstance(value, (bool, int, float, str)):
            self._refuse(place, value)
        return value

    def _data_value(self, value: Any, place: str) -> Any:
        is_place = place.removeprefix("data.") in ("source", "root", "path", "cache_dir")  # see trusted_places
        return self._text(value, place) if is_place else self._plain(value, place)

    def _text(self, value: Any, place: str) -> Any:
        """Accept free text, for options that are never interpreted as a class."""
        if isinstance(value, list):
            return [self._text(item, place) for item in value]
        if isinstance(value, str) and len(value) <= 4096 and is_line(value):
            return value
        return self._plain(value, place)

    def _one_of(self, value: Any, place: str, known: Collection[str | None]) -> Any:
        if not (value is None or isinstance(value, str)) or value not in known:
            self._refuse(place, value)
        return value

    def _refuse(self, place: str, value: Any) -> NoReturn:
        raise _RefusedError(
            f"{self.path} says {repr(value)[:80]} for {_short(place)[:80]!r}, which is not taken from a checkpoint; if "
            f"you trust it, give it yourself with --{_short(place)[:80]} or in a --config"
        )


def _count(value: Any) -> int:
    """Return the count that a number, a list or a text such as "0,1" stands for; -1 for other values."""
    if isinstance(value, str):
        return int(value) if value.isdecimal() else len(value.split(","))
    return value if isinstance(value, int) else len(value) if isinstance(value, list) else -1


def _short(place: str) -> str:
    return place.replace(".init_args", "")
