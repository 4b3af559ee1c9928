"""The specification of a run: defaults, presets, what it begins from, the choices for a folder, and the options."""

import os
import re
import time
from argparse import Namespace
from collections.abc import Mapping
from inspect import Parameter, cleandoc
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytorch_lightning as pl

from glow_app.commands.fit_folder import Choices, choose, require_usable
from glow_app.commands.presets import read_preset
from glow_app.data.attributes import table_in
from glow_app.data.sources import attribute_kinds
from glow_app.messages import UsageError, closest
from glow_app.spec import REGISTRY, parameters_of
from glow_app.storage.run_config import RUN_CONFIG
from lightning_modules.restoration import RestorationModule
from lightning_modules.run import SECTIONS
from lightning_modules.runs.length import Length
from lightning_modules.runs.run_folder import refuse_earlier_run
from lightning_modules.runs.start import Start, begun

BASE_CONFIG = Path(__file__).with_name("base.yaml")  # defaults of all runs
_MINUTES = 30.0  # at most, unless a time is given


def compose(options: Namespace, dotted: Mapping[str, Any], start: Start) -> tuple[dict[str, Any], Start, Length | None]:
    """Return the specification of a run, where it starts, and its length if time decides it.

    Args:
        options: Of the command.
        dotted: Its further options, by the place of each in the specification.
        start: The checkpoint of a run that is resumed, if there is one.
    """
    _refuse_unknown(options, dotted)
    names = ("name", "run_dir", "init_from", "init_levels_from", "seed")
    own = {name: value for name in names if (value := getattr(options, name)) is not None}
    choices = Choices(options.config)
    if options.folder and start.checkpoint is not None:
        print(f"resuming {options.run_dir} with the options chosen at its start", flush=True)
        choices = Choices()
    elif options.folder:
        if options.run_dir is not None and options.resume is None:
            refuse_earlier_run(Path(options.run_dir))
        require_usable(options)
        start = begun(options.init_from, None)
        choices = choose(options, start.source, dotted)
        own = {"init_levels_from": choices.levels_of} | own
    layers = [read_preset(name) for name in choices.configs]
    if (path := start.checkpoint) is not None:
        if not (start.spec or layers):
            raise UsageError(f"glow fit: no {RUN_CONFIG} next to {path}; pass that of its run with --config")
        own = {"run_dir": str(path.parent)} | own
    spec = merged(read_preset(str(BASE_CONFIG)), start.spec, *layers, own)
    if start.checkpoint is None and start.source is None:
        start = begun(spec.get("init_from"), spec.get("init_levels_from"))
    # Before the first step, validate only a model that has been trained before.
    sanity = {"trainer": {"num_sanity_val_steps": 0 if start.source is None else -1}}
    both = (sanity, spec) if start.checkpoint is None else (spec, sanity)
    spec = merged(*both) | start.architecture()
    further = [_nested(name, value) for name, value in dotted.items()]
    spec = _completed(merged(spec, choices.layer, own, *further), start)
    length = None
    if options.folder and start.checkpoint is None and options.epochs is None:
        most = choices.usual_steps if options.minutes is None else None
        length = Length(options.minutes or _MINUTES, most, frozenset(dotted))
    return spec, start, length


def _refuse_unknown(options: Namespace, dotted: Mapping[str, Any]) -> None:
    """Raise UsageError if an option is neither of the command nor of any run."""
    names = {*parameters_of(RestorationModule), *SECTIONS, "logger"}
    for name in dotted:
        if (first := name.partition(".")[0]) not in names:
            of_command = [option.replace("_", "-") for option in vars(options)]
            hint = closest(f"--{first}", [f"--{each}" for each in (*names, *of_command)])
            raise UsageError(f"glow fit: unknown option --{name}{hint}")


def _nested(name: str, value: Any) -> dict[str, Any]:
    first, _, rest = name.partition(".")
    return {first: _nested(rest, value) if rest else value}


