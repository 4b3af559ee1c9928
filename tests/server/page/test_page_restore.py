"""The tab Restore: draws beside the picture, the brush, and what is sent."""

import base64
import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from PIL import ImageCms
from playwright.sync_api import FloatRect, Locator, Page, Route, expect
from registry import random_images, tiny_restorer
from server.app_client import from_base64
from server.page.conftest import Site, Watch, expect_image, png_file, saved, sent_to, shown_image, visit

from glow_app import restoration
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.pictures.images import png_bytes, to_pil, with_profile
from glow_app.server import Limits
from glow_app.server.pictures import encode_png
from glow_app.tasks import Colourise, Denoise, Fill, Upscale
from glow_app.tasks.colourise import luma

pytestmark = pytest.mark.slow

# Not in the order in which they are listed.
GROUPED = {"photos-twice": Upscale(), "faces-twice": Upscale(), "photos-colour": Colourise()}


def choose(page: Page, words: str) -> None:
    page.get_by_role("combobox", name="Task").select_option(label=words)


def after(page: Page) -> Locator:
    return page.locator(".compare img").nth(1)


def expect_draws(page: Page, result: restoration.Restoration) -> None:
    """Wait until the page shows a restoration, draw by draw."""
    thumbnails = page.locator(".choices img")
    for place, draw in enumerate(result.draws):
        expect_image(page, thumbnails.nth(place), draw)
    expect_image(page, page.locator(".compare img").first, result.given)
    if len(result.draws) > 1:
        expect_image(page, thumbnails.nth(len(result.draws)), result.mean)
        expect_image(page, thumbnails.nth(len(result.draws) + 1), result.shown_spread)


def cover(page: Page, sides: dict[str, int]) -> None:
    """Cover a rectangle by its numbers."""
    page.locator(".brush details").evaluate("(details) => (details.open = true)")
    for name, number in sides.items():
        page.get_by_label(name, exact=True).fill(str(number))
    page.get_by_role("button", name="Cover it").click()


def test_a_sample_is_damaged_and_restored_at_the_first_visit(page: Page, restoring_site: Site) -> None:
    model = restoring_site.restorers["enlarge"]
    page.goto(f"{restoring_site.address}/#restore")
    expect(page.locator("#restore-note")).to_have_text("The sample, reduced to 4x4.")
    small = shown_image(page.locator("#restore-picture img"))[:3]  # canvases have an alpha channel
    sample = restoring_site.model.sample(1, temperature=0.7, seeds=0)[0]
    assert (small - F.avg_pool2d(sample.float(), 2)).abs().max() <= 1
    result = restoration.restore(model, small, 4, seeds=0)
    expect_draws(page, result)
    captions = ["seed 0", "seed 1", "seed 2", "seed 3", "mean", "spread", "original"]
    expect(page.locator(".choices button")).to_have_text(captions)
    expect_image(page, page.locator(".choices img").last, sample)
    page.get_by_role("button", name="seed 2").click()
    expect(page.get_by_role("button", name="seed 2")).to_have_attribute("aria-pressed", "true")
    expect_image(page, after(page), result.draws[2])
    name, content = saved(page, page.get_by_role("button", name="Download"))
    assert name == "seed000000_t0.70_seed2.png"
    assert torch.equal(from_base64(base64.b64encode(content).decode()), result.draws[2])
    page.locator("#restore-temperature input").fill("0.2")
    expect(page.locator("#restore-result .notes")).to_contain_text("temperature 0.20")
    expect_image(page, after(page), restoration.restore(model, small, 4, 0.2, seeds=0).draws[2])
    page.locator("#restore-draws").fill("1")
    page.locator("#restore-draws").press("Enter")
    expect(page.locator(".choices button")).to_have_text(["seed 0", "original"])
    page.wait_for_url("**/#restore?restorer=enlarge&picture=0_0.7_&draws=1&seed=0&temperature=0.2")
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    expect_draws(page, restoration.restore(model, small, 1, 0.2, seeds=0))


