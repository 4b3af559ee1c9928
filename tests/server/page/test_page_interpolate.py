"""The tab Interpolate: frames between two pictures, a square between four, and their links."""

import io

import pytest
import torch
from PIL import Image
from playwright.sync_api import Page, expect
from registry import random_images
from server.page.conftest import (
    CLASSES,
    Site,
    drawn,
    expect_image,
    likeliest,
    png_file,
    reopen,
    saved,
    show_settings,
    shown_image,
    shows,
    visit,
)

from glow_app import pipeline

pytestmark = pytest.mark.slow


def blended(site: Site, images: torch.Tensor, labels: torch.Tensor | None, at: tuple[float, float]) -> torch.Tensor:
    weights = torch.tensor([at])[:, None].expand(-1, len(site.model.flow.latent_shapes), -1)
    return pipeline.blend(site.model, images, weights, labels)[0]


def test_frames_between_two_files(page: Page, site: Site) -> None:
    ends = random_images(2, (1, 8, 8), seed=1)
    page.clock.install()
    page.goto(f"{site.address}/#interpolate")
    page.locator("#interpolate-0").set_input_files(png_file(ends[0], "one.png"))
    page.locator("#interpolate-1").set_input_files(png_file(ends[1], "two.png"))
    show_settings(page)
    page.get_by_label("Frames").fill("5")
    page.get_by_label("Frames").press("Enter")
    expect(page.locator(".strip img")).to_have_count(5)
    labels = likeliest(site, ends)
    expected = pipeline.interpolate(site.model, ends, 5, labels)
    frame, slider = page.locator("#frames .large"), page.get_by_label("Frame", exact=True)
    for number in range(5):
        slider.fill(str(number))
        expect(frame).to_have_attribute("alt", f"Frame {number + 1} of 5")
        assert shows(shown_image(frame), expected[number])
    assert torch.equal(expected[[0, -1]], ends)
    expect(page.locator("#frames .notes")).to_contain_text(f"one.png: recognised as {CLASSES[labels[0]]}")

    for button, file, kind, frames in (
        ("Frame", "one-to-two-5-of-5.png", "PNG", 1),
        ("Strip", "one-to-two.png", "PNG", 1),
        ("GIF", "one-to-two.gif", "GIF", 8),
        ("WebP", "one-to-two.webp", "WEBP", 8),
    ):
        name, content = saved(page, page.locator("#frames").get_by_role("button", name=button))
        with Image.open(io.BytesIO(content)) as picture:
            assert (name, picture.format, getattr(picture, "n_frames", 1)) == (file, kind, frames)

    page.get_by_role("button", name="Play").click()
    expect(slider).not_to_have_value("4")
    page.get_by_role("button", name="Pause").click()
    halted = slider.input_value()
    page.clock.run_for(10_000)
    assert slider.input_value() == halted


def test_drawn_pictures_keep_their_classes_in_links(page: Page, site: Site) -> None:
    """Drawn ends keep their class, whatever the model would infer."""
    notes, frame = page.locator("#frames .notes"), page.locator("#frames .large")
    page.goto(f"{site.address}/#interpolate?first=3_1_2&second=4_1_0&frames=4&at=0.3333")
    expect(notes).to_contain_text(f"i-two-i-seed3.png: {CLASSES[2]}")
    expect(notes).not_to_contain_text("recognised as")
    given = torch.tensor([2, 0])
    ends = torch.cat([site.model.sample(1, 1.0, 3, given[:1]), site.model.sample(1, 1.0, 4, given[1:])])
    assert shows(shown_image(frame), pipeline.interpolate(site.model, ends, 4, given)[1])
    page.get_by_label("Frame", exact=True).press("ArrowRight")
    link = "#interpolate?first=3_1_2&second=4_1_0&frames=4&at=0.6667"
    page.wait_for_url(f"**/{link}")
    expected = pipeline.interpolate(site.model, ends, 4, given)[2]
    assert shows(shown_image(frame), expected)
    reopen(page, f"{site.address}/{link}")
    expect_image(page, frame, expected)
    # A file beside it has the class that the model takes it for.
    file = random_images(1, (1, 8, 8), seed=9)
    page.locator("#interpolate-1").set_input_files(png_file(file[0]))
    taken = likeliest(site, file)
    expect(notes).to_contain_text(f"picture.png: recognised as {CLASSES[taken[0]]}")
    expect(notes).to_contain_text(f"i-two-i-seed3.png: {CLASSES[2]}")


def test_four_pictures_are_blended_at_the_handle(page: Page, site: Site) -> None:
    visit(page, site.address)
    page.get_by_role("tab", name="Blend").click()
    page.get_by_text("Four", exact=True).click()
    page.get_by_role("button", name="Use seed 5").click()  # the first; the others are seeds 1 to 3
    corners, labels, large = drawn(site, 5, 1, 2, 3), torch.tensor([2, 1, 2, 0]), page.locator("#frames .large")
    expect_image(page, large, blended(site, corners, labels, (0.5, 0.5)))
    square = page.locator(".square")
    for place, corner in zip((0, 4, 20, 24), corners, strict=True):
        expect_image(page, square.locator("img").nth(place), corner)
    across, down = page.get_by_label("Across"), page.get_by_label("Down", exact=True)
    across.press("ArrowRight")
    across.press("ArrowUp")
    expect(across).to_have_attribute("aria-valuetext", "55 % across, 45 % down")
    expect(down).to_have_value("0.45")
    expect_image(page, large, blended(site, corners, labels, (0.55, 0.45)))

    box = square.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 2 * box["height"])
    page.mouse.up()
    expect(across).to_have_attribute("aria-valuetext", "25 % across, 100 % down")  # the picture's middle is its place
    expected = blended(site, corners, labels, (0.25, 1))
    expect_image(page, large, expected)
    link = "#interpolate?first=5_0.7_2&second=1_0.7_1&third=2_0.7_2&fourth=3_0.7_0&at=0.25_1"
    page.wait_for_url(f"**/{link}")
    reopen(page, f"{site.address}/{link}")
    expect_image(page, large, expected)
    assert saved(page, page.locator("#frames").get_by_role("button", name="Download"))[0] == "blend-of-four.png"
    page.get_by_text("Two pictures", exact=True).click()
    expect(page.locator(".strip img")).to_have_count(9)
