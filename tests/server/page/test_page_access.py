"""Accessibility: keyboard, screen reader, both colour schemes, phone."""

import re
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import FilePayload, Page, Route, expect
from registry import random_images
from server.page.conftest import Site, Watch, png_file, visit

from glow_app.evaluation.report import write_report

pytestmark = pytest.mark.slow

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def fill(page: Page) -> None:
    """Fill every tab with results, including long file names."""
    images = [png_file(image, f"{'a_long_name_' * 6}{n}.png") for n, image in enumerate(random_images(3, (1, 9, 8)))]
    page.get_by_role("tab", name="Blend").click()
    page.locator("#interpolate-0").set_input_files(images[0])
    page.locator("#interpolate-1").set_input_files(images[1])
    page.get_by_label("Frames").fill("30")
    page.get_by_label("Frames").press("Enter")
    expect(page.locator(".strip img")).to_have_count(30)
    page.get_by_role("tab", name="Edit").click()
    page.locator("#edit-file").set_input_files(images[2])
    expect(page.locator("#edited figure")).to_have_count(2)
    page.get_by_role("tab", name="Score").click()
    broken: FilePayload = {"name": "no", "mimeType": "", "buffer": b"picture"}
    page.locator("#score-files").set_input_files([*images, broken])
    expect(page.locator("#scores li")).to_have_count(4)
    page.set_viewport_size({"width": 360, "height": 740})
    expect(page.get_by_role("list", name="Scores").get_by_role("listitem").first).to_contain_text("long_name")
    page.get_by_text("About this model").click()


def check(page: Page, part: str = "html", ground: str = "var(--ground)") -> None:
    # Axe passes over texts on a gradient, so it is given each end of the halo's for the whole page.
    page.evaluate("(ground) => (document.documentElement.style.background = ground)", ground)
    results = Axe().run(page, context=part, options={"resultTypes": ["violations"]})
    assert results.violations_count == 0, results.generate_report()


def check_widths(page: Page) -> None:
    """Check that no tab is wider than the screen."""
    for name in page.get_by_role("tab").all_inner_texts():
        page.get_by_role("tab", name=name).click()
        for width in (320, 360, 390, 800, 820, 1100):
            page.set_viewport_size({"width": width, "height": 740})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
            ends = (
                "['#tab-score', '[role=tablist]'].map((id) => document.querySelector(id).getBoundingClientRect().right)"
            )
            last, tabs = page.evaluate(ends)
            assert last <= tabs


def test_no_overflow_and_no_axe_violation(page: Page, site: Site, watch: Watch) -> None:
    watch.expected_statuses.add(415)
    visit(page, site.address)
    fill(page)
    check_widths(page)
    page.get_by_role("tab", name="Create").click()
    page.locator(".picture").first.click()
    parts = "Math.max(...[...document.querySelectorAll('dialog *')].map((part) => part.getBoundingClientRect().right))"
    for width in (320, 820):
        page.set_viewport_size({"width": width, "height": 740})
        assert page.evaluate(parts) <= width
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        check(page)
    page.keyboard.press("Escape")
    page.evaluate("document.querySelectorAll('[role=tabpanel]').forEach((panel) => (panel.hidden = false))")
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        for ground in ("var(--ground)", "var(--halo)"):
            check(page, ground=ground)


def test_no_overflow_and_no_axe_violation_while_restoring(page: Page, restoring_site: Site) -> None:
    page.goto(f"{restoring_site.address}/#restore?restorer=fill&picture=0_0.7_")
    expect(page.locator(".choices")).to_be_visible()
    page.get_by_text("Rectangle by numbers").click()
    check_widths(page)
    page.get_by_role("tab", name="Restore").click()
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        check(page, "#panel-restore")
    page.get_by_role("combobox", name="Task").select_option(label="Photograph: clean (noise, JPEG)")
    page.get_by_role("switch", name="Show possible originals").check()
    expect(page.locator(".choices")).to_be_visible()
    check(page, "#restore-form")
    page.get_by_role("tab", name="Blend").click()
    page.get_by_text("Four", exact=True).click()
    expect(page.locator(".square")).to_be_visible()
    check(page, "#panel-interpolate")
    page.set_viewport_size({"width": 320, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_the_key_form_has_no_axe_violation(page: Page, keyed_site: Site, watch: Watch) -> None:
    watch.expected_statuses.add(401)
    page.goto(keyed_site.address)
    page.get_by_label("Key").fill("wrong")
    page.get_by_role("button", name="Use this key").click()
    expect(page.locator("#key-error")).not_to_be_empty()
    check(page)
    page.evaluate("document.getElementById('key-hint').style.color = '#bbbbbb'")
    with pytest.raises(AssertionError, match="color-contrast"):
        check(page)


def test_hidden_tabs_announce_nothing(page: Page, site: Site) -> None:
    held: list[Route] = []
    visit(page, site.address)
    page.route("**/v1/interpolate", lambda route: held.append(route))
    with page.expect_request("**/v1/interpolate"):
        page.get_by_role("tab", name="Blend").click()
    page.get_by_role("tab", name="Create").click()
    page.get_by_role("button", name="New pictures").click()
    expect(page.get_by_role("status")).to_have_text("6 images drawn")
    for route in held:
        route.continue_()
    expect(page.locator(".strip img")).to_have_count(9)
    expect(page.get_by_role("status")).to_have_text("6 images drawn")
    page.go_back()
    expect(page.get_by_role("tabpanel", name="Blend")).to_be_visible()


def test_everything_works_by_keyboard(page: Page, site: Site) -> None:
    visit(page, site.address)
    expect(page.get_by_role("tablist")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("tab", name="Create")).to_be_focused()
    page.keyboard.press("ArrowRight")
    moves = [("ArrowRight", "Blend", "interpolate"), ("End", "Score", "score"), ("ArrowRight", "Create", "sample")]
    for key, name, link in [*moves, ("ArrowLeft", "Score", "score")]:
        page.keyboard.press(key)
        tab = page.get_by_role("tab", name=name)
        expect(tab).to_be_focused()
        expect(tab).to_have_attribute("aria-selected", "true")
        expect(page.get_by_role("tabpanel", name=name)).to_be_visible()
        assert page.get_by_role("tabpanel").count() == 1
        assert re.search(rf"#{link}(\?|$)", page.url)
    page.keyboard.press("Tab")
    expect(page.locator("#score-files")).to_be_focused()
    outline = "getComputedStyle(document.querySelector('#panel-score .drop-body')).outlineStyle"
    assert page.evaluate(outline) == "solid"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Home")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="New pictures")).to_be_focused()
    temperature = page.get_by_label("Temperature", exact=True)
    temperature.press("ArrowRight")
    expect(temperature).to_have_value("0.75")

    page.get_by_label("Count").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".card")).to_have_count(12)
    expect(page.get_by_role("status")).to_have_text("6 images drawn")
    first = page.get_by_role("button", name="Drawn image").first
    assert "temperature 0.75" in (first.get_by_role("img").get_attribute("alt") or "")
    first.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text("Seed 6 · naught")
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("heading")).to_have_text("Seed 7 · one")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(first).to_be_focused()


def test_the_report_of_a_run_fits_a_phone(tmp_path: Path, page: Page) -> None:
    (tmp_path / "metrics.csv").write_text("step,val/bpd,train/bpd,images_per_second\n9,3.25,4.5,31\n")
    (tmp_path / "config.yaml").write_text("name: cats\nflow: {type: glow}\n")
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(write_report(tmp_path).as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
