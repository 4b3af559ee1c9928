"""A model with attributes: switches and sliders in the tabs Create and Edit, and in the viewer."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from playwright.sync_api import Locator, Page, expect
from registry import random_images, tiny_model
from server.page.conftest import Site, expect_image, png_file, reopen, saved, sent_to, served, shown_image, visit
from server.page.test_page_access import SCHEMES, check, check_widths

from glow_app import pipeline
from glow_app.conditioning import AttributeConditioning

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def asking_site() -> Iterator[Site]:
    """A model with attributes of each kind, of which the first is not yes or no."""
    torch.manual_seed(1)
    conditioning = AttributeConditioning(
        {
            "age": "real",
            "smiling": "yes_no",
            "wide_hat": "yes_no",
            "clothes_hue": "circular",
            "clothes_lightness": "real",
        }
    )
    rows = torch.linspace(0, 1, len(conditioning.rows))
    conditioning.rows.copy_(torch.stack([20.3 + 39.66 * rows, rows.round(), 1 - rows.round(), rows, rows], dim=1))
    with served(tiny_model(image_shape=(3, 8, 8), conditioning=conditioning)) as site:
        yield site


def drawn(site: Site, seeds: range, **given: float) -> torch.Tensor:
    return site.model.sample(len(seeds), 0.7, seeds, given)


def answer(place: Locator, name: str, text: str) -> None:
    place.get_by_role("radiogroup", name=name).get_by_text(text, exact=True).click()


def test_samples_show_what_is_asked_for(page: Page, asking_site: Site) -> None:
    visit(page, asking_site.address)
    form, image = page.locator("#sample-form"), page.locator(".card img").nth(1)
    rows = [" ".join(row.split()) for row in form.locator(".attributes > *").all_inner_texts()]
    assert rows == [
        "Wide hat No Any Yes",
        "Age any",
        "Smiling No Any Yes",
        "Clothes clothes Colour any clothes Lightness any",
    ]
    expect_image(page, image, drawn(asking_site, range(6))[1])
    answer(form, "smiling", "Yes")
    answer(form, "wide hat", "No")
    age = form.get_by_label("age", exact=True)
    age.fill("37.5")
    expected = drawn(asking_site, range(6), smiling=1, wide_hat=0, age=37.5)
    expect_image(page, image, expected[1])
    expect(page.get_by_role("heading", name="Seeds 0 to 5")).to_contain_text("smiling, without wide hat, age 37.5")
    link = "#sample?count=6&seed=0&temperature=0.7&with=smiling*1*wide_hat*0*age*37.5"
    page.wait_for_url(f"**/{link}")
    form.get_by_role("button", name="Reset age").click()
    expect(age).to_have_attribute("aria-valuetext", "any")
    expect_image(page, image, drawn(asking_site, range(6), smiling=1, wide_hat=0)[1])
    form.get_by_role("button", name="Any picture").click()
    expect_image(page, image, drawn(asking_site, range(6))[1])
    reopen(page, f"{asking_site.address}/{link}")
    expect_image(page, image, expected[1])
    expect(form.get_by_role("radiogroup", name="wide hat").get_by_role("radio", name="No")).to_be_checked()


def test_colours_are_shown_instead_of_numbers(page: Page) -> None:
    conditioning = AttributeConditioning({"hair_lightness": "real", "hair_warmth": "real"})
    conditioning.rows.copy_(torch.linspace(0, 1, conditioning.rows.numel()).reshape(conditioning.rows.shape))
    with served(tiny_model(image_shape=(3, 8, 8), conditioning=conditioning)) as site:
        visit(page, site.address)
        lightness, warmth = (page.get_by_role("slider", name=f"hair {part}").first for part in ("lightness", "warmth"))
        swatch = page.locator("#sample-attributes .swatch")
        expect(swatch).to_be_hidden()
        lightness.fill("1")
        warmth.fill("0")
        expect(swatch).to_have_css(
            "background-color", re.compile(r"^oklch\(0\.86\d* 0 ")
        )  # the end of the scale: white
        assert "oklch(0.2 0 " in (lightness.get_attribute("style") or ""), "its track begins with black"
        page.goto("about:blank")  # before the server ends, whose samples may still be on their way


def test_the_viewer_draws_a_sample_again_with_other_attributes(page: Page, asking_site: Site) -> None:
    visit(page, f"{asking_site.address}/#sample?with=smiling*1&count=6&seed=0")
    page.locator(".card .picture").nth(3).click()
    dialog = page.get_by_role("dialog")
    (values,) = asking_site.model.sample(1, seeds=3, given={"smiling": 1}).given
    hat = dialog.get_by_role("radiogroup", name="wide hat")
    expect(hat.get_by_role("radio", name=["No", "Yes"][values["wide_hat"]])).to_be_checked()
    answer(dialog, "smiling", "Any")
    answer(dialog, "wide hat", "Yes")
    page.set_viewport_size({"width": 390, "height": 480})  # whose controls do not fit
    expect(dialog.get_by_role("button", name="Blend")).to_be_in_viewport(ratio=1)
    image, width = dialog.get_by_role("img"), "image => image.clientWidth"
    small = image.evaluate(width)
    image.click()
    assert image.evaluate(width) > 1.5 * small
    image.click()
    page.set_viewport_size({"width": 1280, "height": 900})
    expect_image(page, image, drawn(asking_site, range(3, 4), wide_hat=1)[0])
    assert saved(page, dialog.get_by_role("button", name="Download"))[0] == "picture-seed3-wide-hat.png"
    page.wait_for_url("**/#sample?count=6&seed=0&temperature=0.7&with=smiling*1&open=3&edit=wide_hat*1")
    dialog.get_by_role("button", name="As drawn").click()
    expect_image(page, image, drawn(asking_site, range(3, 4), smiling=1)[0])
    answer(dialog, "wide hat", "Yes")
    expect(dialog.get_by_role("heading")).to_have_text("Seed 3 · smiling, wide hat")
    dialog.get_by_role("button", name="Blend").click()
    link = "#interpolate?first=3_0.7_*smiling*1*wide_hat*1&second=1_0.7_&frames=9"
    page.wait_for_url(f"**/{link}")
    reopen(page, f"{asking_site.address}/{link}")
    expect_image(page, page.locator("#frames .large"), drawn(asking_site, range(3, 4), smiling=1, wide_hat=1)[0])
    page.get_by_text("Four", exact=True).click()
    page.locator("#interpolate-2").set_input_files(png_file(random_images(1)[0]))
    expect(page.locator(".square")).to_be_visible()
    expect(page.locator("#interpolate-task")).to_be_empty()


def test_the_code_is_that_of_the_shown_tab(page: Page, asking_site: Site) -> None:
    visit(page, f"{asking_site.address}/#sample?count=6&seed=0")
    for tab, text in (("Edit", "-F image=@picture1.png"), ("Create", "-F count=6")):
        page.get_by_role("tab", name=tab).click()
        expect(page.locator("#edited figure" if tab == "Edit" else ".card").nth(1)).to_be_visible()
        page.get_by_role("button", name="Use this from code").click()
        expect(page.get_by_role("dialog").locator("code")).to_contain_text(text)
        page.keyboard.press("Escape")


def test_attributes_of_a_picture_are_inferred_once_and_changed(page: Page, asking_site: Site) -> None:
    model, image = asking_site.model, random_images(1, seed=2)
    inferred = model.vocabulary.format(pipeline.infer(model, image))[0]
    page.goto(f"{asking_site.address}/#edit")
    form, after = page.locator("#edit-form"), page.locator("#edited figure").nth(1)
    expect(after).to_contain_text("Unchanged")
    expect(page.locator("#edited .notes")).to_have_text("attributes as drawn")
    (values,) = model.sample(1, seeds=0).given
    answers = page.locator("#edit-form").get_by_role("radiogroup", name="smiling")
    expect(answers.get_by_role("radio", name=["No", "Yes"][values["smiling"]])).to_be_checked()
    page.locator("#edit-file").set_input_files(png_file(image[0]))
    expect(page.locator("#edit-task")).to_be_empty()
    expect_image(page, after.get_by_role("img"), image[0])
    expect(page.locator("#edited .notes")).to_have_text("attributes recognised")
    sent = sent_to(page, "edit")
    smiling = form.get_by_role("radiogroup", name="smiling")
    expect(smiling.get_by_text("Any")).to_be_hidden()
    expect(smiling.get_by_role("radio", name=["No", "Yes"][inferred["smiling"]])).to_be_checked()
    expect(form.get_by_label("age", exact=True)).to_have_attribute("aria-valuetext", f"{inferred['age']:.1f}")
    other = 1 - inferred["smiling"]
    answer(form, "smiling", ["No", "Yes"][other])
    form.get_by_label("clothes colour", exact=True).fill("0.25")
    changes: dict[str, Any] = {"smiling": other, "clothes_hue": 0.25}
    expect_image(page, after.get_by_role("img"), pipeline.edit_attributes(model, image, changes, inferred)[0])
    expect(after).to_contain_text(f"{'' if other else 'without '}smiling, clothes colour 0.25")
    assert (sent[-1]["attributes"], sent[-1]["given"]) == (changes, inferred)
    form.get_by_label("Strength").fill("0.5")
    expect_image(page, after.get_by_role("img"), pipeline.edit_attributes(model, image, changes, inferred, 0.5)[0])
    page.wait_for_url(f"**/#edit?strength=0.5&edit=smiling*{other}*clothes_hue*0.25")
    form.get_by_role("button", name="As in the picture").click()
    expect_image(page, after.get_by_role("img"), image[0])
    assert torch.equal(shown_image(page.get_by_alt_text("The picture before")), image[0])

    answer(form, "smiling", ["No", "Yes"][other])
    form.get_by_label("clothes lightness", exact=True).fill("0.5")
    page.set_viewport_size({"width": 1400, "height": 900})
    heights = form.locator(".together label").evaluate_all("(labels) => labels.map((label) => label.offsetHeight)")
    assert len(set(heights)) == 1  # beside the button that sets it back, "Lightness" stays on one line
    page.locator("#edit-file").set_input_files(png_file(random_images(1, seed=3)[0], "another.png"))
    expect(page.locator("#edit-picture")).to_contain_text("another.png")
    expect(after).to_contain_text("Unchanged")
    expect_image(page, after.get_by_role("img"), random_images(1, seed=3)[0])


def test_attributes_fit_any_screen_without_axe_violation(page: Page, asking_site: Site) -> None:
    visit(page, f"{asking_site.address}/#sample?with=smiling*1*age*30&count=6&seed=0")
    check_widths(page)
    page.get_by_role("tab", name="Create").click()
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_label("age", exact=True).first.scroll_into_view_if_needed()
    expect(page.locator(".card").last).to_be_in_viewport()  # above its sliders
    for tab in ("Create", "Edit"):
        page.get_by_role("tab", name=tab).click()
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            check(page, "[role=tabpanel]:not([hidden])")
