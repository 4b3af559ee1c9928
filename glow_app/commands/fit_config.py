"""The configuration of a run, a single dictionary: layers of presets and choices, then the options of the command."""

import re
from argparse import ArgumentError
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from pydoc import locate
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from glow_app.commands.presets import config_path
from glow_app.messages import UsageError, closest
from glow_app.nn.class_path import class_path
from glow_app.spec import REGISTRY
from lightning_modules.kinds import KINDS, Kind, KindName
from lightning_modules.runs.run_trainer import RunTrainer

BASE_CONFIG = Path(__file__).with_name("base.yaml")  # defaults of all experiments
_SPEC = {"class_path", "init_args"}

# What options may name, whoever wrote them, beside what is registered. These packages hold the mathematics and
# what trains it, and two classes of Lightning are those of the presets.
_IMPORTABLE = (
    *(f"glow_app.{package}" for package in ("bijections", "conditioning", "flows", "nn", "priors", "restoration")),
    *(f"lightning_modules.{module}" for module in ("optimizers", "schedules", "runs.loggers")),
    "torch.optim",
    "pytorch_lightning.loggers.TensorBoardLogger",
    "pytorch_lightning.loggers.tensorboard.TensorBoardLogger",
    "pytorch_lightning.strategies.DDPStrategy",
    "pytorch_lightning.strategies.ddp.DDPStrategy",
)


def read_layer(name: str | Path) -> dict[str, Any]:
    """Return the contents of a preset or a file; raise UsageError if it is not YAML of options."""
    path = config_path(str(name))
    try:
        layer = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise UsageError(f"glow fit: parsing {path}: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(layer, dict):
        raise UsageError(f"glow fit: {path} contains no options of a run")
    return layer


def merged(*layers: Mapping[str, Any], is_run: bool = True) -> dict[str, Any]:
    """Return nested options as one dictionary; later layers replace values of earlier ones.

    If a later layer replaces a class by another, the arguments that the other one takes too remain. Loggers of other
    classes are added to earlier ones, since a run may have several.
    """
    result: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            earlier = result.get(name)
            if name == "logger" and not is_run and earlier and isinstance(value, dict | list):
                value = _joined(earlier, value)
            elif isinstance(earlier, dict) and isinstance(value, dict):
                if earlier.keys() & _SPEC:
                    value = value if value.keys() & _SPEC else {"init_args": value}
                    earlier = _fitting(earlier, value.get("class_path"))
                is_section = is_run or name == "init_args" or bool(earlier.keys() & _SPEC)
                value = merged(earlier, value, is_run=False) if is_section else value
            result[name] = value
    return result


def _joined(earlier: Any, later: Any) -> Any:
    """Return loggers of two layers, as a list if there are several; those of one class become one."""
    loggers = [*earlier] if isinstance(earlier, list) else [earlier]
    for logger in later if isinstance(later, list) else [later]:
        same = (each for each in loggers if logger.get("class_path") in (None, each.get("class_path")))
        if (found := next(same, None)) is None:
            loggers.append(logger)
        else:
            loggers[loggers.index(found)] = merged({"": found}, {"": logger})[""]
    return loggers if len(loggers) > 1 else loggers[0]


def _fitting(spec: Mapping[str, Any], class_path: str | None) -> dict[str, Any]:
    """Return class and arguments of ``spec``, without those that another class does not take."""
    if class_path in (None, spec.get("class_path")):
        return dict(spec)
    part = _importable_part(str(class_path))
    taken = signature(part).parameters if callable(part) else ()
    return {"init_args": {name: value for name, value in spec.get("init_args", {}).items() if name in taken}}


def _importable_part(path: str) -> Any:
    """Return the class at a path that options may name; None for others, which :func:`parse` refuses."""
    may = path in _registered_paths() or path.startswith(tuple(f"{name}." for name in _IMPORTABLE))
    return locate(path) if may else None


def _registered_paths() -> list[str]:
    return [path for path in map(class_path, REGISTRY.values()) if "<" not in path]  # not classes of a function


def parse(config: Mapping[str, Any], overrides: list[str]) -> tuple[ArgumentParser, Namespace]:
    """Return the parser of a kind of run, and all options: of ``config``, replaced by those of the command line.

    Whatever form a value has, a string of JSON or the name of a file too, the parser imports only what may be named.

    Raises:
        UsageError: If the kind, an option or its value is unknown or invalid, or names a class that is not allowed.
    """
    importable = [*_IMPORTABLE, *_registered_paths()]
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=importable)
    if (kind := config.get("kind") or "images") not in KINDS:
        raise UsageError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}")
    parser = run_parser(KINDS[kind])
    try:
        sections = {name: _namespace(value) for name, value in config.items()}
        return parser, parser.parse_args(overrides, namespace=Namespace(sections))
    except (ArgumentError, ValueError) as error:  # refused imports may be bare
        raise UsageError(f"glow fit: {_one_line(str(error), parser)}") from error


