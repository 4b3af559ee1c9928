"""What the page does while a setting changes, and what a link to it brings back."""

import pytest
import torch
from playwright.sync_api import Page, expect
from registry import random_images
from server.page.conftest import CLASSES, DIRECTIONS, Site, png_file, saved, sent_to, shown_image, visit

from glow_app import generation

pytestmark = pytest.mark.slow


def gallery(page: Page) -> torch.Tensor:
    return torch.stack([shown_image(image) for image in page.locator(".batch").first.get_by_role("img").all()])


def test_pictures_are_there_and_follow_temperature_and_class(page: Page, site: Site) -> None:
    visit(page, site.address)
    turns = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    assert torch.equal(gallery(page), site.model.sample(8, temperature=0.7, seeds=0, labels=turns))
    page.get_by_label("Temperature", exact=True).fill("1.2")
    expect(page.get_by_role("heading", name="temperature 1.20")).to_be_visible()
    assert torch.equal(gallery(page), site.model.sample(8, temperature=1.2, seeds=0, labels=turns))
    page.get_by_label("Class").first.select_option("1")
    expect(page.get_by_role("heading", name="one")).to_be_visible()
    assert torch.equal(gallery(page), site.model.sample(8, temperature=1.2, seeds=0, labels=torch.ones(8).long()))
    expect(page.locator(".batch")).to_have_count(1)
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.get_by_role("heading", name="Seeds 8 to 15")).to_be_visible()  # the same once more would be no news
    expect(page.get_by_label("Seed", exact=True)).to_have_value("8")


def test_guidance_begins_where_the_model_recommends_and_is_part_of_links(page: Page, guided_site: Site) -> None:
    turns = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    visit(page, guided_site.address)
    guidance = page.get_by_label("Guidance", exact=True)
    expect(guidance).to_have_attribute("aria-valuetext", "1.33")
    expect(page.get_by_role("heading", name="temperature 0.50, 0.93 · guidance 1.33")).to_be_visible()
    expected = guided_site.model.sample(8, temperature=[0.5, 0.925], seeds=0, labels=turns, guidance=1.33)
    assert torch.equal(gallery(page), expected)
    guidance.fill("1.5")
    expect(page.get_by_role("heading", name="guidance 1.5")).to_be_visible()
    expected = guided_site.model.sample(8, temperature=[0.5, 0.925], seeds=0, labels=turns, guidance=1.5)
    assert torch.equal(gallery(page), expected)
    card = page.locator(".card").nth(1)
    assert (card.get_by_role("img").first.get_attribute("alt") or "").endswith("temperature 0.50, 0.93, guidance 1.5")
    assert saved(page, card.get_by_role("button", name="Download"))[0] == "seed000001_t0.50-0.93_g1.5.png"
    link = "#sample?count=8&seed=0&temperature=0.5-0.925&guidance=1.5"
    page.wait_for_url(f"**/{link}")
    page.goto("about:blank")
    visit(page, f"{guided_site.address}/{link}")
    assert torch.equal(gallery(page), expected)
    page.get_by_role("tab", name="Interpolate").click()
    page.wait_for_url("**/#interpolate?first=0_0.5-0.925_0_1.33&second=1_0.5-0.925_1_1.33&*")


def test_a_link_without_guidance_is_of_the_model_itself(page: Page, guided_site: Site) -> None:
    visit(page, f"{guided_site.address}/#sample?count=2&seed=4&temperature=0.7")
    expected = guided_site.model.sample(2, temperature=0.7, seeds=4, labels=torch.tensor([1, 2]), guidance=1)
    assert torch.equal(gallery(page), expected)
    expect(page.get_by_label("Guidance", exact=True)).to_have_value("1")


def test_guidance_is_for_models_with_classes(page: Page, plain_site: Site) -> None:
    visit(page, plain_site.address)
    expect(page.get_by_label("Guidance", exact=True)).to_have_count(0)


