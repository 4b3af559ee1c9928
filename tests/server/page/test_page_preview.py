"""Previews of a wavelet flow: while settings change, coarser levels are drawn, and all of them once they rest."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from playwright.sync_api import Page, expect
from registry import random_images, tiny_wavelet_flow
from server.page.conftest import Site, expect_image, png_file, saved, sent_to, served, show_settings, shown_image, visit
from server.page.test_page_attributes import answer

from glow_app.conditioning import AttributeConditioning
from glow_app.models.generation_settings import GenerationSettings
from glow_app.pipeline import edit_attributes, infer
from glow_app.pipeline.loaded_model import LoadedModel

pytestmark = pytest.mark.slow

HALF = [64, 64]


@pytest.fixture(scope="module")
def large_site() -> Iterator[Site]:
    """A wavelet flow of 128x128 with two attributes."""
    conditioning = AttributeConditioning({"hat": "yes_no", "beard": "yes_no"}, 4)
    conditioning.rows.copy_(torch.arange(2 * len(conditioning.rows)).reshape(-1, 2) // 3 % 2)
    model = LoadedModel(tiny_wavelet_flow((3, 128, 128), conditioning=conditioning), 6).eval()
    model.generation = GenerationSettings(0.3)
    with served(model) as site:
        yield site


def rest(page: Page) -> None:
    """Let the time pass after which settings rest; timers wait for it, and nothing else does."""
    page.clock.run_for(1000)


def sizes_of(bodies: list[dict[str, Any]]) -> list[Any]:
    return [body.get("size") for body in bodies]


def test_a_batch_and_the_viewer_show_previews_first(page: Page, large_site: Site) -> None:
    model = large_site.model
    page.clock.install()
    visit(page, large_site.address)
    page.clock.pause_at(page.evaluate("Date.now() + 1000"))
    sent, image = sent_to(page, "sample"), page.locator(".card img").nth(1)
    for text in ("0.25", "0.2"):
        page.get_by_label("Temperature", exact=True).fill(text)
        expect_image(page, image, model.sample(1, float(text), 1, size=(64, 64))[0])
    assert sizes_of(sent) == [HALF, HALF]
    image.click()  # a preview is drawn again to be enlarged
    dialog = page.get_by_role("dialog")
    rest(page)
    expect_image(page, dialog.locator(".large"), model.sample(1, 0.2, 1)[0])
    expect_image(page, image, model.sample(1, 0.2, 1)[0])

    download = dialog.get_by_role("button", name="Download")
    expect(download).to_be_enabled()
    answer(dialog, "hat", "Yes")
    given = {"hat": 1.0}
    expect_image(page, dialog.locator(".large"), model.sample(1, 0.2, 1, given, size=(64, 64))[0])
    expect(download).to_be_disabled()
    rest(page)
    expect_image(page, dialog.locator(".large"), model.sample(1, 0.2, 1, given)[0])
    expect(download).to_be_enabled()


def test_an_edit_shows_previews_until_its_slider_rests(page: Page, large_site: Site) -> None:
    model, picture = large_site.model, random_images(1, (3, 128, 128)) // 4 + 96
    known = infer(model, picture)
    assert known is not None
    page.clock.install()
    page.goto(f"{large_site.address}/#edit")
    page.locator("#edit-file").set_input_files(png_file(picture[0]))
    image = page.locator("#edited img").nth(1)
    expect(page.locator("#edited")).to_contain_text("Unchanged")
    page.clock.pause_at(page.evaluate("Date.now() + 1000"))
    rest(page)
    sent = sent_to(page, "edit")
    answer(page.locator("#edit-attributes"), "hat", "No" if known[0, 0] else "Yes")
    changes = {"hat": 1 - float(known[0, 0])}
    for strength in (0.5, 0.2):
        page.get_by_label("Strength").fill(str(strength))
        expect_image(page, image, edit_attributes(model, picture, changes, known, strength, size=(64, 64))[0])
    rest(page)
    expect_image(page, image, edit_attributes(model, picture, changes, known, 0.2)[0])
    assert sizes_of(sent) == [HALF] * (len(sent) - 1) + [None]


def test_a_blend_is_saved_whole(page: Page, large_site: Site) -> None:
    page.clock.install()
    page.goto(f"{large_site.address}/#interpolate")
    image = page.locator("#frames .large")
    expect(image).to_be_visible()
    page.clock.pause_at(page.evaluate("Date.now() + 1000"))
    rest(page)
    sent = sent_to(page, "interpolate")
    show_settings(page)
    page.locator("#interpolate-frames").fill("3")
    page.locator("#interpolate-frames").blur()
    expect(page.locator("#frames .strip img")).to_have_count(3)
    expect_image(page, image, large_site.model.sample(1, 0.3, 0)[0])  # an end is known whole
    page.get_by_label("Frame", exact=True).press("ArrowRight")
    assert shown_image(image).shape[1:] == (64, 64)
    saved(page, page.get_by_role("button", name="Strip"))
    rest(page)
    assert sizes_of(sent) == [HALF, None]  # what is saved is no preview; nothing else replaces it
