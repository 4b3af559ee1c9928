"""The tab Create and its viewer: shown, saved and linked images are those of the model."""

import io
import re

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Locator, Page, expect
from server.page.conftest import (
    CLASSES,
    DIRECTIONS,
    Site,
    drawn,
    expect_image,
    png_file,
    reopen,
    saved,
    sent_to,
    shown_image,
    shows,
    visit,
)

from glow_app import pipeline

pytestmark = pytest.mark.slow


def gallery(page: Page) -> torch.Tensor:
    """Return the images of the newest batch."""
    return torch.stack([shown_image(image) for image in page.locator(".batch").first.get_by_role("img").all()])


def draw(page: Page, count: int, seed: int | str) -> Locator:
    page.get_by_label("Count").fill(str(count))
    page.get_by_label("Seed", exact=True).fill(str(seed))
    page.get_by_role("button", name="New pictures").click()
    cards = page.locator(".batch").first.locator(".card")
    expect(cards).to_have_count(count)
    return cards


def edited(site: Site, seed: int, *strengths: float) -> torch.Tensor:
    along = list(zip(site.directions.values(), strengths, strict=False))
    return pipeline.edit(site.model, drawn(site, seed), along, torch.tensor([seed % 3]))[0]


def opened(page: Page, site: Site, place: int) -> Locator:
    visit(page, site.address)
    page.locator(".card .picture").nth(place).click()
    return page.get_by_role("dialog")


def test_samples_appear_and_follow_the_settings(page: Page, site: Site) -> None:
    visit(page, site.address)
    assert shows(gallery(page), drawn(site, *range(6)))
    page.get_by_label("Temperature", exact=True).fill("1.2")
    expect(page.get_by_role("heading", name="temperature 1.20")).to_be_visible()
    assert shows(gallery(page), drawn(site, *range(6), temperature=1.2))
    page.get_by_label("Class").first.select_option("1")
    expect(page.get_by_role("heading", name="one")).to_be_visible()
    expected = site.model.sample(6, temperature=1.2, seeds=0, given=1)
    assert shows(gallery(page), expected)
    expect(page.locator(".batch")).to_have_count(1)
    card = page.locator(".card").nth(4)
    alt = f"Drawn image: {CLASSES[1]}, seed 4, temperature 1.20"
    expect(card.get_by_role("img").first).to_have_attribute("alt", alt)
    card.get_by_role("button").click()
    name, content = saved(page, page.get_by_role("dialog").get_by_role("button", name="Download"))
    assert name == "one-seed4.png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), expected[4, 0].numpy())
    page.keyboard.press("Escape")
    page.get_by_role("button", name="New pictures").click()
    expect(page.get_by_role("heading", name="Seeds 6 to 11")).to_be_visible()  # not the same seeds again
    expect(page.get_by_label("Seed", exact=True)).to_have_value("6")


