"""Every page is reachable from the first one, and every link has a target."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from docs_pages import DOCS, MARKDOWN, REPOSITORY, links_of, name_of


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
