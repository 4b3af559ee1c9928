"""Samples changed beside their picture, blended by two or four, and taken by other tabs."""

import pytest
import torch
from playwright.sync_api import Locator, Page, expect
from registry import random_images
from server.page.conftest import CLASSES, DIRECTIONS, Site, expect_image, png_file, saved, sent_to, shown_image, visit

from glow_app import generation

pytestmark = pytest.mark.slow


def drawn(site: Site, *seeds: int, temperature: float = 0.7) -> torch.Tensor:
    labels = torch.tensor([seed % 3 for seed in seeds])
    return torch.cat(
        [site.model.sample(1, temperature, seed, label) for seed, label in zip(seeds, labels.split(1), strict=True)]
    )


def edited(site: Site, seed: int, *strengths: float) -> torch.Tensor:
    along = list(zip(site.directions.values(), strengths, strict=False))
    return generation.edit(site.model, drawn(site, seed), along, torch.tensor([seed % 3]))


def blended(site: Site, seeds: list[int], at: tuple[float, float], *, spherical: bool = True) -> torch.Tensor:
    weights = torch.tensor([at])[:, None].expand(-1, 2, -1)
    labels = torch.tensor([seed % 3 for seed in seeds])
    return generation.blend(site.model, drawn(site, *seeds), weights, labels, spherical=spherical)[0]


def opened(page: Page, site: Site, place: int) -> Locator:
    visit(page, site.address)
    page.locator(".card .picture").nth(place).click()
    return page.get_by_role("dialog")


def test_a_sample_is_changed_beside_its_picture_and_is_a_link(page: Page, site: Site) -> None:
    dialog = opened(page, site, 4)
    image = dialog.get_by_role("img")
    dialog.get_by_label(DIRECTIONS[0], exact=True).fill("1.2")
    expect_image(page, image, edited(site, 4, 1.2)[0])
    dialog.get_by_label(DIRECTIONS[1], exact=True).fill("-0.5")
    expect_image(page, image, edited(site, 4, 1.2, -0.5)[0])
    assert (image.get_attribute("alt") or "").endswith(f"temperature 0.70, {DIRECTIONS[0]} +1.2, {DIRECTIONS[1]} -0.5")
    assert saved(page, dialog.get_by_role("button", name="Download"))[0] == "seed000004_t0.70_edited.png"
    page.wait_for_url("**/#sample?count=8&seed=0&temperature=0.7&open=4&edit.bold=1.2&edit.*=-0.5")
    url = page.url

    # Arrow keys move the slider and not the picture, whose neighbour begins unchanged.
    dialog.get_by_label(DIRECTIONS[0], exact=True).press("ArrowRight")
    expect_image(page, image, edited(site, 4, 1.3, -0.5)[0])
    dialog.get_by_role("button", name="Next image").click()
    expect_image(page, image, drawn(site, 5)[0])
    expect(dialog.get_by_label(DIRECTIONS[0], exact=True)).to_have_value("0")
    page.wait_for_url("**/#sample?count=8&seed=0&temperature=0.7&open=5")
    page.keyboard.press("Escape")
    page.wait_for_url("**/#sample?count=8&seed=0&temperature=0.7")

    page.goto("about:blank")
    page.goto(url)
    expect_image(page, image, edited(site, 4, 1.2, -0.5)[0])
    dialog.get_by_role("button", name="All to 0").click()
    expect_image(page, image, drawn(site, 4)[0])
    page.evaluate("location.hash = '#score'")  # what is behind the viewer is wanted
    expect(dialog).to_be_hidden()


def test_a_link_names_the_batch_of_the_picture_that_is_open(page: Page, site: Site) -> None:
    visit(page, site.address)
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.get_by_role("heading", name="Seeds 8 to 15")).to_be_visible()
    page.locator(".batch").nth(1).locator(".picture").nth(2).click()
    page.wait_for_url("**/#sample?count=8&seed=0&temperature=0.7&open=2")
    page.keyboard.press("Escape")
    page.wait_for_url("**/#sample?count=8&seed=8&temperature=0.7")


