"""Every tab from end to end: what the page shows and saves is what the model gives."""

import csv
import io
import re
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Locator, Page, expect
from registry import random_images
from server.page.conftest import CLASSES, DIRECTIONS, Site, Watch, expect_image, png_file, saved, shown_image, visit

from glow_app import generation

pytestmark = pytest.mark.slow


def draw(page: Page, count: int = 4, seed: int = 3) -> Locator:
    page.get_by_label("Count").fill(str(count))
    page.get_by_label("Seed", exact=True).fill(str(seed))
    page.get_by_role("button", name="Draw", exact=True).click()
    cards = page.locator(".batch").first.locator(".card")
    expect(cards).to_have_count(count)
    return cards


def pixels(content: bytes) -> torch.Tensor:
    return torch.from_numpy(np.atleast_3d(np.asarray(Image.open(io.BytesIO(content)))).copy()).permute(2, 0, 1)


def in_table(page: Page) -> list[list[str]]:
    return [row.locator("td").all_inner_texts() for row in page.locator("#scores tbody tr").all()]


def test_samples_are_those_of_the_model(page: Page, site: Site) -> None:
    visit(page, site.address)
    cards = draw(page)
    expected = site.model.sample(4, temperature=0.7, seeds=3, labels=torch.tensor([0, 1, 2, 0]))
    for number, card in enumerate(cards.all()):
        image = card.get_by_role("img").first
        assert torch.equal(shown_image(image), expected[number])
        alt = f"Drawn image: {CLASSES[number % 3]}, seed {3 + number}, temperature 0.70"
        assert image.get_attribute("alt") == alt
    name, content = saved(page, cards.nth(1).get_by_role("button", name="Download"))
    assert name == "seed000004_t0.70.png"
    assert torch.equal(pixels(content), expected[1])


def test_one_temperature_a_level_and_one_class_come_back_with_use_these_settings(page: Page, site: Site) -> None:
    visit(page, site.address)
    page.get_by_label("One per level").check()
    expect(page.get_by_label("Temperature", exact=True)).to_be_hidden()
    page.get_by_label("Level 1, the finest").fill("0.5")
    page.get_by_label("Level 2, the coarsest").fill("1.1")
    page.get_by_label("Class").first.select_option("1")
    cards = draw(page, 2, 8)
    expected = site.model.sample(2, temperature=[0.5, 1.1], seeds=8, labels=torch.tensor([1, 1]))
    drawn = [shown_image(card.get_by_role("img").first) for card in cards.all()]
    assert torch.equal(torch.stack(drawn), expected)
    second = cards.nth(1)
    assert saved(page, second.get_by_role("button", name="Download"))[0] == "seed000009_t0.50-1.10.png"

    draw(page, 1, 60)  # a new batch, for what is changed now changes the newest
    page.get_by_label("One per level").uncheck()
    page.get_by_label("Class").first.select_option("")
    page.get_by_label("Count").fill("2")
    old = page.locator(".batch").nth(1).locator(".card").nth(1)
    old.get_by_role("button", name="Use these settings").click()
    expect(page.get_by_label("Level 2, the coarsest")).to_have_value("1.1")
    expect(page.get_by_label("Seed", exact=True)).to_have_value("9")
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator(".batch")).to_have_count(4)
    again = page.locator(".batch").first.get_by_role("img").first
    assert torch.equal(shown_image(again), expected[1])


def test_a_new_seed_is_shown_and_drawn_and_so_is_one_of_the_page(page: Page, site: Site) -> None:
    visit(page, site.address)
    page.get_by_role("button", name="New seed").click()
    new = int(page.get_by_label("Seed", exact=True).input_value())
    assert 0 <= new < 1_000_000
    expect(page.get_by_role("heading", name=f"Seeds {new} to {new + 7}")).to_be_visible()
    page.get_by_label("Seed", exact=True).fill("")
    page.get_by_label("Count").fill("1")
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator(".batch").first.locator(".card")).to_have_count(1)
    image = page.locator(".card").get_by_role("img").first
    seed = int(re.search(r"seed (\d+)", image.get_attribute("alt") or "")[1])  # type: ignore[index]
    expected = site.model.sample(1, temperature=0.7, seeds=seed, labels=torch.tensor([seed % 3]))
    assert torch.equal(shown_image(image), expected[0])


