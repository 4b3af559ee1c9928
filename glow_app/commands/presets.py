"""List the configurations that come with the package, for glow fit --config NAME, or print one.

A preset is a whole experiment. An overlay changes a part of it: glow fit --config folder32 --config prior/maf
"""

import re
from argparse import Namespace
from pathlib import Path
from textwrap import fill

import yaml

from glow_app.commands.parser import Parser
from glow_app.messages import UsageError, closest

CONFIGS = Path(__file__).with_name("configs")

_ROW = "{:<18} {:<9} {:<4} {:<6} {}"


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


def expected(path: Path) -> tuple[str, str]:
    """Return the expected bits/dim of a preset and the source of the figure, from its header."""
    comment = header(path)
    figure = re.search(r"Expected: (\d\.\d+) bits/dim( for \w+)?", comment)
    if figure is None:
        return "depends on the pictures", "not measured"
    published = re.search(r"Published by ([^(]+) \([^)]*\)( for [\w ]+)?", comment)
    source = "measured here" if published is None else f"published by {published[1]}{published[2] or ''}"
    return figure[1] + (figure[2] or ""), source


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
    print(_ROW.format("preset", "image", "bits", "params", "expected bits/dim, source"))
    overlays: dict[str, list[str]] = {}
    for name in preset_names():
        if "/" in name:
            overlays.setdefault(name.partition("/")[0], []).append(name)
            continue
        path = CONFIGS / f"{name}.yaml"
        model = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]
        channels, height, width = model["flow"]["init_args"]["image_shape"]
        parameters = header(path).partition(" parameters.")[0].rpartition(" ")[2]
        figure, source = expected(path)
        figure = re.sub(r" for (\w+)", r" (\1)", figure)
        source = source.removeprefix("published by ").partition(" for ")[0]
        figures = figure if source == "not measured" else f"{figure}, {source}"
        print(_ROW.format(name, f"{height}x{width}x{channels}", model["num_bits"], parameters, figures))
    for names in overlays.values():
        print("\n" + fill("  ".join(names), 80))
    print("\nTrain one: glow fit --config NAME. Print one: glow presets show NAME.")
