"""What is taken of the configuration inside a checkpoint: plain values, and classes of a list for each place."""

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

MAX_LENGTH = 100_000  # characters; a run's has 3,000
MAX_VALUES = 10_000

# Without a dot or a slash: no path of a class, which the parser would import, and of few files.
_WORD = re.compile(r"[\w,: -]{0,64}")

_Check = Callable[[Any, str], Any]


def parsed_config(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the configuration inside a checkpoint, as it stands there: to be compared, and never to be run.

    Raises:
        ValueError: If there is none, or it is none of `glow fit`.
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
    checkpoint: Mapping[str, Any], path: Path, given: Collection[str], model: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return what of the configuration inside a checkpoint may be run.

    Every value is a number, a word or a list of them, and every class is on the allow-list of its place. Anything else
    is refused by name, unless the person gives that option, which then replaces the checkpoint's.

    Args:
        checkpoint: As it was read.
        path: Where, for messages.
        given: Options that the person has given, see :func:`~lightning_modules.command_line.arguments.given_options`.
        model: The model's own configuration, which fits the weights, and is taken in place of what the text says of
            sizes; None where a part of it is given.
    Raises:
        ValueError: If it names anything else, or is damaged.
    """
    return _Taker(path, given).config(parsed_config(checkpoint, path), model)


def trusted_places(
    config: Mapping[str, Any], checkpoint: Mapping[str, Any], path: Path, given: Collection[str], trust: bool
) -> dict[str, Any]:
    """Return the configuration with those places of the checkpoint that may be read from, written to or sent to.

    Folders, addresses and loggers of services are taken from a checkpoint of this user's own, see
    :mod:`glow_app.storage.seal`, or with ``trust``, and printed. Where the person gives a source, a stranger's places
    are not taken, nor are those that are given themselves.

    Raises:
        ValueError: If there are places of a stranger's that nobody has given.
    """
    data, trainer = dict(config.get("data", {})), dict(config.get("trainer", {}))
    places = places_of(data, trainer.get("logger"))
    strange = [] if trust else strange_places(places, checkpoint.get(SEAL_KEY))
    for name, value in places.items():
        if name in strange and (_place(name) in given or (name != "logger" and "data.source" in given)):
            (trainer if name == "logger" else data).pop(name)
        elif name in strange:
            raise ValueError(
                f"{path} says {str(value)[:80]!r} for {_place(name)}, and has no seal of yours; if you know "
                f"where it comes from, pass --trust-data or give --{_place(name)} yourself"
            )
        elif _place(name) not in given:
            _tell(f"{_place(name)} as in {path}: {str(value)[:200]!r}")
    return {**config, "data": data, "trainer": trainer}


@rank_zero_only
def _tell(line: str) -> None:
    print(line)


def _place(name: str) -> str:
    return "trainer.logger" if name == "logger" else f"data.{name}"


class _Refused(ValueError):
    """A value is not one that a checkpoint may bring."""


class _Taker:
    """Takes one configuration apart; ``place`` is always where a value stands, such as ``model.optimizer``."""

    def __init__(self, path: Path, given: Collection[str]) -> None:
        self.path, self.given = path, given

    def config(self, config: dict[str, Any], model: Mapping[str, Any] | None) -> dict[str, Any]:
        kind = KINDS[self._one_of(config.pop("kind", "images"), "kind", KINDS)]
        config.pop("run_dir", None)  # the folder that the checkpoint lies in
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
        for name in allowed.NOT_TAKEN:
            if values.get(name) and f"trainer.{name}" not in self.given:
                warnings.warn(
                    f"trainer.{name} is left out: {self.path} may not bring any; give it again to have it", stacklevel=2
                )
        return self._each({name: one for name, one in values.items() if name in checks}, place, checks) | logger

    def _strategy(self, value: Any, place: str) -> Any:
        if not isinstance(value, dict):
            return self._one_of(value, place, allowed.STRATEGIES)
        checks: dict[str, _Check] = dict.fromkeys(allowed.STRATEGY_ARGUMENTS, self._plain)
        return self._class(value, place, allowed.STRATEGY_CLASSES, checks)

    def _loggers(self, value: Any, place: str) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, list):
            return [self._loggers(one, place) for one in value]
        name = self._mapping(value, place).get("class_path")
        options = allowed.LOGGERS.get(name, ()) if isinstance(name, str) else ()
        checks: dict[str, _Check] = dict.fromkeys(options, self._text)
        if "options" in checks:
            known: dict[str, _Check] = dict.fromkeys(allowed.WANDB_OPTIONS, self._text)
            checks["options"] = lambda one, at: one if one is None else self._each(self._mapping(one, at), at, known)
        return self._class(value, place, allowed.LOGGERS, checks)

    def _model(self, value: Any, kind: Kind, model: Mapping[str, Any] | None) -> dict[str, Any]:
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
        taken = self._each(self._mapping(value, "model"), "model", {name: checks[name] for name in names})
        if model is None:
            return taken
        if kind.name == "images":
            task = {"task": model["task"]} if "task" in model else {}
            flow_config = {"class_path": flow, "init_args": model["flow"]}
            return taken | {"num_bits": model["num_bits"], "flow": flow_config} | task
        return taken | dict(model)

    def _class(
        self, value: Any, place: str, known: Collection[str], checks: Mapping[str, _Check] | None = None
    ) -> dict[str, Any]:
        """Take a class of the allow-list with its arguments: plain ones, or as ``checks`` says."""
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
        taken = {}
        for name, value in values.items():
            at = f"{place}.{name}" if place else str(name)
            try:
                if not isinstance(name, str) or not name.isidentifier() or name not in checks:
                    self._refuse(at, value)
                taken[name] = checks[name](value, at)
            except _Refused:
                if _short(at) not in self.given:
                    raise
        return taken

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
            return [self._plain(one, place) for one in value]
        if isinstance(value, dict) and place == "trainer.max_time":
            return {str(name): self._plain(one, place) for name, one in value.items()}
        if isinstance(value, str) and not _WORD.fullmatch(value):
            self._refuse(place, value)
        if value is not None and not isinstance(value, (bool, int, float, str)):
            self._refuse(place, value)
        return value

    def _data_value(self, value: Any, place: str) -> Any:
        free = place.removeprefix("data.") in ("source", "root", "path", "cache_dir")  # see trusted_places
        return self._text(value, place) if free else self._plain(value, place)

    def _text(self, value: Any, place: str) -> Any:
        """Take free text, where nothing else than text is read from it."""
        if isinstance(value, list):
            return [self._text(one, place) for one in value]
        if isinstance(value, str) and len(value) <= 4096 and is_line(value):
            return value
        return self._plain(value, place)

    def _one_of(self, value: Any, place: str, known: Collection[str | None]) -> Any:
        if not (value is None or isinstance(value, str)) or value not in known:
            self._refuse(place, value)
        return value

    def _refuse(self, place: str, value: Any) -> NoReturn:
        raise _Refused(
            f"{self.path} says {repr(value)[:80]} for {_short(place)[:80]!r}, which is not taken from a checkpoint; if "
            f"you trust it, give it yourself with --{_short(place)[:80]} or in a --config"
        )


def _count(value: Any) -> int:
    """Return how many a number, a list or a text such as "0,1" means; -1 for what is none of them."""
    if isinstance(value, str):
        return int(value) if value.isdecimal() else len(value.split(","))
    return value if isinstance(value, int) else len(value) if isinstance(value, list) else -1


def _short(place: str) -> str:
    return place.replace(".init_args", "")
