"""List the configurations that come with the package, for glow fit --config NAME, or print one.

A preset is a whole experiment. An overlay changes a part of it: glow fit --config folder32 --config prior/maf
"""

from argparse import Namespace
from pathlib import Path
from textwrap import fill
from typing import Any

from glow_app.commands.parser import Parser
from glow_app.messages import UsageError, closest
from glow_app.storage.run_config import read_yaml

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


def read_preset(name: str) -> dict[str, Any]:
    """Return the contents of a preset or a file; raise UsageError if it is not YAML of options."""
    path = config_path(name)
    try:
        preset = read_yaml(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"glow fit: parsing {path}: {error}") from error
    if not isinstance(preset, dict):
        raise UsageError(f"glow fit: {path} contains no options of a run")
    return preset


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
        preset = read_preset(name)
        channels, height, width = preset["flow"]["image_shape"]
        expected = preset["expected"]
        source = expected.get("source", "not measured").partition(",")[0]
        figures = f"{expected['bits_per_dim']}, {source}" if "source" in expected else source
        shape = f"{height}x{width}x{channels}"
        print(_ROW.format(name, shape, preset["num_bits"], expected["parameters"], figures))
    for names in overlays.values():
        print("\n" + fill("  ".join(names), 80))
    print("\nTrain one: glow fit --config NAME. Print one: glow presets show NAME.")
