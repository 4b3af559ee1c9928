"""The pages of the documentation: their commands are accepted, and every link and page has its place."""

import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import torch
from docs_pages import DOCS, MARKDOWN, REPOSITORY, commands_of, links_of, name_of
from PIL import Image
from registry import named, tiny_model

from glow_app.cli import COMMANDS
from glow_app.commands import fit, fit_spec
from glow_app.commands.fit_folder import Choices
from glow_app.commands.parser import Parser
from glow_app.messages import UsageError
from glow_app.storage.pretrained import save_pretrained
from lightning_modules.run import build_parts
from lightning_modules.runs.start import Start


def check(line: str) -> None:
    """Parse a command.

    Raises:
        UsageError: If the command is refused.
    """
    _, command, *arguments = shlex.split(line)
    assert command in COMMANDS, line
    if command != "fit":
        module = import_module(f"glow_app.commands.{command}")
        parser = Parser(prog=f"glow {command}")
        module.add_arguments(parser)
        parser.parse(arguments)
        return
    if "--resume" in arguments and "auto" not in arguments:
        arguments += ["--config", "digits"]  # instead of that of the run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "_refuse_missing", lambda options: None)
        patch.setattr("lightning_modules.runs.start.resumed", lambda *places: Start())
        patch.setattr(fit_spec, "begun", lambda *places: Start())
        patch.setattr(fit_spec, "choose", lambda options, *_: Choices(["folder_cpu", *options.config]))
        patch.setattr(fit_spec, "attribute_kinds", lambda *_: {"smiling": "yes_no"})
        patch.setattr("lightning_modules.run.run", lambda spec, *_: checked_only(spec))
        fit.main(arguments)


def checked_only(spec: Any) -> str:
    """Check the options of a run by their types, without what only one machine has."""
    with torch.device("meta"):
        build_parts(spec | {"trainer": spec["trainer"] | {"accelerator": "cpu", "devices": 1}}, Start())
    return ""


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


BUNDLED = [pytest.param(name, marks=pytest.mark.slow) for name in ("faces", "fashion-mnist", "photos")]


@pytest.mark.parametrize("name", [*BUNDLED, "a run with classes"])
def test_the_readmes_python_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "a run with classes":
        save_pretrained(named(tiny_model(num_classes=3), "cat", "dog", "fox"), tmp_path / name)
    Image.radial_gradient("L").save("portrait.png")
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    assert 'load_model("faces")' in lines
    exec(lines.replace('load_model("faces")', f'load_model("{name}")'), {})
    assert Path("faces.png").exists()


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


def test_every_page_opens_with_a_command_or_a_picture() -> None:
    included = {DOCS / "security.md": REPOSITORY / "SECURITY.md"}
    for page in (included.get(page, page) for page in DOCS.glob("*.md")):
        lines = page.read_text(encoding="utf-8").splitlines()
        first = next(line for line in lines if line and not line.startswith("#"))
        assert first.startswith(("    ", "![")), page.name


def test_pictures_are_small_and_used() -> None:
    shown = {(page.parent / link).resolve() for page in MARKDOWN for link in links_of(page.read_text("utf-8"))}
    for picture in (DOCS / "images").iterdir():
        assert picture.stat().st_size <= 200_000, picture
        assert picture in shown, f"no page shows {picture.name}"
