"""List the configurations that come with the package, for glow fit --config NAME, or print one.

A preset is a whole experiment. An overlay changes a part of it: glow fit --config folder32 --config prior/maf
"""

import re
from argparse import Namespace
from pathlib import Path
from textwrap import fill

from glow_app.commands.parser import Parser
from glow_app.messages import UsageError, closest

CONFIGS = Path(__file__).with_name("configs")


def preset_names() -> list[str]:
    """Return the names of all presets and overlays, such as ``folder32`` or ``prior/maf``."""
    return sorted(path.relative_to(CONFIGS).with_suffix("").as_posix() for path in CONFIGS.rglob("*.yaml"))


def config_path(name: str) -> str:
    """Return the path of a preset or, if there is none, of a file; raise UsageError if there is neither."""
    names = preset_names()
    if name in names:
        return str(CONFIGS / f"{name}.yaml")
    if Path(name).exists() and not Path(name).is_dir():
        return name
    hint = closest(name, names)
    raise UsageError(f"there is no configuration {name}, neither a file nor a preset{hint} (see glow presets)")


def header(path: Path) -> str:
    """Return the comment at the top of a configuration as a single line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    end = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return " ".join(line.removeprefix("#").strip() for line in lines[:end])


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.add_argument("action", nargs="?", choices=("show",), help="print one")
    parser.add_argument("name", nargs="?", help="name of a preset or overlay", metavar="NAME")


def run(arguments: Namespace) -> None:
    """List the presets and overlays, or print a single one."""
    if arguments.action is None:
        _print_list()
    elif arguments.name is None:
        raise UsageError("glow presets show needs the NAME of a preset")
    else:
        print(Path(config_path(arguments.name)).read_text(encoding="utf-8"), end="")


def _print_list() -> None:
    """Print what each preset is, by the first words after the command in its header, and the names of overlays."""
    overlays: dict[str, list[str]] = {}
    for name in preset_names():
        if "/" in name:
            overlays.setdefault(name.partition("/")[0], []).append(name)
        else:
            what = re.split("[.:] ", header(CONFIGS / f"{name}.yaml").split("  ")[1])[0]
            print(fill(f"{name:<18} {what}", 80, subsequent_indent=19 * " "))
    for names in overlays.values():
        print("\n" + fill("  ".join(names), 80))
    print("\nTrain one: glow fit --config NAME. Print one: glow presets show NAME.")