def test_a_link_of_nonsense_is_the_tab_as_it_begins(page: Page, restoring_site: Site) -> None:
    bodies = sent_to(page, "restore")
    page.goto(f"{restoring_site.address}/#restore?restorer=denoise&temperature=&sigma=&seed=x&draws=900&class=1")
    expect(page.locator(".choices button")).to_have_count(7)
    assert (bodies[0]["temperature"], bodies[0]["sigma"], bodies[0]["seed"]) == (None, None, 0)


def test_another_task_while_the_sample_is_drawn(page: Page, restoring_site: Site) -> None:
    held: list[Route] = []
    page.route("**/v1/sample", lambda route: held.append(route))
    with page.expect_request("**/v1/sample"):
        page.goto(f"{restoring_site.address}/#restore?restorer=enlarge")
    with page.expect_request("**/v1/sample"):
        choose(page, "Remove noise")
    while len(held) < 2:  # the request is there, and is about to be held
        page.wait_for_timeout(10)
    held[1].continue_()
    expect(page.locator(".choices")).to_be_visible()
    expect(page.locator("#restore-note")).to_have_text("The sample, with noise of 25 grey levels.")


@pytest.mark.parametrize("channels", [1, 3])
def test_the_noise_of_a_sample_made_grey_is_as_loud(page: Page, restoring_site: Site, channels: int) -> None:
    page.goto(f"{restoring_site.address}/#restore")
    damaged = """async ([url, channels]) => {
      const { damaged } = await import(new URL("damage.js", location));
      return (await damaged({ url, settings: { seed: 0 } }, { task: "Denoise", channels })).url.split(",")[1];
    }"""
    url = f"data:image/png;base64,{encode_png(torch.full((3, 64, 64), 128, dtype=torch.uint8))}"
    noisy = from_base64(page.evaluate(damaged, [url, channels]))[:3]
    assert (luma(noisy[None]) if channels == 1 else noisy).float().std() == pytest.approx(25, rel=0.1)


def test_a_damaged_sample_has_the_size_of_what_is_sent(page: Page, restoring_site: Site) -> None:
    page.goto(f"{restoring_site.address}/#restore")
    damaged = """async (url) => {
      const { damaged } = await import(new URL("damage.js", location));
      return (await damaged({ url, settings: { seed: 0 } }, { task: "Upscale", factor: 2 })).size;
    }"""
    url = f"data:image/png;base64,{encode_png(random_images(1)[0])}"
    assert page.evaluate(damaged, url) == [4, 4]


def test_the_divider_is_moved_by_pointer_and_by_keyboard(page: Page, restoring_site: Site) -> None:
    page.goto(f"{restoring_site.address}/#restore")
    divider = page.get_by_label("Before and after")
    expect(divider).to_have_attribute("aria-valuetext", "50 % before")
    divider.press("ArrowRight")
    expect(divider).to_have_value("51")
    box = page.locator(".compare").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 9)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 9)
    page.mouse.up()
    expect(divider).to_have_value("25")
    expect(divider).to_be_focused()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 9)
    page.mouse.down(button="right")
    page.mouse.up(button="right")
    expect(divider).to_have_value("25")
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.compare img + img')).clipPath")
        == "inset(0px 0px 0px 25%)"
    )
    page.get_by_label("Seed", exact=True).last.fill("9")
    page.get_by_label("Seed", exact=True).last.press("Enter")
    expect(page.get_by_role("button", name="seed 9")).to_be_visible()
    expect(divider).to_have_value("25")


def test_a_file_is_sent_whole_in_its_own_proportions(page: Page, restoring_site: Site) -> None:
    picture = random_images(1, (3, 5, 11))[0]
    page.goto(f"{restoring_site.address}/#restore")
    expect(page.locator(".choices")).to_be_visible()
    bodies = sent_to(page, "restore")
    page.locator("#restore-file").set_input_files(png_file(picture, "mine.png"))
    expect_draws(page, restoration.restore(restoring_site.restorers["enlarge"], picture, 4, seeds=0))
    assert bodies[-1]["image"] == base64.b64encode(png_file(picture)["buffer"]).decode()
    expect(page.locator("#restore-note")).to_be_empty()
    assert saved(page, page.get_by_role("button", name="Download"))[0] == "mine_seed0.png"
    page.wait_for_url("**/#restore?restorer=enlarge&draws=4&seed=0")


