"""The commands in README and docs/ exist, and accept their options and values."""

import shlex
from importlib import import_module
from pathlib import Path

import pytest
from docs_pages import MARKDOWN, REPOSITORY, commands_of, name_of

from glow_app.cli import COMMANDS, TRAINING
from glow_app.commands.parser import Parser
from glow_app.messages import UsageError
from lightning_modules import folder_run
from lightning_modules.command_line.arguments import INIT_FROM, take_option
from lightning_modules.command_line.resumption import Start
from lightning_modules.glow_cli import GlowCLI


class ParsedCLI(GlowCLI):
    """Parses the arguments of ``glow fit`` and builds nothing."""

    def before_instantiate_classes(self) -> None:
        """Do not create the run's folder."""

    def instantiate_classes(self) -> None:
        """Build nothing."""


def new_run(arguments: list[str]) -> Start:
    """Return the start of a run, without ``--init-from``, whose model does not exist."""
    return Start(take_option(INIT_FROM, arguments)[1])


def check(line: str) -> None:
    """Parse a command.

    Raises:
        UsageError: If the command is refused.
    """
    _, command, *arguments = shlex.split(line)
    if command in COMMANDS:
        module = import_module(f"glow_app.commands.{command}")
        parser = Parser(prog=f"glow {command}")
        module.add_arguments(parser)
        parser.parse(arguments)
    else:
        assert command in TRAINING, line
        if command == "fit" and not arguments[0].startswith("-"):
            _, rest = folder_run.options_parser().parse_known_args(arguments)
            ParsedCLI("fit", new_run(["--config=folder_cpu", *rest]))
        elif command == "fit":
            resumed, arguments = take_option("--resume", arguments)
            assert resumed != "auto" or "--run_dir" in arguments, line
            base = [] if resumed in (None, "auto") else ["--config", "digits"]
            ParsedCLI("fit", new_run([*base, *arguments]))
        else:
            checkpoint, rest = take_option("--checkpoint", arguments)
            assert checkpoint, line
            assert not rest, line


@pytest.mark.parametrize("page", MARKDOWN, ids=name_of)
def test_commands_are_accepted(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    for line in dict.fromkeys(commands_of(page.read_text(encoding="utf-8"))):
        try:
            check(line)
        except UsageError as error:
            pytest.fail(f"{line}: {error}")


@pytest.mark.parametrize(
    "line",
    [
        "glow sample --temprature 0.7",
        "glow sample --temperature hot",
        "glow sing",
        "glow fit --config digits --model.flow.num_stairs 8",
        "glow fit --config digits --data.batch_size many",
    ],
)
def test_wrong_commands_are_detected(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises((UsageError, AssertionError)):
        check(line)


def test_pages_contain_commands() -> None:
    assert sum(len(commands_of(page.read_text(encoding="utf-8"))) for page in MARKDOWN) > 50
