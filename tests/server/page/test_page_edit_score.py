"""The tabs Edit and Score from end to end."""

import base64
import re
from typing import Any

import pytest
import torch
from app_client import from_base64
from playwright.sync_api import Page, expect
from registry import random_images
from server.page.conftest import (
    CLASSES,
    DIRECTIONS,
    Site,
    Watch,
    drawn,
    expect_image,
    likeliest,
    png_file,
    reopen,
    saved,
    sent_to,
    shown_image,
    shows,
)

from glow_app import pipeline

pytestmark = pytest.mark.slow


def test_a_file_is_edited(page: Page, site: Site) -> None:
    image = random_images(1, (1, 8, 8), seed=2)
    sent = sent_to(page, "edit")
    page.goto(f"{site.address}/#edit")
    page.locator("#edit-file").set_input_files(png_file(image[0]))
    after, notes = page.locator("#edited figure").nth(1), page.locator("#edited .notes")
    label = int(likeliest(site, image)[0])
    expect(notes).to_contain_text(f"recognised as {CLASSES[label]}")
    expect(after).to_contain_text("Unchanged")
    expect_image(page, after.get_by_role("img"), image[0])
    page.locator("#edit-attributes").get_by_label(DIRECTIONS[0], exact=True).fill("1.2")
    page.locator("#edit-attributes").get_by_label(DIRECTIONS[1], exact=True).fill("-0.5")
    expect(after).to_contain_text(f"{DIRECTIONS[0]} +1.2, {DIRECTIONS[1]} -0.5")
    strengths = list(zip(site.directions.values(), [1.2, -0.5], strict=True))
    expected = pipeline.edit(site.model, image, strengths, torch.tensor([label]))
    assert not torch.equal(expected, image)
    expect_image(page, after.get_by_role("img"), expected[0])
    assert torch.equal(shown_image(page.get_by_alt_text("The picture before")), image[0])
    assert sent[-1]["given"] == CLASSES[label]  # what a file is recognised as is asked once
    name, content = saved(page, page.locator("#edited").get_by_role("button", name="Download"))
    assert name == "picture-bold-less-b-slanted-b.png"
    assert shows(from_base64(base64.b64encode(content).decode()), expected[0])

    page.locator("#edit-given").select_option("2")
    expect(notes).to_have_text(CLASSES[2])
    expect_image(page, after.get_by_role("img"), pipeline.edit(site.model, image, strengths, torch.tensor([2]))[0])
    page.get_by_role("button", name="All to 0").click()
    expect(after).to_contain_text("Unchanged")
    expect_image(page, after.get_by_role("img"), image[0])


def test_a_file_that_is_unusual_for_the_model_is_said_to_be(page: Page, site: Site) -> None:
    ordinary, plain = random_images(1, (1, 8, 8), seed=2)[0], torch.full((1, 8, 8), 128, dtype=torch.uint8)
    (verdict,) = site.app.state.service.reference.judge(pipeline.measure(site.model, plain[None]))
    unusual = page.locator("#panel-edit .unusual")
    page.goto(f"{site.address}/#edit")
    for image, expected in ((plain, verdict.reason), (ordinary, ""), (plain, verdict.reason)):
        with page.expect_response("**/v1/score"):
            page.locator("#edit-file").set_input_files(png_file(image))
        expect(unusual).to_have_text(re.compile(f"Unusual for this model: {expected}." if expected else "^$"))
    sent = sent_to(page, "score")
    page.locator("#edit-attributes").get_by_label(DIRECTIONS[0], exact=True).fill("1")
    page.wait_for_url("**/#edit?edit=bold*1")
    expect(unusual).not_to_be_empty()
    assert not sent  # once for each file, and never for samples
    page.get_by_role("tab", name="Blend").click()
    page.locator("#interpolate-1").set_input_files(png_file(plain))
    expect(page.locator("#interpolate-ends .unusual")).to_have_text(["", re.compile(verdict.reason), "", ""])


def test_a_link_restores_an_edit_of_a_sample(page: Page, site: Site) -> None:
    link = "#edit?picture=4_0.7_1&given={}&edit=bold*1.2"
    for label in (1, 2):  # its own, and one that a visitor has chosen
        reopen(page, f"{site.address}/{link.format(label)}")
        expect(page.locator("#edited .notes")).to_have_text(CLASSES[label])
        assert torch.equal(shown_image(page.get_by_alt_text("The picture before")), drawn(site, 4)[0])
        along = [(site.directions[DIRECTIONS[0]], 1.2)]
        expected = pipeline.edit(site.model, drawn(site, 4), along, torch.tensor([label]))
        expect_image(page, page.locator("#edited figure").nth(1).get_by_role("img"), expected[0])
        expect(page.locator("#edit-given")).to_have_value(str(label))
    # Another file opens unchanged. It is in no link, and a class that was chosen stays; that of a drawn picture goes.
    file = png_file(random_images(1, (1, 8, 8))[0])
    page.locator("#edit-file").set_input_files(file)
    page.wait_for_url("**/#edit?given=2")
    reopen(page, f"{site.address}/{link.format(1)}")
    expect(page.locator("#edited figure")).to_have_count(2)
    page.locator("#edit-file").set_input_files(file)
    page.wait_for_url("**/#edit")