def test_links_keep_the_settings_of_a_batch(page: Page, site: Site) -> None:
    visit(page, site.address)
    fine, whole = page.get_by_label("Temperature of fine detail"), page.get_by_label("Temperature", exact=True)
    fine.fill("0.5")
    page.get_by_label("Class").first.select_option("2")
    draw(page, 3, 30)
    expected = site.model.sample(3, temperature=[0.5, 0.7], seeds=30, given=2)
    assert shows(gallery(page), expected)
    link = "#sample?count=3&seed=30&temperature=0.5-0.7&given=2"
    page.wait_for_url(f"**/{link}")

    whole.fill("1.4")
    expect(fine).to_have_value("1")  # levels keep their proportions
    expect(page.get_by_role("heading", name="temperature 1.00, 1.40")).to_be_visible()
    assert shows(gallery(page), site.model.sample(3, temperature=[1.0, 1.4], seeds=30, given=2))
    reopen(page, f"{site.address}/{link}")
    expect(page.locator(".card")).to_have_count(3)
    assert shows(gallery(page), expected)
    expect(fine).to_have_value("0.5")
    expect(whole).to_have_value("0.7")
    page.evaluate("location.hash = '#sample?count=2&seed=5'")  # another link, in the same page
    expect(page.get_by_role("heading", name="Seeds 5 to 6")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Seeds 30 to 32")).to_have_count(2)


def test_the_back_button_restores_the_previous_link(page: Page, site: Site) -> None:
    visit(page, f"{site.address}/#sample?seed=30&count=3")
    page.wait_for_url("**/#sample?count=3&seed=30&temperature=0.7")
    # Before the address has settled, as it does a moment after the pictures are there.
    page.evaluate(
        """() => new Promise((resolve) => {
            new MutationObserver((_, observer) => {
                observer.disconnect();
                history.back();
                resolve();
            }).observe(document.getElementById("newest"), { childList: true });
            location.hash = "#sample?count=2&seed=5";
        })"""
    )
    expect(page.get_by_role("heading", name="Seeds 30 to 32")).to_have_count(2)
    # The address of one tab does not wait for another.
    keep = "import('./tabs.js').then((m) => (m.keepSettings('sample', { seed: 5 }), m.keepSettings('edit', {})))"
    page.evaluate(keep)
    page.wait_for_url("**/#sample?seed=5")


def test_invalid_links_show_the_initial_page(page: Page, site: Site) -> None:
    for link in ("count=900&seed=-1&temperature=hot&given=77", "seed=1e9&count=&temperature=1-2-3", "x"):
        reopen(page, f"{site.address}/#sample?{link}")
        expect(page.get_by_role("heading", name="Seeds 0 to 5", exact=True)).to_be_visible()
        page.goto(f"{site.address}/#edit?picture={link}&edit=bold*x")
        expect(page.locator("figcaption").nth(1)).to_have_text("Unchanged")
    for link in ("at=2_0", "at=0_0_0", "at=x", "at=", "first=0_0.7*bold*9*no*1*bold"):
        page.goto(f"{site.address}/#interpolate?{link}")
        expect_image(page, page.locator("#frames .large"), drawn(site, 0)[0])
        expect(page.locator(".strip img")).to_have_count(9)


def test_guidance_starts_at_the_recommendation_and_is_part_of_links(page: Page, guided_site: Site) -> None:
    turns = torch.arange(6) % 3
    visit(page, guided_site.address)
    guidance = page.get_by_label("Guidance", exact=True)
    expect(guidance).to_have_attribute("aria-valuetext", "1.33")
    expect(page.get_by_role("heading", name="Seeds 0 to 5")).to_have_text("Seeds 0 to 5")
    assert shows(gallery(page), guided_site.model.sample(6, [0.5, 0.925], 0, turns, 1.33))
    guidance.fill("1.5")
    expect(page.get_by_role("heading", name="guidance 1.5")).to_be_visible()
    expected = guided_site.model.sample(6, [0.5, 0.925], 0, turns, 1.5)
    assert shows(gallery(page), expected)
    link = "#sample?count=6&seed=0&temperature=0.5-0.925&guidance=1.5"
    page.wait_for_url(f"**/{link}")
    reopen(page, f"{guided_site.address}/{link}")
    expect(page.locator(".card")).to_have_count(6)
    assert shows(gallery(page), expected)
    page.get_by_role("tab", name="Blend").click()
    page.wait_for_url("**/#interpolate?first=0_0.5-0.925_0_1.33&second=1_0.5-0.925_1_1.33&*")
    # A link without guidance is of the model itself.
    reopen(page, f"{guided_site.address}/#sample?count=2&seed=4&temperature=0.7")
    expect(page.get_by_label("Guidance", exact=True)).to_have_value("1")
    expect(page.locator(".card")).to_have_count(2)
    assert shows(gallery(page), guided_site.model.sample(2, 0.7, 4, torch.tensor([1, 2]), 1))


def test_a_slider_does_not_cancel_a_draw(page: Page, site: Site) -> None:
    visit(page, site.address)
    image = draw(page, 1, "").get_by_role("img").first
    seed = int(re.search(r"seed (\d+)", image.get_attribute("alt") or "")[1])  # type: ignore[index]
    assert shows(shown_image(image), drawn(site, seed)[0])
    with site.busy():
        page.get_by_label("Seed", exact=True).fill("40")
        with page.expect_request("**/v1/sample"):
            page.get_by_role("button", name="New pictures").click()
        page.get_by_label("Temperature", exact=True).fill("0.3")
    expect(page.get_by_role("heading", name="Seed 40 · temperature 0.30")).to_be_visible()
    expect(page.locator(".batch")).to_have_count(3)


def test_the_page_works_below_a_path_and_describes_the_model(page: Page, site: Site) -> None:
    page.route(
        "**/inner/**", lambda route: route.fulfill(response=route.fetch(url=route.request.url.replace("/inner", "")))
    )
    visit(page, f"{site.address}/inner/")
    expect(page.get_by_role("link", name="The API behind this page")).to_have_attribute("href", "docs")
    expect(page.locator("header")).to_have_text(re.compile(r"Glow\s+with the model noise"))
    expect(page.locator("#summary")).to_have_text("Draws <b>noise</b>, 8x8. Nothing else.")
    page.get_by_text("About this model").click()
    names, texts = (page.locator(f"#about {tag}").all_inner_texts() for tag in ("dt", "dd"))
    about = dict(zip(names, texts, strict=True))
    assert about["Images"] == "8 \N{MULTIPLICATION SIGN} 8 pixels, grey, 4 bits per value"
    assert about["Classes"] == ", ".join(CLASSES)
    assert about["Bits/dim"] == "3.105 on validation images"
    assert about["Training"] == "14 epochs, 11,802 steps"
    assert "Origin" not in about
    assert not re.search(r"undefined|null|NaN|false", str(about))
    page.unroute_all(behavior="wait")  # or the icon may still be on its way when the page is closed


def test_a_model_with_one_level_and_no_classes_or_directions(page: Page, plain_site: Site) -> None:
    visit(page, plain_site.address)
    assert shows(gallery(page), drawn(plain_site, *range(6)))
    for absent in (
        page.get_by_label("Class").first,
        page.get_by_label("Guidance"),
        page.get_by_label("Temperature of"),
    ):
        expect(absent).to_be_hidden()
    expect(page.get_by_role("tab")).to_have_text(["Create", "Blend", "Score"])
    page.locator(".card .picture").nth(3).click()
    dialog = page.get_by_role("dialog")
    assert shows(shown_image(dialog.get_by_role("img")), drawn(plain_site, 3)[0])
    expect(dialog.get_by_role("slider")).to_have_count(0)
    for name in ("All to 0", "Edit", "Restore"):
        expect(dialog.get_by_role("button", name=name)).to_be_hidden()
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Score").click()
    page.locator("#score-files").set_input_files(png_file(drawn(plain_site, 3)[0]))
    expect(page.locator("#scores li")).to_have_count(1)
    expect(page.locator("#scores ul")).not_to_contain_text("recognised as")
    expect(page.locator("#scores code")).to_contain_text("--checkpoint")


def test_the_viewer_edits_a_sample_and_writes_a_link(page: Page, site: Site) -> None:
    dialog = opened(page, site, 4)
    image = dialog.get_by_role("img")
    dialog.get_by_label(DIRECTIONS[0], exact=True).fill("1.2")
    expect_image(page, image, edited(site, 4, 1.2))
    dialog.get_by_label(DIRECTIONS[1], exact=True).fill("-0.5")
    expect_image(page, image, edited(site, 4, 1.2, -0.5))
    assert (image.get_attribute("alt") or "").endswith(f"temperature 0.70, {DIRECTIONS[0]} +1.2, {DIRECTIONS[1]} -0.5")
    assert saved(page, dialog.get_by_role("button", name="Download"))[0] == "one-seed4-bold-less-b-slanted-b.png"
    page.wait_for_url("**/#sample?count=6&seed=0&temperature=0.7&open=4&edit=bold*1.2*-0.5")
    url = page.url

    # Arrow keys move the slider and not the picture, whose neighbour begins unchanged.
    dialog.get_by_label(DIRECTIONS[0], exact=True).press("ArrowRight")
    expect_image(page, image, edited(site, 4, 1.3, -0.5))
    dialog.get_by_role("button", name="Next image").click()
    expect_image(page, image, drawn(site, 5)[0])
    expect(dialog.get_by_label(DIRECTIONS[0], exact=True)).to_have_value("0")
    page.wait_for_url("**/#sample?count=6&seed=0&temperature=0.7&open=5")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="New pictures").click()
    page.wait_for_url("**/#sample?count=6&seed=6&temperature=0.7")
    page.locator(".batch").nth(1).locator(".picture").nth(2).click()
    page.wait_for_url("**/#sample?count=6&seed=0&temperature=0.7&open=2")  # the batch of the picture that is open
    page.keyboard.press("Escape")
    page.wait_for_url("**/#sample?count=6&seed=6&temperature=0.7")

    reopen(page, url)
    expect_image(page, image, edited(site, 4, 1.2, -0.5))
    dialog.get_by_role("button", name="All to 0").click()
    expect_image(page, image, drawn(site, 4)[0])
    page.evaluate("location.hash = '#score'")  # what is behind the viewer is wanted
    expect(dialog).to_be_hidden()


