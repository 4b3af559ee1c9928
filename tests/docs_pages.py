"""The pages of the documentation, their links and their commands."""

import re
from pathlib import Path

__all__ = ["DOCS", "MARKDOWN", "REPOSITORY", "commands_of", "links_of", "name_of"]

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
MARKDOWN = [REPOSITORY / "README.md", REPOSITORY / "SECURITY.md", *sorted(DOCS.glob("*.md"))]

_FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def name_of(page: Path) -> str:
    return page.name


def links_of(text: str) -> list[str]:
    """Return the relative links and pictures of a page, except those inside code."""
    prose = re.sub(r"^ {4}.*$", "", _FENCED.sub("", text), flags=re.MULTILINE)
    found = re.findall(r"\]\(([^()\s]+)\)|<img[^>]*\ssrc=\"([^\"]+)\"", prose)
    return [link for pair in found for link in pair if link and not re.match(r"[a-z]+:", link)]


def commands_of(text: str) -> list[str]:
    """Return the `glow` commands in a page's code blocks, each on one line and without its comment."""
    lines = re.sub(r" \\\n\s+", " ", text).splitlines()
    blocks = (line.strip() for line in lines if line.startswith(("    ", "glow ")))
    blocks = (re.sub(r"^([A-Z_]+=\S+ +)+", "", line) for line in blocks)  # environment variables
    return [line.partition("  #")[0].partition(" # ")[0] for line in blocks if line.startswith("glow ")]
