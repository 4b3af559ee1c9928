"""The pages of the documentation: their commands are accepted, and every link and page has its place."""

import re
import shlex
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

import pytest
from docs_pages import DOCS, MARKDOWN, REPOSITORY, commands_of, links_of, name_of

from glow_app.cli import COMMANDS, TRAINING
from glow_app.commands.parser import Parser
from glow_app.messages import UsageError
from lightning_modules import folder_run
from lightning_modules.command_line.arguments import INIT_FROM, INIT_LEVELS_FROM, take_option
from lightning_modules.command_line.resumption import Start
from lightning_modules.glow_cli import GlowCLI


class ParsedCLI(GlowCLI):
    """Parses the arguments of ``glow fit`` and builds nothing."""

    def before_instantiate_classes(self) -> None:
        """Do not create the run's folder."""

    def instantiate_classes(self) -> None:
        """Build nothing."""


def new_run(arguments: list[str]) -> Start:
    """Return the start of a run, without the model of ``--init-from`` or ``--init-levels-from``."""
    return Start(take_option(INIT_LEVELS_FROM, take_option(INIT_FROM, arguments)[1])[1])


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
            ParsedCLI(new_run(["--config=folder_cpu", *rest]))
        else:
            assert command == "fit", line
            resumed, arguments = take_option("--resume", arguments)
            assert resumed != "auto" or "--run_dir" in arguments, line
            base = [] if resumed in (None, "auto") else ["--config", "digits"]
            ParsedCLI(new_run([*base, *arguments]))


@pytest.mark.parametrize("page", MARKDOWN, ids=name_of)
def test_commands_are_accepted(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    lines = dict.fromkeys(commands_of(page.read_text(encoding="utf-8")))
    assert lines or page.name != "README.md"
    for line in lines:
        try:
            check(line)
        except UsageError as error:
            pytest.fail(f"{line}: {error}")


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", MARKDOWN, ids=name_of)
def test_links_and_pictures_exist(page: Path) -> None:
    for link in links_of(page.read_text(encoding="utf-8")):
        place, _, anchor = unquote(link).partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), f"{link} has no target"
        assert not anchor or anchor in anchors_of(target), f"{link}: no such heading"


@pytest.mark.parametrize("start", [REPOSITORY / "README.md", DOCS / "index.md"], ids=name_of)
def test_every_page_is_reachable_from(start: Path) -> None:
    found, ahead = {start}, [start]
    while ahead:
        page = ahead.pop()
        linked = {(page.parent / link.partition("#")[0]).resolve() for link in links_of(page.read_text("utf-8"))}
        new = {one for one in linked if one.suffix == ".md" and one.is_relative_to(DOCS)} - found
        found |= new
        ahead += new
    assert {page.name for page in MARKDOWN if page.parent == DOCS} <= {page.name for page in found}


def test_the_navigation_lists_every_page_and_part_of_the_reference() -> None:
    for index, pages in ((DOCS / "index.md", DOCS.glob("*.md")), (DOCS / "api" / "index.rst", DOCS.glob("api/*.rst"))):
        lines = index.read_text(encoding="utf-8").splitlines()
        listed = [line.strip() for line in lines]
        missing = [page.stem for page in pages if page != index and listed.count(page.stem) != 1]
        assert not missing, f"{index.name} does not list {missing} in a toctree, once"


def test_pictures_are_small_and_used() -> None:
    shown = {(page.parent / link).resolve() for page in MARKDOWN for link in links_of(page.read_text("utf-8"))}
    for picture in (DOCS / "images").iterdir():
        assert picture.stat().st_size <= 200_000, picture
        assert picture in shown, f"no page shows {picture.name}"