def test_what_is_served_is_told_in_words(page: Page, real_site: Site) -> None:
    visit(page, real_site.address)
    page.get_by_text("About this model").click()
    names, texts = (page.locator(f"#about {tag}").all_inner_texts() for tag in ("dt", "dd"))
    about = dict(zip(names, texts, strict=True))
    assert about["Images"] == "28 \N{MULTIPLICATION SIGN} 28 pixels, grey, 8 bits a value"
    assert about["Classes"].startswith("T-shirt/top, Trouser, ")
    assert about["Bits/dim"] == "3.105 on validation images, 3.039 on training images"
    assert about["Trained on"] == "Fashion-MNIST"
    assert about["Training"] == "14 epochs, 11,802 steps"
    assert "Origin" not in about
    assert not re.search("log_det|bpd_level|undefined|null|NaN", str(about))


# How many lines the seed below an image takes, and whether it is clear of the buttons.
CLEAR = """(feet) => feet.map((foot) => {
    const text = document.createRange();
    text.selectNodeContents(foot.querySelector(".seed"));
    const [seed, button] = [text, foot.querySelector(".icon")].map((one) => one.getBoundingClientRect());
    return [text.getClientRects().length, seed.right <= button.left || seed.bottom <= button.top + 1];
})"""


def test_long_seeds_and_names_are_broken_nowhere(page: Page, real_site: Site) -> None:
    for width in (320, 360, 390, 768, 900, 1280):
        visit(page, real_site.address)
        page.set_viewport_size({"width": width, "height": 800})
        draw(page, 4, 2147483600)
        draw(page, 3, 999_990)
        assert page.locator(".card-foot").evaluate_all(CLEAR) == [[1, True]] * 15, width
    page.get_by_role("tab", name="Edit").click()
    assert page.locator("#edit-sliders label").evaluate("(label) => label.querySelectorAll('wbr').length") == 3


def test_the_page_lives_below_a_path_too(page: Page, site: Site) -> None:
    page.route(
        "**/inner/**", lambda route: route.fulfill(response=route.fetch(url=route.request.url.replace("/inner", "")))
    )
    page.goto(f"{site.address}/inner/")
    assert draw(page).count() == 4
    expect(page.get_by_role("link", name="The API behind this page")).to_have_attribute("href", "docs")


def test_the_gallery_is_bounded(page: Page, site: Site) -> None:
    visit(page, site.address)
    for seed in range(5):
        page.get_by_label("Count").fill("64")
        page.get_by_label("Seed", exact=True).fill(str(seed))
        page.get_by_role("button", name="Draw", exact=True).click()
        expect(page.get_by_role("heading", name=f"Seeds {seed} to {63 + seed}")).to_be_visible()
    assert page.locator(".card").count() == 256
    expect(page.get_by_role("heading", name="Seeds 0 to 63")).to_have_count(0)


def test_a_model_without_classes_and_with_one_level(page: Page, plain_site: Site) -> None:
    visit(page, plain_site.address)
    cards = draw(page, 2, 0)
    expected = plain_site.model.sample(2, temperature=0.7, seeds=0)
    assert torch.equal(torch.stack([shown_image(card.get_by_role("img").first) for card in cards.all()]), expected)
    expect(page.get_by_label("Class").first).to_be_hidden()
    expect(page.get_by_label("One per level")).to_have_count(0)
    assert page.locator(".card-foot").evaluate_all(CLEAR) == [[1, True]] * 10
    page.get_by_role("tab", name="Edit").click()
    expect(page.get_by_text("glow edit learn")).to_be_visible()
    page.get_by_role("tab", name="Score").click()
    page.locator("#score-files").set_input_files(png_file(expected[0]))
    expect(page.locator("#scores tbody tr")).to_have_count(1)
    expect(page.locator("#scores tbody")).not_to_contain_text("taken for")


def test_interpolate(page: Page, site: Site) -> None:
    ends = random_images(2, (1, 8, 8), seed=1)
    page.goto(f"{site.address}/#interpolate")
    page.locator("#interpolate-0").set_input_files(png_file(ends[0], "one.png"))
    page.locator("#interpolate-1").set_input_files(png_file(ends[1], "two.png"))
    page.get_by_label("Frames").fill("5")
    page.get_by_label("Arc").check()
    page.get_by_role("button", name="Interpolate", exact=True).click()
    expect(page.locator("#frames .notes")).to_contain_text("one.png")
    expect(page.locator(".strip img")).to_have_count(5)
    labels = generation.infer_labels(site.model, ends)
    expected = generation.interpolate(site.model, ends, 5, labels, spherical=True)
    frame, slider = page.locator("#frames .large"), page.get_by_label("Frame", exact=True)
    for number in range(5):
        slider.fill(str(number))
        assert frame.get_attribute("alt") == f"Frame {number + 1} of 5"
        assert torch.equal(shown_image(frame), expected[number])
    assert torch.equal(expected[[0, -1]], ends)
    expect(page.locator("#frames .notes")).to_contain_text(f"one.png: taken for {CLASSES[labels[0]]}")

    name, content = saved(page, page.locator("#frames").get_by_role("button", name="Frame"))
    assert name == "frame004.png"
    assert torch.equal(pixels(content), ends[1])
    name, content = saved(page, page.get_by_role("button", name="Strip"))
    assert name == "interpolation.png"
    assert Image.open(io.BytesIO(content)).width > 5 * 8

    page.get_by_label("Line").check()
    page.get_by_role("button", name="WebP").wait_for()
    for suffix in ("gif", "webp"):
        name, content = saved(page, page.get_by_role("button", name=suffix))
        assert name == f"interpolation.{suffix}"
        with Image.open(io.BytesIO(content)) as picture:
            assert (picture.format, picture.n_frames) == (suffix.upper(), 8)  # type: ignore[attr-defined]

    page.get_by_role("button", name="Play").click()
    expect(slider).not_to_have_value("4")
    page.get_by_role("button", name="Pause").click()
    halted = slider.input_value()
    page.wait_for_timeout(300)
    assert slider.input_value() == halted


