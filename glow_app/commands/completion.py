"""Print a completion script for a shell, with commands, options, presets and bundled models."""

import argparse
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from glow_app.commands.names import COMMANDS, TRAINING
from glow_app.commands.parser import Parser
from glow_app.storage.places import bundled_models

SHELLS = ("bash", "zsh")
FILE_METAVARS = ("FILE", "FOLDER", "PATH", "PICTURE")


def add_arguments(parser: Parser) -> None:
    """Add the argument for the shell."""
    parser.add_argument("shell", choices=SHELLS, help="bash or zsh")


def run(arguments: argparse.Namespace) -> None:
    """Print the script."""
    import shtab

    names = {"models": bundled_models(), "presets": import_module("lightning_modules.presets").preset_names()}
    functions = "\n".join(_function(arguments.shell, kind, names[kind]) for kind in names)
    root = _root_parser()
    _complete(root, shtab.FILE)
    print(shtab.complete(root, arguments.shell, preamble=functions))


def _root_parser() -> Parser:
    """Return a parser with all commands as subcommands."""
    root = Parser(prog="glow")
    commands = root.add_subparsers()
    fit_options = import_module("lightning_modules.folder_run").options_parser()
    fit = commands.add_parser("fit", help=TRAINING["fit"], parents=[fit_options])
    fit.add_argument("--resume", help="a run or checkpoint to resume", metavar="PATH")
    commands.add_parser("estimate", help=TRAINING["estimate"]).add_argument("--config", help="preset")
    for name in ("validate", "test"):
        commands.add_parser(name, help=TRAINING[name]).add_argument("--checkpoint", help="run or checkpoint")
    presets = commands.add_parser("presets", help=TRAINING["presets"]).add_subparsers()
    presets.add_parser("show", help="print a preset").add_argument("config", help="preset")
    for name, text in COMMANDS.items():
        import_module(f"glow_app.commands.{name}").add_arguments(commands.add_parser(name, help=text))
    return root


def _complete(parser: argparse.ArgumentParser, files: Any) -> None:
    """Set the completion of option values: files and, for some options, names of models or presets."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                _complete(subparser, files)
        elif action.dest in ("checkpoint", "path", "config"):
            function = "_glow_presets_files" if action.dest == "config" else "_glow_models_files"
            action.complete = dict.fromkeys(SHELLS, function)  # type: ignore[attr-defined]
        elif action.metavar in FILE_METAVARS or action.dest == "folder":
            action.complete = files  # type: ignore[attr-defined]


def _function(shell: str, kind: str, names: Iterable[str]) -> str:
    """Return a shell function that completes names and files; shtab relies on the ``_files`` in its name."""
    words = " ".join(names)
    body = f'compgen -W "{words}" -- "$1"; compgen -f -- "$1"' if shell == "bash" else f"compadd {words}; _files"
    return f"_glow_{kind}_files() {{ {body}; }}"
