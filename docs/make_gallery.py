"""Recreate the pictures of the pages by running the pages' commands.

    python docs/make_gallery.py
    python docs/make_gallery.py --pages interpolate.md edit.md

The commands of a page are run unchanged in an empty folder. A comment ``<!-- made: FILE -->`` above a picture names
the file, written by these commands, that it is copied from.
"""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageSequence

DOCS = Path(__file__).parent
PAGES = ["../README.md", "gallery.md", "sample.md", "interpolate.md", "edit.md"]
LARGEST = 200_000  # bytes of a picture
WIDEST, NARROW = 1280, 192  # sides of pictures and of animations that are kept as WebP
# Commands on these files are not run, because the files do not exist.
NOT_AVAILABLE = ("my_pictures", "runs/mine/TIME", "photo.jpg")


def commands_of(text: str) -> list[list[str]]:
    """Return the commands of a page's indented blocks, in order, each as words."""
    lines = re.sub(r" \\\n +", " ", text).splitlines()
    shown = [line[4:] for line in lines if re.match(r" {4}(glow|python) ", line)]
    return [shlex.split(line, comments=True) for line in shown if not any(name in line for name in NOT_AVAILABLE)]


def pictures_of(text: str) -> dict[str, str]:
    """Return the file that the commands write for each picture of a page."""
    return {picture: made for made, picture in re.findall(r"<!-- made: (\S+) -->\n!\[[^]]*\]\((\S+)\)", text)}


def matching(pattern: str, folder: Path) -> list[str]:
    """Return the files in a folder that a word of a command means, as a shell does."""
    return sorted(str(path.relative_to(folder)) for path in folder.glob(pattern)) if "*" in pattern else [pattern]


def run(command: list[str], folder: Path) -> None:
    """Run a command of a page in a folder."""
    command = [word for pattern in command for word in matching(pattern, folder)]
    python = [sys.executable] if command[0] == "python" else [sys.executable, "-m", "glow_app.cli"]
    print(shlex.join(command), flush=True)
    subprocess.run([*python, *command[1:]], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def reduce(path: Path, picture: Path) -> None:
    """Write a picture or an animation as a small WebP."""
    with Image.open(path) as opened:
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(opened)]
        duration = opened.info.get("duration", 100)
    for frame in frames:
        frame.thumbnail((WIDEST, WIDEST) if len(frames) == 1 else (NARROW, NARROW))
    more = {"save_all": True, "append_images": frames[1:], "duration": duration, "loop": 0} if frames[1:] else {}
    frames[0].save(picture, quality=80, method=6, **more)


def make(page: str) -> None:
    """Recreate the pictures of a page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in ("configs", "docs", "benchmarks"):
            (folder / name).symlink_to(DOCS.parent / name)
        for command in commands_of(text):
            run(command, folder)
        for picture, made in pictures_of(text).items():
            target = (DOCS / page).parent / picture
            if picture.endswith(".webp"):
                reduce(folder / made, target)
            else:
                shutil.copyfile(folder / made, target)
            size = target.stat().st_size
            if size > LARGEST:
                raise SystemExit(f"{picture} of {page} has {size:,} bytes; expected at most {LARGEST:,}; draw fewer")
            print(f"{picture}: {size:,} bytes", flush=True)


def main() -> None:
    """Recreate the pictures of all pages, or of those named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", nargs="+", choices=PAGES, default=PAGES)
    for page in parser.parse_args().pages:
        make(page)


if __name__ == "__main__":
    main()