def test_of_many_moves_the_latest_is_shown_and_the_overtaken_are_not_sent(page: Page, site: Site) -> None:
    dialog = opened(page, site, 1)
    sent = sent_to(page, "edit")
    slider = dialog.get_by_label(DIRECTIONS[0], exact=True)
    with site.busy():
        with page.expect_request("**/v1/edit"):
            slider.fill("0.1")
        for value in ("0.2", "0.3", "0.9"):
            slider.fill(value)
    expect_image(page, dialog.get_by_role("img"), edited(site, 1, 0.9)[0])
    assert [[one["strength"] for one in body["edits"]] for body in sent] == [[0.1], [0.9]]


def test_what_is_asked_of_a_picture_is_not_shown_of_the_next(page: Page, site: Site) -> None:
    dialog = opened(page, site, 1)
    with site.busy():
        with page.expect_request("**/v1/edit"):
            dialog.get_by_label(DIRECTIONS[0], exact=True).fill("1")
        with page.expect_event("requestfailed", lambda request: "v1/edit" in request.url):
            dialog.get_by_role("button", name="Next image").click()
    assert torch.equal(shown_image(dialog.get_by_role("img")), drawn(site, 2)[0])
    dialog.get_by_label(DIRECTIONS[1], exact=True).fill("0.5")
    expect_image(page, dialog.get_by_role("img"), edited(site, 2, 0, 0.5)[0])
    expect(dialog.get_by_role("heading")).to_have_text(f"Seed 2 · {CLASSES[2]}")


def test_a_changed_sample_goes_to_other_tabs_as_it_is(page: Page, site: Site) -> None:
    dialog = opened(page, site, 4)
    dialog.get_by_label(DIRECTIONS[0], exact=True).fill("1.2")
    expect_image(page, dialog.get_by_role("img"), edited(site, 4, 1.2)[0])
    dialog.get_by_role("button", name="Edit", exact=True).click()
    expect_image(page, page.locator("#edited figure").nth(1).get_by_role("img"), edited(site, 4, 1.2)[0])
    expect(page.locator("#edit-0")).to_have_value("1.2")
    page.wait_for_url("**/#edit?picture=4_0.7_1&class=1&edit.bold=1.2")
    page.get_by_role("tab", name="Sample").click()
    page.locator(".card .picture").nth(4).click()
    dialog.get_by_label(DIRECTIONS[0], exact=True).fill("1.2")
    expect_image(page, dialog.get_by_role("img"), edited(site, 4, 1.2)[0])
    dialog.get_by_role("button", name="Interpolate").click()
    link = "#interpolate?first=4_0.7_1*bold*1.2&second=1_0.7_1&frames=9&path=arc"
    page.wait_for_url(f"**/{link}")
    page.goto("about:blank")
    page.goto(f"{site.address}/{link}")
    expect_image(page, page.locator("#frames .large"), edited(site, 4, 1.2)[0])


def test_what_a_file_is_taken_for_is_asked_once(page: Page, site: Site) -> None:
    image = random_images(1, (1, 8, 8), seed=2)
    sent = sent_to(page, "edit")
    page.goto(f"{site.address}/#edit")
    page.locator("#edit-file").set_input_files(png_file(image[0], "own.png"))
    expect(page.locator("#edited .notes")).to_contain_text("taken for")
    page.locator("#edit-0").fill("1.2")
    label = int(generation.infer_labels(site.model, image))
    expected = generation.edit(site.model, image, [(site.directions[DIRECTIONS[0]], 1.2)], torch.tensor([label]))
    expect_image(page, page.locator("#edited figure").nth(1).get_by_role("img"), expected[0])
    expect(page.locator("#edited .notes")).to_contain_text(f"taken for {CLASSES[label]}")
    *_, asked, moved = [body["label"] for body in sent]
    assert (asked, moved) == (None, label)


