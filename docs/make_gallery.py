"""Make the pictures of the pages anew, by the commands that stand in them.

    python docs/make_gallery.py
    python docs/make_gallery.py --pages interpolate.md edit.md

Every command of a page is run as it stands, in an empty folder for the page; a comment ``<!-- made: FILE -->`` above a
picture says which of the files that the commands wrote it is.
"""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent
PAGES = ["gallery.md", "sample.md", "interpolate.md", "edit.md", "find-odd-images.md"]
LARGEST = 200_000  # bytes of a picture
# Commands that a page shows without running them: they are about files that nobody has.
SOMEONE_ELSES = ("my_pictures", "runs/mine/TIME")


def commands_of(text: str) -> list[list[str]]:
    """Return the commands of a page's indented blocks, in order, each as words."""
    lines = re.sub(r" \\\n +", " ", text).splitlines()
    shown = [line[4:] for line in lines if re.match(r" {4}(glow|python) ", line)]
    return [shlex.split(line, comments=True) for line in shown if not any(name in line for name in SOMEONE_ELSES)]


def pictures_of(text: str) -> dict[str, str]:
    """Return what the commands write, by the picture of the page that it becomes."""
    return {picture: made for made, picture in re.findall(r"<!-- made: (\S+) -->\n!\[[^]]*\]\((\S+)\)", text)}


def run(command: list[str], folder: Path) -> None:
    """Run a command of a page in a folder."""
    python = [sys.executable] if command[0] == "python" else [sys.executable, "-m", "glow_app.cli"]
    print(shlex.join(command), flush=True)
    subprocess.run([*python, *command[1:]], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def make(page: str) -> None:
    """Make the pictures of a page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in ("configs", "docs", "benchmarks"):
            (folder / name).symlink_to(DOCS.parent / name)
        for command in commands_of(text):
            run(command, folder)
        for picture, made in pictures_of(text).items():
            size = (folder / made).stat().st_size
            if size > LARGEST:
                raise SystemExit(f"{made} of {page} has {size:,} bytes; expected at most {LARGEST:,}: draw less")
            shutil.copyfile(folder / made, DOCS / picture)
            print(f"{picture}: {size:,} bytes", flush=True)


def main() -> None:
    """Make those of all pages, or of some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", nargs="+", choices=PAGES, default=PAGES)
    for page in parser.parse_args().pages:
        make(page)


if __name__ == "__main__":
    main()