def test_moves_of_sliders_are_undone_and_redone(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/#edit")
    image = page.locator("#edited figure").nth(1).get_by_role("img")
    bold, slanted = (page.locator("#edit-attributes").get_by_label(name, exact=True) for name in DIRECTIONS)
    undo, redo = (page.get_by_role("button", name=name) for name in ("Undo", "Redo"))
    expect(page.locator("figcaption").nth(1)).to_have_text("Unchanged")
    expect(undo).to_be_disabled()

    def expect_moves(*strengths: float) -> None:
        along = list(zip(site.directions.values(), strengths, strict=True))
        expect_image(page, image, pipeline.edit(site.model, drawn(site, 0), along, torch.tensor([0]))[0])
        assert [float(slider.input_value()) for slider in (bold, slanted)] == list(strengths)

    bold.evaluate(
        """(slider) => {
            for (const value of [0.4, 0.8, 1.2]) {
                slider.value = value;
                slider.dispatchEvent(new Event("input", { bubbles: true }));
            }
            slider.dispatchEvent(new Event("change", { bubbles: true }));
        }"""
    )
    slanted.fill("-0.5")
    undo.click()
    expect_moves(1.2, 0)
    page.keyboard.press("Control+z")
    expect_moves(0, 0)  # a drag is one step
    expect(undo).to_be_disabled()
    page.keyboard.press("Control+Shift+Z")
    redo.click()
    expect_moves(1.2, -0.5)
    page.get_by_role("button", name="All to 0").click()
    undo.click()
    expect_moves(1.2, -0.5)
    bold.fill("0.3")
    expect(redo).to_be_disabled()
    page.locator("#edit-file").set_input_files(png_file(random_images(1, (1, 8, 8))[0]))
    expect(undo).to_be_disabled()  # of another picture


def test_pictures_are_scored(page: Page, site: Site, watch: Watch) -> None:
    watch.expected_statuses.add(415)
    images = random_images(10, (1, 8, 8), seed=4)
    images[3] = 128
    files: list[Any] = [png_file(image, f"{number}.png") for number, image in enumerate(images)]
    broken = {"name": 'not, "a picture".png', "mimeType": "image/png", "buffer": b"text"}
    page.goto(f"{site.address}/#score")
    page.locator("#score-files").set_input_files([*files, broken])
    rows = page.locator("#scores li")
    expect(rows).to_have_count(11)
    expect(page.locator("#score-task")).to_be_empty()
    reference = site.app.state.service.reference
    measures = pipeline.measure(site.model, images, seeds=range(10))
    verdicts = reference.judge(measures)
    assert measures.given is not None
    order = sorted(range(10), key=lambda number: -verdicts[number].oddness)  # the oddest first
    names = [CLASSES[measures.given[number]] for number in order]
    bits = [float(measures.bits_per_dim[number]) for number in order]
    verdicts = [verdicts[number] for number in order]
    assert rows.locator("strong").all_inner_texts() == [verdict.verdict.capitalize() for verdict in verdicts]
    assert rows.locator(".reason").all_inner_texts() == [verdict.reason for verdict in verdicts]
    assert rows.locator("small").all_inner_texts() == [f"recognised as {name}" for name in names]
    grey = rows.filter(has_text="3.png")
    expect(grey.locator("strong")).to_have_text("Unusual")
    expect(grey).to_contain_text("odder than all")
    assert [float(text.split()[0]) for text in rows.locator(".bits").all_inner_texts()] == pytest.approx(bits, abs=2e-3)
    expect(page.locator("#scores > .hint")).to_contain_text("Percentages are of 60 ordinary images, of which")
    expect(rows.nth(10).locator(".error")).to_contain_text("unknown format or damaged file; ")
    expect(rows.nth(10).locator("svg")).to_have_count(1)

    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#scores ul")).to_have_count(0)
    page.locator("#score-files").set_input_files(files[:1])
    expect(rows).to_have_count(1)
    expect(rows.nth(0).locator(".reason")).to_have_text(verdicts[order.index(0)].reason)
    control = page.get_by_role("button", name="Clear")
    control.focus()
    page.locator("#score-files").set_input_files(files[2])
    expect(rows).to_have_count(2)
    expect(control).to_be_focused()  # rows that come leave the focus where it is
    texts = page.evaluate("import('./scorelist.js').then((m) => [38.4, 95, 95.3, 99.5, 100].map(m.percentText))")
    assert texts == ["38 %", "95 %", "95.3 %", "99.5 %", "all"]  # an unusual picture is not shown at the limit


def test_pictures_can_be_dropped(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/#score")
    files = [png_file(image, f"dropped{n}.png") for n, image in enumerate(random_images(2, (1, 12, 16)))]
    transfer = page.evaluate_handle(
        """(files) => {
            const transfer = new DataTransfer();
            for (const { name, bytes } of files)
                transfer.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
            return transfer;
        }""",
        [{"name": file["name"], "bytes": list(file["buffer"])} for file in files],
    )
    for event in ("dragover", "drop"):
        page.locator("#panel-score .drop").dispatch_event(event, {"dataTransfer": transfer})
    expect(page.locator("#scores li")).to_have_count(2)
    expect(page.locator("#scores ul")).to_contain_text("cropped and reduced to 8x8")
    # One that misses the zone must not take the page's place.
    missed = "(dataTransfer) => !window.dispatchEvent(new DragEvent('drop', { dataTransfer, cancelable: true }))"
    assert page.evaluate(missed, transfer)


def test_pictures_added_during_scoring_are_queued_until_cancelled(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/#score")
    files = [png_file(image, f"{number}.png") for number, image in enumerate(random_images(4, (1, 8, 8)))]
    with site.busy():
        page.locator("#score-files").set_input_files(files)
        expect(page.locator("#score-task")).to_contain_text("Scoring 4 pictures")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#score-task")).to_have_text("Cancelled.")
        for file in files[1:3]:
            page.locator("#score-files").set_input_files(file)
            expect(page.locator("#score-task")).to_contain_text("Scoring ")
    rows = page.locator("#scores li")
    expect(rows).to_have_count(2)
    for name in ("1.png", "2.png"):
        expect(rows.filter(has_text=name)).to_have_count(1)
    expect(page.locator("#score-task")).to_be_empty()