def test_a_model_without_directions_has_the_viewer_alone(page: Page, plain_site: Site) -> None:
    dialog = opened(page, plain_site, 3)
    expected = plain_site.model.sample(1, 0.7, 3)
    assert torch.equal(shown_image(dialog.get_by_role("img")), expected[0])
    expect(dialog.get_by_role("button", name="All to 0")).to_be_hidden()
    expect(dialog.get_by_role("slider")).to_have_count(0)


def test_other_tabs_take_samples_by_one_click(page: Page, site: Site) -> None:
    visit(page, site.address)
    samples = page.get_by_role("group", name="Samples")
    page.get_by_role("tab", name="Edit").click()
    samples.get_by_role("button", name=f"Take seed 5, {CLASSES[2]}").click()
    expect_image(page, page.get_by_alt_text("The picture before"), drawn(site, 5)[0])
    page.get_by_role("tab", name="Score").click()
    samples.get_by_role("button", name="Take seed 3").click()
    expect(page.locator("#scores tbody")).to_contain_text("seed000003_t0.70.png")
    page.get_by_role("tab", name="Interpolate").click()
    for seed, name in ((6, "first"), (7, "second"), (2, "first")):
        expect(page.locator("#interpolate-samples")).to_contain_text(f"takes one as the {name} picture")
        samples.get_by_role("button", name=f"Take seed {seed}").click()
    page.wait_for_url("**/#interpolate?first=2_0.7_2&second=7_0.7_1&*")
    # They are the newest, as they are now.
    page.get_by_role("tab", name="Sample").click()
    page.get_by_label("Temperature", exact=True).fill("1.2")
    expect(page.get_by_role("heading", name="temperature 1.20")).to_be_visible()
    page.get_by_role("tab", name="Edit").click()
    samples.get_by_role("button", name="Take seed 5").click()
    expect_image(page, page.get_by_alt_text("The picture before"), drawn(site, 5, temperature=1.2)[0])


def test_four_pictures_are_blended_where_the_handle_is(page: Page, site: Site) -> None:
    visit(page, site.address)
    page.get_by_role("tab", name="Interpolate").click()
    page.get_by_label("Four", exact=True).check()
    page.get_by_role("button", name="Take seed 6").click()  # the first; the others are seeds 1 to 3
    seeds, large = [6, 1, 2, 3], page.locator("#frames .large")
    expect_image(page, large, blended(site, seeds, (0.5, 0.5)))
    square = page.locator(".square")
    for place, seed in ((0, 6), (4, 1), (20, 2), (24, 3)):
        expect_image(page, square.locator("img").nth(place), drawn(site, seed)[0])
    across, down = page.get_by_label("Across"), page.get_by_label("Down", exact=True)
    across.press("ArrowRight")
    across.press("ArrowUp")
    expect(across).to_have_attribute("aria-valuetext", "55 % across, 45 % down")
    expect(down).to_have_value("0.45")
    expect_image(page, large, blended(site, seeds, (0.55, 0.45)))

    box = square.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 2 * box["height"])
    page.mouse.up()
    expect(across).to_have_attribute("aria-valuetext", "25 % across, 100 % down")  # the picture's middle is its place
    expect_image(page, large, blended(site, seeds, (0.25, 1)))
    page.get_by_label("Line").check()
    expect_image(page, large, blended(site, seeds, (0.25, 1), spherical=False))
    link = "#interpolate?first=6_0.7_0&second=1_0.7_1&third=2_0.7_2&fourth=3_0.7_0&path=line&at=0.25_1"
    page.wait_for_url(f"**/{link}")
    page.goto("about:blank")
    page.goto(f"{site.address}/{link}")
    expect_image(page, large, blended(site, seeds, (0.25, 1), spherical=False))
    assert saved(page, page.locator("#frames").get_by_role("button", name="Download"))[0] == "blend.png"
    page.get_by_label("Two pictures").check()
    expect(page.locator(".strip img")).to_have_count(9)