@pytest.mark.parametrize(
    ("pixels", "hint", "last", "shape"),
    [
        (20_000_000, "; fewer draws keep more of it", "", (3, 40, 60)),
        (30 * 20, "", "60x40 reduced to 30x20 by the browser", (3, 20, 30)),
    ],
)
def test_a_large_file_is_reduced_to_what_the_server_takes(
    pixels: int,
    hint: str,
    last: str,
    shape: tuple[int, ...],
    page: Page,
    serve: Callable[..., Site],
    restorers: dict[str, ImageModel],
) -> None:
    limits = Limits(restored_pixels=4 * 4 * 30 * 20, pixels=pixels)
    site = serve(limits, restorers={"enlarge": restorers["enlarge"]})
    page.goto(f"{site.address}/#restore")
    expect(page.locator(".choices")).to_be_visible()
    expect(page.get_by_role("combobox", name="Task")).to_be_hidden()
    bodies = sent_to(page, "restore")
    page.locator("#restore-file").set_input_files(png_file(random_images(1, (3, 40, 60))[0]))
    note = page.locator("#restore-note")
    expect(note).to_have_text(f"60x40 reduced to 30x20 by the browser{hint}")
    expect(page.locator(".choices button")).to_have_count(6)
    page.locator("#restore-draws").fill("1")
    page.locator("#restore-draws").press("Enter")
    expect(page.locator(".choices button")).to_have_count(1)
    expect(note).to_have_text(last)
    assert [from_base64(bodies[place]["image"])[:3].shape for place in (0, -1)] == [(3, 20, 30), shape]


def test_a_reduced_file_keeps_the_look_of_its_colour_profile(
    page: Page, serve: Callable[..., Site], restorers: dict[str, ImageModel]
) -> None:
    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()  # red is shown as green
    for old, new in ((b"rXYZ", b"...."), (b"gXYZ", b"rXYZ"), (b"....", b"gXYZ")):
        swapped = swapped.replace(old, new)
    red = torch.tensor([200, 40, 90], dtype=torch.uint8)[:, None, None].expand(3, 40, 60)
    file = png_file(red) | {"buffer": png_bytes(with_profile(to_pil(red), swapped))}
    site = serve(Limits(restored_pixels=4 * 4 * 30 * 20), restorers={"enlarge": restorers["enlarge"]})
    page.goto(f"{site.address}/#restore")
    expect(page.locator(".choices")).to_be_visible()
    bodies = sent_to(page, "restore")
    page.locator("#restore-file").set_input_files(file)
    expect(page.locator("#restore-note")).to_contain_text("60x40 reduced to 30x20")
    (sent,) = from_base64(bodies[-1]["image"])[:3].flatten(1).unique(dim=1).T
    assert (sent.int() - torch.tensor([40, 200, 90])).abs().max() <= 3