def test_pictures_of_the_gallery_are_used_in_the_other_tabs(page: Page, site: Site) -> None:
    visit(page, site.address)
    cards = draw(page)
    drawn = [shown_image(card.get_by_role("img").first) for card in cards.all()]
    dialog = page.get_by_role("dialog")

    def use(number: int, name: str) -> None:
        page.get_by_role("tab", name="Sample").click()
        cards.nth(number).locator(".picture").click()
        assert torch.equal(shown_image(dialog.get_by_role("img")), drawn[number])
        dialog.get_by_role("button", name=name, exact=True).click()
        expect(dialog).to_be_hidden()

    for number, name in ((0, "First picture"), (2, "Second picture")):
        use(number, "Interpolate")
        expect(page.get_by_role("tab", name="Interpolate")).to_have_attribute("aria-selected", "true")
        seed = f"seed{3 + number:06d}_t0.70.png"
        expect(page.get_by_label(f"{name}: {seed}; choose another")).to_have_count(1)
    page.get_by_role("button", name="Interpolate", exact=True).click()
    assert torch.equal(shown_image(page.locator("#frames .large")), drawn[0])
    use(1, "Edit")
    assert torch.equal(shown_image(page.get_by_alt_text("The picture before")), drawn[1])
    expect(page.locator("#edit-label")).to_have_value("1")
    page.locator("#edit-file").set_input_files(png_file(drawn[0]))
    expect(page.locator("#edit-label")).to_have_value("")
    page.locator("#edit-label").select_option("2")
    page.locator("#edit-file").set_input_files(png_file(drawn[0], "again.png"))
    expect(page.locator("#edit-label")).to_have_value("2")
    use(3, "Score")
    expect(page.locator("#scores tbody")).to_contain_text("seed000006_t0.70.png")


def test_edit(page: Page, site: Site) -> None:
    image = random_images(1, (1, 8, 8), seed=2)
    page.goto(f"{site.address}/#edit")
    page.locator("#edit-file").set_input_files(png_file(image[0]))
    after = page.locator("#edited figure").nth(1)
    expect(after).to_contain_text("Unchanged")
    expect_image(page, after.get_by_role("img"), image[0])
    page.locator("#edit-sliders").get_by_label(DIRECTIONS[0], exact=True).fill("1.2")
    page.locator("#edit-sliders").get_by_label(DIRECTIONS[1], exact=True).fill("-0.5")
    expect(after).to_contain_text(f"{DIRECTIONS[0]} +1.2, {DIRECTIONS[1]} -0.5")
    strengths = list(zip(site.directions.values(), [1.2, -0.5], strict=True))
    expected = generation.edit(site.model, image, strengths, generation.infer_labels(site.model, image))
    assert not torch.equal(expected, image)
    expect_image(page, after.get_by_role("img"), expected[0])
    assert torch.equal(shown_image(page.get_by_alt_text("The picture before")), image[0])
    name, content = saved(page, page.locator("#edited").get_by_role("button", name="Download"))
    assert name == "edited.png"
    assert torch.equal(pixels(content), expected[0])

    page.locator("#edit-label").select_option("2")
    expect(page.locator("#edited .notes")).to_contain_text(CLASSES[2])
    expected = generation.edit(site.model, image, strengths, torch.tensor([2]))
    expect_image(page, after.get_by_role("img"), expected[0])
    page.get_by_role("button", name="All to 0").click()
    expect(after).to_contain_text("Unchanged")
    expect_image(page, after.get_by_role("img"), image[0])


def test_an_unusual_picture_is_not_shown_at_the_limit(page: Page, site: Site) -> None:
    visit(page, site.address)
    texts = page.evaluate("import('./scoretable.js').then((m) => [38.4, 95, 95.3, 99.5, 100].map(m.percentText))")
    assert texts == ["38 %", "95 %", "95.3 %", "99.5 %", "all"]


