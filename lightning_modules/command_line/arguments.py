"""Options that the parser does not know, and configurations before it reads them."""

from pathlib import Path
from typing import Any

import yaml

from glow_app.commands.parser import Parser
from lightning_modules.presets import config_path

_SHORT = {"--config": ["-c"]}
INIT_FROM, INIT_LEVELS_FROM = "--init-from", "--init-levels-from"


def take_options(option: str, arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return all values of ``option``, and the arguments without them; raise UsageError if a value is missing."""
    parser = Parser(prog="glow fit", add_help=False)
    parser.add_argument(option, *_SHORT.get(option, []), dest="values", action="append", default=[])
    taken, rest = parser.parse_known_args(arguments)
    return taken.values, rest


def take_option(option: str, arguments: list[str]) -> tuple[str | None, list[str]]:
    """Return the last value of ``option``, which takes precedence, or None; and the arguments without the option."""
    values, rest = take_options(option, arguments)
    return values[-1] if values else None, rest


def read_config(path: str) -> Any:
    """Return the contents of a configuration file; None if it cannot be read, since the parser reports that better."""
    if not Path(path).is_file():
        return None  # a pipe can be read only once, by the parser
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None


def configs_first(arguments: list[str]) -> list[str]:
    """Put configurations first, since they would override options before them, and replace their names by paths."""
    configs, rest = take_options("--config", arguments)
    return [*(f"--config={config_path(config)}" for config in configs), *rest]