def test_what_is_painted_is_filled_in(page: Page, restoring_site: Site) -> None:
    model, picture = restoring_site.restorers["fill"], random_images(1, (3, 20, 30))[0]
    page.goto(f"{restoring_site.address}/#restore?restorer=fill")
    expect(page.locator(".choices")).to_be_visible()  # of the sample, with a hole in its middle
    bodies = sent_to(page, "restore")
    page.locator("#restore-file").set_input_files(png_file(picture))
    expect(page.locator(".choices")).to_have_count(0)
    page.get_by_role("button", name="Restore", exact=True).click()
    expect(page.locator("#brush-error")).to_have_text("Cover some of the picture, and not all of it.")
    assert bodies == []

    box = page.locator(".brush canvas").bounding_box()
    assert box is not None
    page.locator("#brush-size").fill("20")  # of 30 pixels: 6
    page.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 2 * box["width"] / 3, box["y"] + box["height"] / 2, steps=3)
    page.mouse.up()
    expect(page.locator(".choices button")).to_have_count(6)
    mask = from_base64(bodies[0]["mask"])
    assert mask.shape[1:] == (20, 30)
    missing = mask[:1] >= 128
    assert missing[0, 8:12, 10:20].all()
    assert not missing[0, :6].any()
    assert not missing[0, :, :6].any()
    expect_draws(page, restoration.restore(model, Fill().prepare(picture, mask[:1]), 4, seeds=0))

    page.get_by_label("Erase").check()
    with page.expect_request("**/v1/restore"):
        page.mouse.click(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    assert (from_base64(bodies[1]["mask"])[0, 8:12, 8:12] < 128).all()
    with page.expect_request("**/v1/restore"):
        page.get_by_role("button", name="Undo").click()
    assert torch.equal(from_base64(bodies[2]["mask"]), mask)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".choices")).to_have_count(0)

    page.get_by_text("A rectangle by numbers").click()
    page.get_by_role("button", name="Cover it").click()
    wrong = "Whole numbers within the picture of 30x20 pixels, please; width and height from 1."
    expect(page.locator("#brush-error")).to_have_text(wrong)
    sides = {"Left": 3, "Top": 5, "Width": 4, "Height": 2}
    for name, number in sides.items():
        page.get_by_label(name, exact=True).fill(str(number))
    expect(page.locator("#brush-error")).to_be_empty()
    expect(page.locator("[aria-invalid=true]")).to_have_count(0)
    for outside in ({"Width": 0}, {"Height": 0}, {"Left": 30}, {"Top": 20}):
        cover(page, sides | outside)
        expect(page.locator("[aria-invalid=true]")).to_have_id(f"brush-{next(iter(outside))}")
        expect(page.locator("#brush-error")).to_have_text(wrong)
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    cover(page, {"Left": 3, "Top": 5, "Width": 4, "Height": 2})
    expect(page.locator(".choices button")).to_have_count(6)
    expect(page.locator("#brush-error")).to_be_empty()
    expected = torch.zeros(20, 30, dtype=torch.uint8)
    expected[5:7, 3:7] = 255
    assert torch.equal(from_base64(bodies[-1]["mask"])[0], expected)


def test_a_number_that_was_wrong_as_the_picture_was_chosen_is_mended(page: Page, restoring_site: Site) -> None:
    page.goto(f"{restoring_site.address}/#restore?restorer=enlarge")
    expect(page.locator(".choices")).to_be_visible()
    page.locator("#restore-draws").fill("0")
    page.locator("#restore-file").set_input_files(png_file(random_images(1, (3, 20, 30))[0]))
    expect(page.locator(".choices")).to_have_count(0)
    page.locator("#restore-draws").fill("2")
    page.locator("#restore-draws").press("Tab")
    expect(page.locator(".choices button")).to_have_count(4)


def touching(page: Page, box: FloatRect) -> Callable[..., None]:
    """Return a function that moves fingers in a box, each at its place: right and down, from 0 to 1."""
    devtools = page.context.new_cdp_session(page)

    def touch(kind: str, **fingers: tuple[float, float]) -> None:
        points = [
            {"id": number, "x": box["x"] + across * box["width"], "y": box["y"] + down * box["height"]}
            for number, (across, down) in enumerate(fingers.values())
        ]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    return touch


def test_a_second_finger_does_not_move_the_divider(page: Page, restoring_site: Site) -> None:
    page.goto(f"{restoring_site.address}/#restore?restorer=enlarge")
    divider = page.get_by_label("Before and after")
    expect(divider).to_have_value("50")
    box = page.locator(".compare").bounding_box()
    assert box is not None
    touch = touching(page, box)
    touch("touchStart", first=(0.3, 0.5))
    touch("touchStart", first=(0.3, 0.5), second=(0.9, 0.5))
    touch("touchMove", first=(0.3, 0.5), second=(0.8, 0.5))
    touch("touchEnd", first=(0.3, 0.5))
    touch("touchEnd")
    expect(divider).to_have_value("30")