def test_score(page: Page, site: Site, watch: Watch) -> None:
    watch.expected_statuses.add(415)
    images = random_images(10, (1, 8, 8), seed=4)
    images[3] = 128
    files: list[Any] = [png_file(image, f"{number}.png") for number, image in enumerate(images)]
    broken = {"name": 'not, "a picture".png', "mimeType": "image/png", "buffer": b"text"}
    page.goto(f"{site.address}/#score")
    page.locator("#score-files").set_input_files([*files, broken])
    rows = page.locator("#scores tbody tr")
    expect(rows).to_have_count(11)
    expect(page.locator("#score-task")).to_be_empty()
    reference = site.app.state.service.reference
    measures = generation.measure(site.model, images, seeds=range(10))
    scores, verdicts = generation.oddities(measures, reference.typical), reference.judge(measures)
    labels = generation.infer_labels(site.model, images)
    for number, verdict in enumerate(verdicts):
        expect(rows.nth(number).locator("strong")).to_have_text(verdict.verdict.capitalize())
        expect(rows.nth(number).locator(".reason")).to_have_text(verdict.reason)
        expect(rows.nth(number)).to_contain_text(f"taken for {CLASSES[labels[number]]}")
    expect(rows.nth(3).locator("strong")).to_have_text("Unusual")
    expect(rows.nth(3)).to_contain_text("odder than all")
    expect(page.locator("#scores .hint")).to_contain_text("ordinary pictures (60 ordinary images)")
    assert in_table(page)[10][0].startswith("of no known format, or damaged; ")
    expect(rows.nth(10).locator("svg")).to_have_count(1)

    page.get_by_role("switch", name="All scores").check()
    for number, row in enumerate(in_table(page)[:10]):
        found = [float(value) for value in row[1:]]
        assert found == pytest.approx([float(value[number]) for value in scores.values()], abs=2e-3)
    page.get_by_role("button", name="typicality").click()
    column = [float(row[2]) for row in in_table(page)[:10]]
    assert column == sorted(column, reverse=True)
    expect(page.get_by_role("columnheader", name="typicality")).to_have_attribute("aria-sort", "descending")
    name, content = saved(page, page.get_by_role("button", name="Download as CSV"))
    assert name == "scores.csv"
    table = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert [row["file"] for row in table] == [*(f"{number}.png" for number in range(10)), 'not, "a picture".png']
    assert float(table[3]["spectrum"]) == pytest.approx(float(scores["spectrum"][3]), abs=1e-3)
    assert [row["verdict"] for row in table[:10]] == [verdict.verdict for verdict in verdicts]
    assert "no known format" in table[10]["note"]
    assert [row["label"] for row in table[:10]] == [str(label) for label in labels.tolist()]
    assert [row["class"] for row in table[:10]] == [CLASSES[label] for label in labels]

    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#scores table")).to_have_count(0)
    page.locator("#score-files").set_input_files(files[:1])
    expect(rows).to_have_count(1)
    expect(rows.nth(0).locator(".reason")).to_have_text(verdicts[0].reason)


def test_there_is_no_verdict_where_no_ordinary_pictures_are_known(page: Page, guided_site: Site) -> None:
    image = random_images(1, (1, 8, 8))
    page.goto(f"{guided_site.address}/#score")
    page.locator("#score-files").set_input_files(png_file(image[0], "one.png"))
    expect(page.locator("#scores .hint")).to_contain_text("No verdicts: the model knows no ordinary pictures")
    expect(page.locator("#scores .verdict, #scores .scale, #scores [role=switch]")).to_have_count(0)
    expect(page.locator("#scores thead th")).to_have_text(["Picture", "bits/dim", "PNG ratio"])
    scores = generation.oddities(generation.measure(guided_site.model, image), None)
    assert in_table(page) == [[f"{float(value):.3f}" for value in scores.values()]]
    _, content = saved(page, page.get_by_role("button", name="Download as CSV"))
    assert content.decode().splitlines()[1].startswith("one.png,,,,")


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
    page.locator("#panel-score .drop").dispatch_event("dragover", {"dataTransfer": transfer})
    page.locator("#panel-score .drop").dispatch_event("drop", {"dataTransfer": transfer})
    expect(page.locator("#scores tbody tr")).to_have_count(2)
    expect(page.locator("#scores tbody")).to_contain_text("16x12 resized and cropped to 8x8 (width x height)")
    # One that misses the zone must not take the page's place.
    missed = "(dataTransfer) => !window.dispatchEvent(new DragEvent('drop', { dataTransfer, cancelable: true }))"
    assert page.evaluate(missed, transfer)
