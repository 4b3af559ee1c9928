"""Make the pictures of docs/page.md: the page of ``glow serve`` in Chromium, light and dark, wide and on a phone.

    python docs/page_pictures.py [--output docs/images] [any option of glow serve, such as --checkpoint PATH]

Needs the ``dev`` extra, and a Chromium: that of Playwright, or the one that CHROMIUM or the PATH names.
"""

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from playwright.sync_api import FilePayload, Locator, Page, sync_playwright

from glow_app.data.faces.drawing import render_face
from glow_app.data.faces.face import draw_face

Scheme = Literal["light", "dark"]

# By the end of the file's name: the size, and the colour scheme of each tab, so that both are seen.
LOOKS: dict[str, tuple[tuple[int, int], tuple[Scheme, ...]]] = {
    "": ((1280, 860), ("light", "dark", "light", "dark", "light", "dark")),
    "-phone": ((390, 844), ("dark", "light", "dark", "light", "dark", "light")),
}
ATTRIBUTE = "smiling"
SIDE = 256  # of the bundled model's pictures
COLOURS = 160  # of the files, which are small, and in which no value is far wrong


@contextmanager
def serving(options: Sequence[str]) -> Iterator[str]:
    """Run ``glow serve`` on a free port; yield its address."""
    command = [sys.executable, "-m", "glow_app.cli", "serve", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = (re.search(r"running on (http://\S+)", line) for line in process.stderr)
            address = next((match[1] for match in found if match), None)
            if address is None:
                raise SystemExit("the server did not start")
            threading.Thread(target=process.stderr.read, daemon=True).start()  # a full pipe would stop the server
            yield address
        finally:
            process.terminate()


def upload(name: str, pixels: np.ndarray) -> FilePayload:
    """Return a picture as a file that is chosen in the page."""
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, format="PNG")
    return {"name": name, "mimeType": "image/png", "buffer": buffer.getvalue()}


def draw(page: Page) -> None:
    """Wait for the gallery that the page's link opens."""
    page.locator(".card").nth(11).wait_for()


def hand_over(page: Page, place: int, use: str) -> None:
    """Use a picture of the gallery in another tab."""
    page.get_by_role("tab", name="Create").click()
    page.locator(".card .picture").nth(place).click()
    page.get_by_role("dialog").get_by_role("button", name=use, exact=True).click()


def change(place: Locator) -> None:
    """Change the attribute, by a switch if the model was trained with it, or else by a slider."""
    switch = place.get_by_role("radiogroup", name=ATTRIBUTE, exact=True)
    if switch.is_visible():
        switch.locator("label:visible:not(:has(:checked))").filter(has_not_text="Any").last.click()
    else:
        place.get_by_label(ATTRIBUTE).fill("1.2")


def view(page: Page) -> None:
    """Open a sample and change it."""
    page.locator(".card .picture").nth(2).click()
    change(page.get_by_role("dialog"))
    page.locator(f".viewer-picture img[alt*='{ATTRIBUTE}']").wait_for()


def interpolate(page: Page) -> None:
    """Blend four samples."""
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Blend").click()
    page.get_by_text("Four", exact=True).click()
    for place in (7, 9, 1, 5):
        page.locator("#interpolate-samples .picture").nth(place).click()
    page.locator("#interpolate-ends", has_text="seed5").wait_for()
    page.get_by_label("Across").press("ArrowLeft")
    page.get_by_label("Across").press("ArrowDown")
    page.locator("#interpolate-task:empty").wait_for(state="attached")
    page.locator("#frames").scroll_into_view_if_needed()


def edit(page: Page) -> None:
    """Change a sample beside itself."""
    hand_over(page, 0, "Edit")
    page.locator("figcaption", has_text="Unchanged").wait_for()
    change(page.locator("#edit-attributes"))
    page.locator("figcaption", has_text=ATTRIBUTE).wait_for()


def restore(page: Page) -> None:
    """Restore the photograph that the tab begins with."""
    page.get_by_role("tab", name="Restore").click()
    page.locator("#restored .compare img").first.wait_for()
    page.locator("#restore-task:empty").wait_for(state="attached")
    page.locator("#restored .compare").scroll_into_view_if_needed()


def score(page: Page) -> None:
    """Score faces that the model has not seen, and pictures that are none."""
    page.get_by_role("tab", name="Score").click()
    files = [upload(f"face{n}.png", render_face(draw_face(2, n), SIDE).transpose(1, 2, 0)) for n in (2, 3, 5, 22)]
    _, across = np.mgrid[:SIDE, :SIDE]
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE))
    files += [upload("plain.png", 0 * across + 64), upload("ramp.png", across), upload("noise.png", noise)]
    page.locator("#score-files").set_input_files(files)
    page.locator("#scores li").nth(6).wait_for()


TABS = {"sample": draw, "viewer": view, "interpolate": interpolate, "edit": edit, "score": score, "restore": restore}


def keep(page: Page, path: Path) -> None:
    """Save what is seen when the full size has replaced previews, as a small file."""
    page.wait_for_timeout(1000)
    page.locator(".progress").last.wait_for(state="detached")
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    picture = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
    few = picture.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1024} KiB")


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "images")
    arguments, options = parser.parse_known_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with serving(options) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for look, (size, schemes) in LOOKS.items():
            width, height = size
            page = browser.new_page(viewport={"width": width, "height": height}, reduced_motion="reduce")
            page.set_default_timeout(300_000)
            page.goto(f"{address}/#sample?count=12")
            for (name, prepare), scheme in zip(TABS.items(), schemes, strict=True):
                prepare(page)
                page.emulate_media(color_scheme=scheme)
                if not look:  # on a phone the results are below the settings, and that is where they are seen
                    page.evaluate("scrollTo(0, 0)")
                keep(page, arguments.output / f"page-{name}{look}.png")
        browser.close()


if __name__ == "__main__":
    main()