def test_a_second_finger_paints_nothing(page: Page, restoring_site: Site) -> None:
    page.goto(f"{restoring_site.address}/#restore?restorer=fill")
    expect(page.locator(".choices")).to_be_visible()
    page.locator("#restore-file").set_input_files(png_file(random_images(1, (3, 20, 30))[0]))
    expect(page.locator(".choices")).to_have_count(0)
    canvas = page.locator(".brush canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    bodies, touch = sent_to(page, "restore"), touching(page, box)
    touch("touchStart", first=(0.2, 0.25))
    touch("touchStart", first=(0.2, 0.25), second=(0.8, 0.9))
    touch("touchMove", first=(0.4, 0.25), second=(0.9, 0.9))
    touch("touchMove", first=(0.6, 0.25))  # the second one is lifted
    touch("touchMove", first=(0.8, 0.25))
    touch("touchEnd")
    expect(page.locator(".choices button")).to_have_count(6)
    missing = from_base64(bodies[-1]["mask"])[0] >= 128
    assert missing[5, 7:23].all()
    assert not missing[12:].any()


def test_what_is_painted_stays_where_it_is_as_the_picture_is_reduced_less(
    page: Page, serve: Callable[..., Site], restorers: dict[str, ImageModel]
) -> None:
    site = serve(Limits(restored_pixels=4 * 30 * 20), restorers={"fill": restorers["fill"]})
    page.goto(f"{site.address}/#restore")
    expect(page.locator(".choices")).to_be_visible()
    page.locator("#restore-file").set_input_files(png_file(random_images(1, (3, 40, 60))[0]))
    expect(page.locator("#restore-note")).to_contain_text("60x40 reduced to 30x20")
    bodies = sent_to(page, "restore")
    cover(page, {"Left": 3, "Top": 5, "Width": 4, "Height": 2})
    expect(page.locator(".choices button")).to_have_count(6)
    page.locator("#restore-draws").fill("1")
    page.locator("#restore-draws").press("Enter")
    expect(page.locator(".choices button")).to_have_count(1)
    for body, scale in ((bodies[0], 1), (bodies[-1], 2)):
        expected = torch.zeros(20 * scale, 30 * scale, dtype=torch.uint8)
        expected[5 * scale : 7 * scale, 3 * scale : 7 * scale] = 255
        assert torch.equal(from_base64(body["mask"])[0], expected)


def test_noise_is_estimated_or_given(page: Page, restoring_site: Site) -> None:
    page.goto(f"{restoring_site.address}/#restore?restorer=denoise")
    notes = page.locator("#restore-result .notes")
    expect(notes).to_contain_text("estimated")
    bodies = sent_to(page, "restore")
    page.get_by_role("switch", name="Estimate the noise").uncheck()
    page.get_by_label("Noise level").fill("40")
    expect(notes).to_contain_text("noise level 40")
    expect(notes).not_to_contain_text("estimated")
    model = restoring_site.restorers["denoise"]
    expected = restoration.restore(model, Denoise().prepare(from_base64(bodies[-1]["image"])[:3], None, 40), 4, seeds=0)
    expect_draws(page, expected)


@pytest.mark.parametrize("field", ["draws", "seed"])
def test_a_number_that_goes_while_a_change_waits_is_not_sent(field: str, page: Page, restoring_site: Site) -> None:
    page.goto(f"{restoring_site.address}/#restore")
    expect(page.locator(".choices")).to_be_visible()
    bodies = sent_to(page, "restore")
    temperature, number = page.locator("#restore-temperature input"), page.locator(f"#restore-{field}")
    with restoring_site.busy():
        temperature.fill("0.2")
        restoring_site.expect_depth(page, 2)
        temperature.fill("0.3")  # waits for the answer
        number.fill({"draws": "", "seed": "-1"}[field])
    expect(page.locator(f"#restore-{field}-error")).to_contain_text("A whole number from ")
    expect(page.locator("#restore-task")).to_be_empty()
    assert [(body["count"], body["seed"]) for body in bodies] == [(4, 0)]
    number.fill("2")
    number.press("Enter")
    expect(page.locator(f"#restore-{field}-error")).to_be_empty()
    expect(page.locator("#restore-result .notes")).to_contain_text("temperature 0.30")
    assert (bodies[-1]["count"], bodies[-1]["seed"]) == {"draws": (2, 0), "seed": (4, 2)}[field]


def test_a_picture_to_colour_is_shown_in_grey(page: Page, restoring_site: Site) -> None:
    picture = random_images(1, (3, 8, 8))[0]
    page.goto(f"{restoring_site.address}/#restore?restorer=colour")
    expect(page.locator("#restore-note")).to_have_text("The sample, in grey.")
    page.locator("#restore-file").set_input_files(png_file(picture))
    expect_draws(page, restoration.restore(restoring_site.restorers["colour"], luma(picture[None])[0], 4, seeds=0))
    thumbnail = "getComputedStyle(document.querySelector('#restore-picture img')).filter"
    assert page.evaluate(thumbnail) == "grayscale(1)"
    choose(page, "Enlarge 2 times")
    assert page.evaluate(thumbnail) == "none"


def test_restorers_are_grouped_by_the_beginning_of_their_names(page: Page, serve: Callable[..., Site]) -> None:
    restorers = {name: tiny_restorer(task) for name, task in GROUPED.items()}
    page.goto(f"{serve(restorers=restorers).address}/#restore")
    groups = page.locator("#restore-restorer optgroup")
    expect(groups).to_have_count(2)
    assert [group.get_attribute("label") for group in groups.all()] == ["photos", "faces"]
    assert groups.nth(0).locator("option").all_inner_texts() == ["Enlarge 2 times (photos-twice)", "Colour"]
    choose(page, "Colour")
    expect(page.locator("#restore-note")).to_have_text("The sample, in grey.")
    expect(page.locator(".choices")).to_be_visible()  # or the server would be gone while it is asked


def test_a_restorer_with_classes_and_a_temperature_per_level(page: Page, serve: Callable[..., Site]) -> None:
    model = tiny_restorer(Upscale(), num_classes=2)
    model.class_names = ["<i>dog</i>", "cat"]
    model.generation = GenerationSettings((0.4, 0.9), 1.0)
    page.goto(f"{serve(restorers={'kinds': model}).address}/#restore")
    notes = page.locator("#restore-result .notes")
    expect(notes).to_have_text("temperature 0.40, 0.90")
    picture = random_images(1, (3, 6, 4))[0]
    page.locator("#restore-file").set_input_files(png_file(picture))
    expect_draws(page, restoration.restore(model, picture, 4, seeds=0))
    page.locator("#restore-label").select_option(label="cat")
    expect_draws(page, restoration.restore(model, picture, 4, seeds=0, labels=1))
    page.locator("#restore-temperature input").fill("1")
    expect(notes).to_have_text(re.compile(r"^temperature 1\.00\b"))
    page.wait_for_url("**/#restore?restorer=kinds&draws=4&seed=0&temperature=1&class=1")


def test_samples_are_restored_from_the_viewer_and_the_shelf(page: Page, restoring_site: Site) -> None:
    visit(page, restoring_site.address)
    page.locator(".card .picture").nth(3).click()
    page.get_by_role("dialog").get_by_role("button", name="Restore").click()
    samples = restoring_site.model.sample(8, temperature=0.7, seeds=0)
    expect_image(page, page.locator(".choices img").last, samples[3])
    page.locator("#restore-samples .picture").nth(5).click()
    expect_image(page, page.locator(".choices img").last, samples[5])


def test_what_is_no_picture_is_named_beside_its_field(page: Page, restoring_site: Site, watch: Watch) -> None:
    watch.expected_statuses.update({413, 415, 422})
    page.goto(f"{restoring_site.address}/#restore")
    expect(page.locator(".choices")).to_be_visible()
    page.locator("#restore-file").set_input_files({"name": "no.png", "mimeType": "image/png", "buffer": b"picture"})
    expect(page.locator("#restore-file-error")).to_contain_text("no.png: ")
    expect(page.locator(".choices")).to_have_count(0)
    choose(page, "Fill in")
    expect(page.locator("#restore-file-error")).to_contain_text("no.png: this browser cannot show it")
    expect(page.locator(".brush")).to_be_hidden()
    page.locator("#restore-draws").fill("1000")
    page.locator("#restore-draws").press("Enter")
    expect(page.locator("#restore-draws-error")).to_have_text("A whole number from 1 to 64, please.")


def test_without_restorers_there_is_no_such_tab(page: Page, plain_site: Site) -> None:
    visit(page, f"{plain_site.address}/#restore")
    expect(page.get_by_role("tab")).to_have_text(["Sample", "Interpolate", "Edit", "Score"])
    page.locator(".card .picture").first.click()
    expect(page.get_by_role("dialog").get_by_role("button", name="Restore")).to_be_hidden()