def test_of_many_places_the_latest_is_shown_and_the_overtaken_are_not_sent(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/#interpolate?first=0_0.7_0&second=1_0.7_1&third=2_0.7_2&fourth=3_0.7_0&at=0_0")
    large, across = page.locator("#frames .large"), page.get_by_label("Across")
    expect_image(page, large, drawn(site, 0)[0])
    sent = sent_to(page, "interpolate")
    with site.busy():
        with page.expect_request("**/v1/interpolate"):
            across.press("ArrowRight")
        for _ in range(4):
            across.press("ArrowRight")
    expect_image(page, large, blended(site, [0, 1, 2, 3], (0.25, 0)))
    assert [body["at"] for body in sent] == [[[0.05, 0]], [[0.25, 0]]]


def test_a_number_of_frames_that_goes_while_a_change_waits_is_not_sent(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/#interpolate")
    expect(page.locator(".strip img")).to_have_count(9)
    sent = sent_to(page, "interpolate")
    with site.busy():
        with page.expect_request("**/v1/interpolate"):
            page.get_by_label("Line").check()
        page.get_by_label("Arc").check()  # waits for the answer
        page.get_by_label("Frames").fill("")
    expect(page.locator("#interpolate-frames-error")).to_contain_text("A whole number from ")
    expect(page.locator("#interpolate-task")).to_be_empty()
    assert [body["frames"] for body in sent] == [9]


def test_a_link_brings_the_frame_between_two_back(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/#interpolate?first=3_0.7_0&second=4_0.7_1&frames=4&path=arc&at=0.6667")
    frames = generation.interpolate(site.model, drawn(site, 3, 4), 4, torch.tensor([0, 1]))
    expect_image(page, page.locator("#frames .large"), frames[2])
    page.get_by_label("Frame", exact=True).press("ArrowRight")
    page.wait_for_url("**/#interpolate?first=3_0.7_0&second=4_0.7_1&frames=4&path=arc&at=1")


def test_files_are_corners_with_the_classes_that_they_are_taken_for(page: Page, site: Site) -> None:
    images = random_images(4, (1, 8, 8), seed=3)
    page.goto(f"{site.address}/#interpolate")
    page.get_by_label("Four", exact=True).check()
    for end, image in enumerate(images):
        page.locator(f"#interpolate-{end}").set_input_files(png_file(image, f"{end}.png"))
    labels = generation.infer_labels(site.model, images)
    weights = torch.full((1, 2, 2), 0.5)
    expect(page.locator("#frames .notes")).to_contain_text(f"3.png: taken for {CLASSES[labels[3]]}")
    expect_image(
        page, page.locator("#frames .large"), generation.blend(site.model, images, weights, labels, spherical=True)[0]
    )


@pytest.mark.parametrize("link", ["at=2_0", "at=0_0_0", "at=x", "at=", "first=0_0.7*bold*9*no*1*bold"])
def test_a_link_of_nonsense_is_an_interpolation_of_two(page: Page, site: Site, link: str) -> None:
    page.goto(f"{site.address}/#interpolate?{link}")
    expect_image(page, page.locator("#frames .large"), drawn(site, 0)[0])
    expect(page.locator(".strip img")).to_have_count(9)


def test_a_model_without_classes_is_blended_too(page: Page, plain_site: Site) -> None:
    page.goto(f"{plain_site.address}/#interpolate?at=0.3_0.6")
    weights = torch.tensor([[[0.3, 0.6]]])
    images = torch.cat([plain_site.model.sample(1, 0.7, seed) for seed in range(4)])
    expect_image(
        page, page.locator("#frames .large"), generation.blend(plain_site.model, images, weights, spherical=True)[0]
    )
