"""Measure the page of ``glow serve`` in Chromium: time from a click to painted pictures, and frames while dragging.

    python benchmarks/page.py [--checkpoint PATH] [--repeats 30] [--seconds 5]

Moves are timed one after another, from the slider's event until the browser presents the requested picture, by the
``renderTime`` of the Element Timing API: first until any picture, such as a preview, then, as the slider rests, until
the picture at full size. During a drag, the slider gets a new value every 16 ms, as from a mouse, and
the frames with a new picture are counted. Needs the ``dev`` extra and Chromium, found on the PATH or by the environment
variable CHROMIUM.
"""

import argparse
import os
import shutil
import statistics
from pathlib import Path
from typing import Any

from common import IS_SHORT, serving, write_result, write_table
from playwright.sync_api import Page, sync_playwright

RANGE = "input[type=range]"
COLUMNS = {"p50_ms": "{:.0f} ms", "p90_ms": "{:.0f} ms", "per_second": "{:.1f}"}
# Resolves with the milliseconds from a click on New pictures until the pictures are decoded and painted.
CLICK = """async () => {
    const frame = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    const before = document.querySelector(".batch");
    const begun = performance.now();
    document.querySelector("#draw").click();
    while (document.querySelector(".batch") === before) await frame();
    await Promise.all([...document.querySelector(".batch").querySelectorAll("img")].map((image) => image.decode()));
    await frame();
    return performance.now() - begun;
}"""
# Resolves with the milliseconds of each move of a slider until a new image, at least so wide, is presented.
MOVE = """async ([slider, image, count, width]) => {
    const input = document.querySelector(slider);
    const [low, high] = [Number(input.min), Number(input.max)];
    document.querySelector(image).setAttribute("elementtiming", "move");
    const times = [];
    for (let number = 0; number < count; number++) {
        const begun = performance.now();
        const presented = new Promise((resolve) => {
            new PerformanceObserver((list, observer) => {
                const shown = list.getEntries().find((each) => each.renderTime > begun && each.naturalWidth >= width);
                if (!shown) return;
                observer.disconnect();
                resolve(shown.renderTime - begun);
            }).observe({ type: "element" });
        });
        input.value = low + (high - low) * ((0.13 + 0.37 * number) % 1);
        input.dispatchEvent(new Event("input", { bubbles: true }));
        times.push(await presented);
    }
    return times;
}"""
# Resolves with the number of frames per second with a new image while a slider moves.
DRAG = """async ([slider, image, seconds]) => {
    const input = document.querySelector(slider);
    const [low, high] = [Number(input.min), Number(input.max)];
    const end = performance.now() + 1000 * seconds;
    let [shown, changes] = [document.querySelector(image).src, 0];
    const moves = setInterval(() => {
        const turn = (performance.now() % 2000) / 2000;
        input.value = low + (high - low) * (turn < 0.5 ? 2 * turn : 2 - 2 * turn);
        input.dispatchEvent(new Event("input", { bubbles: true }));
    }, 16);
    while (performance.now() < end) {
        await new Promise((resolve) => requestAnimationFrame(resolve));
        const { src, complete } = document.querySelector(image);
        if (src !== shown && complete) [shown, changes] = [src, changes + 1];
    }
    clearInterval(moves);
    return changes / seconds;
}"""


def clicks(page: Page, count: int, repeats: int) -> dict[str, float]:
    """Return the milliseconds from a click until ``count`` pictures are painted."""
    page.locator("#sample-count").fill(str(count))
    return quantiles([page.evaluate(CLICK) for _ in range(repeats + 3)][3:])


def moves(page: Page, name: str, slider: str, image: str, repeats: int, seconds: float) -> dict[str, dict[str, float]]:
    """Return the milliseconds until the picture of a move is painted, and the new pictures per second of dragging.

    A further row has the milliseconds until it is painted at full size, where a preview comes first.
    """
    _, _, width = page.request.get("/v1/info").json()["image_shape"]
    times, whole = (page.evaluate(MOVE, [slider, image, repeats + 3, least])[3:] for least in (0, width))
    results = {name: quantiles(times) | {"per_second": page.evaluate(DRAG, [slider, image, seconds])}}
    return results | {f"{name}, full size": quantiles(whole)}


def quantiles(times: list[float]) -> dict[str, float]:
    return {"p50_ms": statistics.median(times), "p90_ms": statistics.quantiles(times, n=10)[8]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="fashion-mnist")
    parser.add_argument("--repeats", type=int, default=5 if IS_SHORT else 30)
    parser.add_argument("--seconds", type=float, default=1.0 if IS_SHORT else 5.0)
    arguments = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    results: dict[str, Any] = {}
    with serving(arguments.checkpoint) as (_, port), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, base_url=f"http://127.0.0.1:{port}")
        page.goto("/")
        page.locator(".card").first.wait_for()
        page.get_by_text("More settings").first.click()
        for count in (1, 16):
            results[f"click to {count}"] = clicks(page, count, arguments.repeats)
        for count in (1, 8, 16):
            page.locator("#sample-count").fill(str(count))
            page.evaluate(CLICK)
            changes = page.evaluate(DRAG, ["#temperature", ".batch img", arguments.seconds])
            results[f"temperature of {count}"] = {"per_second": changes}
        settings = arguments.repeats, arguments.seconds
        page.locator(".card .picture").first.click()
        if page.locator("#viewer-attributes").is_visible():
            results |= moves(page, "attribute", f"#viewer-attributes {RANGE}", ".viewer-picture img", *settings)
        page.keyboard.press("Escape")
        page.get_by_role("tab", name="Edit").click()
        if page.locator("#edit-attributes").is_visible():
            page.locator("figcaption", has_text="Unchanged").wait_for()
            results |= moves(page, "edit", f"#edit-attributes {RANGE}", "#edited figure:last-child img", *settings)
        page.get_by_role("tab", name="Blend").click()
        page.get_by_text("Four", exact=True).click()
        page.locator(".square img").nth(24).wait_for()
        results |= moves(page, "blend of four", ".handle input", ".blend .large", *settings)
        browser.close()
    write_result("page", {"checkpoint": Path(arguments.checkpoint).name, "results": results})
    rows = [
        [name, *(form.format(one[key]) if key in one else "" for key, form in COLUMNS.items())]
        for name, one in results.items()
    ]
    write_table("page", ["", "median", "90th percentile", "shown in a second of dragging"], rows, page="page.md")


if __name__ == "__main__":
    main()