def test_of_many_temperatures_the_latest_is_drawn_and_the_overtaken_are_not_sent(page: Page, site: Site) -> None:
    visit(page, site.address)
    sent = sent_to(page, "sample")
    slider = page.get_by_label("Temperature", exact=True)
    with site.busy():
        with page.expect_request("**/v1/sample"):
            slider.fill("0.1")
        for value in ("0.2", "0.3", "0.9"):
            slider.fill(value)
    expect(page.get_by_role("heading", name="temperature 0.90")).to_be_visible()
    assert [body["temperature"] for body in sent] == [0.1, 0.9]


def test_a_draw_is_not_lost_to_a_slider(page: Page, site: Site) -> None:
    visit(page, site.address)
    with site.busy():
        page.get_by_label("Seed", exact=True).fill("40")
        with page.expect_request("**/v1/sample"):
            page.get_by_role("button", name="Draw", exact=True).click()
        page.get_by_label("Temperature", exact=True).fill("0.3")
    expect(page.get_by_role("heading", name="Seeds 40 to 47 · temperature 0.30")).to_be_visible()
    expect(page.locator(".batch")).to_have_count(2)


def test_a_link_brings_samples_back(page: Page, site: Site) -> None:
    visit(page, site.address)
    page.get_by_label("One per level").check()
    page.get_by_label("Level 1, the finest").fill("0.5")
    page.get_by_label("Class").first.select_option("2")
    page.get_by_label("Seed", exact=True).fill("30")
    page.get_by_label("Count").fill("3")
    page.get_by_role("button", name="Draw", exact=True).click()
    link = "#sample?count=3&seed=30&temperature=0.5-0.7&class=2"
    page.wait_for_url(f"**/{link}")
    page.goto("about:blank")
    visit(page, f"{site.address}/{link}")
    expected = site.model.sample(3, temperature=[0.5, 0.7], seeds=30, labels=torch.full((3,), 2))
    assert torch.equal(gallery(page), expected)
    expect(page.get_by_label("Level 1, the finest")).to_have_value("0.5")
    expect(page.get_by_label("Seed", exact=True)).to_have_value("30")
    page.evaluate("location.hash = '#sample?count=2&seed=5'")  # another link, in the same page
    expect(page.get_by_role("heading", name="Seeds 5 to 6")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Seeds 30 to 32")).to_have_count(2)


def test_the_way_back_from_a_link_leads_to_the_last_one_at_once(page: Page, site: Site) -> None:
    visit(page, f"{site.address}/#sample?seed=30&count=3")
    page.wait_for_url("**/#sample?count=3&seed=30&temperature=0.7")
    # Before the address has settled, as it does a moment after the pictures are there.
    page.evaluate(
        """() => new Promise((resolve) => {
            new MutationObserver((_, observer) => {
                observer.disconnect();
                history.back();
                resolve();
            }).observe(document.getElementById("gallery"), { childList: true });
            location.hash = "#sample?count=2&seed=5";
        })"""
    )
    expect(page.get_by_role("heading", name="Seeds 30 to 32")).to_have_count(2)


@pytest.mark.parametrize(
    "link", ["count=900&seed=-1&temperature=hot&class=77", "seed=1e9&count=&temperature=1-2-3", "x"]
)
def test_a_link_of_nonsense_is_the_page_as_it_begins(page: Page, site: Site, link: str) -> None:
    visit(page, f"{site.address}/#sample?{link}")
    expect(page.get_by_role("heading", name="Seeds 0 to 7 · temperature 0.70")).to_be_visible()
    page.goto(f"{site.address}/#edit?picture={link}&edit.bold=x")
    expect(page.locator("figcaption").nth(1)).to_have_text("Unchanged")


def test_a_link_brings_an_edit_of_a_drawn_picture_back(page: Page, site: Site) -> None:
    visit(page, site.address)
    page.locator(".picture").nth(4).click()
    page.get_by_role("dialog").get_by_role("button", name="Edit", exact=True).click()
    page.locator("#edit-sliders").get_by_label(DIRECTIONS[0], exact=True).fill("1.2")
    page.wait_for_url("**/#edit?picture=4_0.7_1&class=1&edit.bold=1.2")
    url = page.url
    page.goto("about:blank")
    page.goto(url)
    expect(page.locator("figcaption").nth(1)).to_have_text(f"{DIRECTIONS[0]} +1.2")
    drawn = site.model.sample(1, temperature=0.7, seeds=4, labels=torch.tensor([1]))
    assert torch.equal(shown_image(page.get_by_alt_text("The picture before")), drawn[0])
    expected = generation.edit(site.model, drawn, [(site.directions[DIRECTIONS[0]], 1.2)], torch.tensor([1]))
    assert torch.equal(shown_image(page.locator("#edited figure").nth(1).get_by_role("img")), expected[0])
    page.locator("#edit-label").select_option("2")
    page.wait_for_url("**/#edit?picture=4_0.7_1&class=2&edit.bold=1.2")
    url = page.url
    page.goto("about:blank")
    page.goto(url)
    expect(page.locator("#edited .notes")).to_have_text(CLASSES[2])
    expected = generation.edit(site.model, drawn, [(site.directions[DIRECTIONS[0]], 1.2)], torch.tensor([2]))
    assert torch.equal(shown_image(page.locator("#edited figure").nth(1).get_by_role("img")), expected[0])
    expect(page.locator("#edit-label")).to_have_value("2")
    page.locator("#edit-file").set_input_files(png_file(random_images(1, (1, 8, 8))[0]))
    page.wait_for_url("**/#edit?class=2&edit.bold=1.2")  # a file is in no link
    page.locator("#edit-label").select_option("")
    page.wait_for_url("**/#edit?edit.bold=1.2")


def test_the_address_of_one_tab_does_not_wait_for_another(page: Page, site: Site) -> None:
    visit(page, site.address)
    page.wait_for_url("**/#sample?count=8&*")
    keep = "import('./tabs.js').then((m) => (m.keepSettings('sample', { seed: 5 }), m.keepSettings('edit', {})))"
    page.evaluate(keep)
    page.wait_for_url("**/#sample?seed=5")


def test_an_edit_on_its_way_is_waited_for(page: Page, site: Site) -> None:
    visit(page, site.address)
    page.locator(".picture").nth(4).click()
    dialog = page.get_by_role("dialog")
    with site.busy():
        dialog.get_by_label(DIRECTIONS[0], exact=True).fill("1.2")
        for name in ("Interpolate", "Score", "Download"):
            expect(dialog.get_by_role("button", name=name, exact=True)).to_be_disabled()
    dialog.get_by_role("button", name="Score", exact=True).click()
    expect(page.locator("#scores tbody")).to_contain_text("seed000004_t0.70_edited.png")


def test_an_interpolation_keeps_the_classes_of_drawn_pictures_and_is_a_link(page: Page, site: Site) -> None:
    """Of the ends, each is what the model was told to draw, whatever it would be taken for."""
    url = f"{site.address}/#interpolate?first=3_1_2&second=4_1_0&frames=4&path=line"
    page.goto(url)
    expect(page.locator(".strip img")).to_have_count(4)
    expect(page.locator("#frames .notes")).to_contain_text(f"seed000003_t1.00.png: {CLASSES[2]}")
    expect(page.locator("#frames .notes")).not_to_contain_text("taken for")
    given = torch.tensor([2, 0])
    ends = torch.cat([site.model.sample(1, 1.0, 3, given[:1]), site.model.sample(1, 1.0, 4, given[1:])])
    expected = generation.interpolate(site.model, ends, 4, given, spherical=False)
    page.get_by_label("Frame", exact=True).fill("2")
    assert torch.equal(shown_image(page.locator("#frames .large")), expected[2])
    page.get_by_label("Arc").check()
    page.wait_for_url("**/#interpolate?first=3_1_2&second=4_1_0&frames=4&path=arc&at=0.6667")
    expected = generation.interpolate(site.model, ends, 4, given)
    expect(page.get_by_label("Frame", exact=True)).to_have_value("2")
    assert torch.equal(shown_image(page.locator("#frames .large")), expected[2])
    # A file beside it has the class that the model takes it for.
    file = random_images(1, (1, 8, 8), seed=9)
    page.locator("#interpolate-1").set_input_files(png_file(file[0]))
    taken = generation.infer_labels(site.model, file)
    expect(page.locator("#frames .notes")).to_contain_text(f"picture.png: taken for {CLASSES[taken[0]]}")
    expect(page.locator("#frames .notes")).to_contain_text(f"seed000003_t1.00.png: {CLASSES[2]}")