def test_edits_of_a_picture_are_not_shown_for_the_next(page: Page, site: Site) -> None:
    dialog = opened(page, site, 1)
    sent = sent_to(page, "edit")
    with site.busy():
        slider = dialog.get_by_label(DIRECTIONS[0], exact=True)
        with page.expect_request("**/v1/edit"):
            slider.fill("1")
        slider.fill("0.7")  # waits, and is never sent
        with page.expect_event("requestfailed", lambda request: "v1/edit" in request.url):
            dialog.get_by_role("button", name="Next image").click()
    assert shows(shown_image(dialog.get_by_role("img")), drawn(site, 2)[0])
    dialog.get_by_label(DIRECTIONS[1], exact=True).fill("0.5")
    expect_image(page, dialog.get_by_role("img"), edited(site, 2, 0, 0.5))
    expect(dialog.get_by_role("heading")).to_have_text(f"Seed 2 · {CLASSES[2]}")
    assert [[edit["strength"] for edit in body["edits"]] for body in sent] == [[1], [0.5]]


def test_other_tabs_take_the_edited_sample(page: Page, site: Site) -> None:
    dialog = opened(page, site, 4)
    with site.busy():
        dialog.get_by_label(DIRECTIONS[0], exact=True).fill("1.2")
        for name in ("Blend", "Score", "Download"):  # an edit on its way is waited for
            expect(dialog.get_by_role("button", name=name, exact=True)).to_be_disabled()
    dialog.get_by_role("button", name="Score", exact=True).click()
    expect(page.locator("#scores ul")).to_contain_text("one-seed4-bold.png")

    def change() -> None:
        page.get_by_role("tab", name="Create").click()
        page.locator(".card .picture").nth(4).click()
        dialog.get_by_label(DIRECTIONS[0], exact=True).fill("1.2")
        expect_image(page, dialog.get_by_role("img"), edited(site, 4, 1.2))

    change()
    dialog.get_by_role("button", name="Edit", exact=True).click()
    expect_image(page, page.locator("#edited figure").nth(1).get_by_role("img"), edited(site, 4, 1.2))
    expect(page.locator("#edit-0")).to_have_value("1.2")
    page.wait_for_url("**/#edit?picture=4_0.7_1&given=1&edit=bold*1.2")
    change()
    dialog.get_by_role("button", name="Blend").click()
    link = "#interpolate?first=4_0.7_1*bold*1.2&second=1_0.7_1&frames=9"
    page.wait_for_url(f"**/{link}")
    reopen(page, f"{site.address}/{link}")
    expect_image(page, page.locator("#frames .large"), edited(site, 4, 1.2))