def merged(*layers: Mapping[str, Any], is_run: bool = True) -> dict[str, Any]:
    """Return layers of a specification as one; later ones replace values of earlier ones.

    Where a later layer replaces a part by another, the arguments that the other one takes too remain. Loggers of other
    types are added to earlier ones, since a run may have several.
    """
    result: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            earlier = result.get(name)
            if name == "logger" and is_run and earlier and value:
                value = _joined(earlier, value)
            elif isinstance(earlier, str | Mapping) and isinstance(value, str | Mapping):
                value = _merged_value(earlier, value, is_run)
            result[name] = value
    return result


def _merged_value(earlier: str | Mapping[str, Any], value: str | Mapping[str, Any], is_run: bool) -> Any:
    """Return a text, a section or the specification of a part, replaced or changed by a later one."""
    if isinstance(earlier, str) and isinstance(value, str):
        return value
    before, after = ({"type": each} if isinstance(each, str) else each for each in (earlier, value))
    if not (is_run or "type" in before or "type" in after):  # such as the attributes of faces
        return value
    if after.get("type", name := before.get("type")) != name:
        taken = parameters_of(REGISTRY[after["type"]]) if after["type"] in REGISTRY else ()
        before = {name: argument for name, argument in before.items() if name in taken}
    return merged(before, after, is_run=False)


def _joined(earlier: Any, later: Any) -> Any:
    """Return loggers of two layers, as a list if there are several; those of one type become one."""
    loggers = [*earlier] if isinstance(earlier, list) else [earlier]
    for logger in later if isinstance(later, list) else [later]:
        kinds = [each if isinstance(each, str) else each.get("type") for each in (*loggers, logger)]
        index = next((i for i, kind in enumerate(kinds[:-1]) if kinds[-1] in (None, kind)), None)
        if index is None:
            loggers.append(logger)
        else:
            loggers[index] = _merged_value(loggers[index], logger, False)
    return loggers if len(loggers) > 1 else loggers[0]


def _completed(spec: dict[str, Any], start: Start) -> dict[str, Any]:
    """Return the specification with what depends on several options: folders, attributes, ids of loggers."""
    name = spec.get("name", "run")
    spec = {"name": name, "run_dir": f"runs/{name}/{time.strftime('%Y%m%d-%H%M%S')}"} | spec
    data = dict(spec.get("data", {}))
    if data.get("attributes") == "auto":
        data["attributes"] = table_in(Path(data.get("root") or ".")) is not None
        if not data["attributes"]:
            spec["contrast"] = 0.0
    for folder in ("root", "attributes"):  # absolute, since other commands may run in other folders
        if isinstance(path := data.get(folder), str):
            data[folder] = os.path.abspath(os.path.expanduser(path))
    flow = spec.get("flow")
    if data.get("attributes") and (start.source is None or start.by_levels) and isinstance(flow, dict):
        kinds = attribute_kinds(data.get("source", ""), data.get("root"), data["attributes"])
        conditioning = {"type": "attributes", "attributes": kinds, "features": 32, "hidden": 64}
        spec["flow"] = {**flow, "conditioning": flow.get("conditioning") or conditioning}
    loggers = spec.get("logger") or []
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        if isinstance(logger, dict) and logger.get("type") == "wandb" and start.checkpoint is None:
            logger["id"] = f"glow{token_hex(4)}"
    return spec | {"data": data}


def all_options() -> str:
    """Return two lines about each option with dots: what it accepts and its default, and what it means."""
    lines = []
    for section, part in {"": RestorationModule, **SECTIONS}.items():
        described: list[Any] = [part, getattr(part, "options_of", pl.Trainer.__init__)]
        docs = "\n".join(cleandoc(each.__doc__ or "") for each in described)
        meanings = dict(re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", docs, re.MULTILINE))
        for name, (hint, default) in parameters_of(part).items():
            kind = hint.__name__ if isinstance(hint, type) else str(hint)
            chosen = "" if default is Parameter.empty else f", default {getattr(default, '__name__', default)}"
            lines.append(f"--{section}{'.' * bool(section)}{name}  {kind}{chosen}")
            lines.append(f"    {' '.join(meanings.get(name, '').split())}")
    return "\n".join(lines)