def run_parser(kind: Kind) -> ArgumentParser:
    """Return the parser of all options of a kind of run; links copy values shared by data and model."""
    parser = ArgumentParser(prog="glow fit", exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="A preset or a file.")  # brings --print_config
    parser.add_argument("--help-all", action="help", help="List all options and exit.")
    parser.add_argument("--name", type=str, default="run", help="Name of the run: first part of its folder.")
    parser.add_argument("--run_dir", type=str | None, default=None, help="Folder (default: runs/NAME/TIME).")
    parser.add_argument("--kind", type=KindName, default=kind.name, help="Kind of the run.")
    parser.add_argument("--seed_everything", type=int, default=0, help="Seed of the whole run.")
    begins = "Model from which the run begins, as with --init-from and --init-levels-from."
    for name in ("init_from", "init_levels_from"):
        parser.add_argument(f"--{name}", type=str | None, default=None, help=begins)
    options: dict[str, Any] = {"fail_untyped": False, "sub_configs": True}
    parser.add_class_arguments(RunTrainer, "trainer", instantiate=False, **options)
    for name, part in {"model": kind.module, "data": kind.data, **kind.callbacks}.items():
        parser.add_class_arguments(part, name, **options)
    parser.link_arguments("seed_everything", "model.seed")
    parser.link_arguments("seed_everything", "data.seed")
    parser.link_arguments("model.flow.init_args.image_shape", "data.image_shape")
    return parser


def _namespace(value: Any, is_section: bool = True) -> Any:
    """Return sections and classes with arguments as the parser's own type, and other dictionaries as they are."""
    if not isinstance(value, dict) or not (is_section or value.keys() & _SPEC):
        return value
    return Namespace({name: _namespace(part, name == "init_args") for name, part in value.items()})


def _one_line(message: str, parser: ArgumentParser) -> str:
    """Return which option, class or argument is wrong, instead of errors of all types that were tried."""
    text = " ".join(message.split())
    if denied := re.search(r"Importing '([\w.]+)' is not allowed", text):
        return f"{denied[1]} is not part of Glow; if it is yours, register it in a MODULE, and pass --import MODULE"
    words = text.partition("unrecognized arguments: ")[2]
    if words:
        word = words.split("=")[0].split()[0]
        return f"unknown option {word}{closest(word, map('--{}'.format, parser.get_defaults().keys()))}"
    key = "--" + ".".join(re.findall(r'Parser key "([\w.]+)"', text))
    paths = re.findall(r"class_path[ =]'([\w.]+)'", text)
    part = _importable_part(paths[-1]) if paths else None
    if argument := re.search(r"Option '([\w.]+)' is not accepted", text):
        accepted = signature(part).parameters if callable(part) else ()
        return f"{key}: {paths[-1] if paths else 'it'} has no argument {argument[1]}{closest(argument[1], accepted)}"
    if argument := re.search(r"does not accept option '([\w.]+)'", text):
        section = re.findall(r"Group '(\w+)'", text)[-1]
        options = [name.removeprefix(f"{section}.") for name in parser.get_defaults().keys()]  # noqa: SIM118
        return f"{section} has no option {argument[1]}{closest(argument[1], options)}"
    if missing := re.search(r"the following arguments are required: (\w+(?:, \w+)*)", text):
        needed = " ".join(f"{key}.{name} VALUE" for name in missing[1].split(", "))
        return f"{paths[-1].rpartition('.')[2] if paths else 'the run'} needs {missing[1]}; add {needed}"
    if absent := re.search(r"(No module named '[\w.]+'|module '[\w.]+' has no attribute '\w+')", text):
        return f"{key}: there is no such class: {absent[1]}"
    return text[:600]
