"""The tab Restore: the result or draws beside the picture, the frame, the brush, and what is sent."""

import base64
import io
import re
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from app_client import as_base64, from_base64
from pictures.test_picture_file import IFD0, tags
from PIL import Image, ImageCms
from playwright.sync_api import FilePayload, FloatRect, Locator, Page, Route, expect
from registry import random_images, tiny_model, tiny_restorer
from server.page.conftest import Site, Watch, expect_image, png_file, reopen, saved, served, visit

from glow_app import restoration, server
from glow_app.models.generation_settings import GenerationSettings
from glow_app.pictures.encoding import png_bytes, with_profile
from glow_app.pictures.images import to_pil
from glow_app.pictures.inputs import as_photo
from glow_app.pipeline.loaded_model import LoadedModel
from glow_app.restoration import Clean, Colourise, Fill, RestorationTask, Upscale
from glow_app.restoration.colourise import luma
from glow_app.server.bodies import values_of_form
from glow_app.server.limits import Limits
from glow_app.spec import register

pytestmark = pytest.mark.slow


PHOTO = random_images(1, (3, 6, 8))[0]


@pytest.fixture
def bodies(page: Page, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The forms that the server receives; the photograph that the tab opens with is a small picture."""
    page.route("**/photo.jpg", lambda route: route.fulfill(body=png_file(PHOTO)["buffer"], content_type="image/png"))
    received: list[dict[str, Any]] = []

    def read(parts: Any) -> dict[str, Any]:
        received.append(values_of_form(parts))
        return received[-1]

    monkeypatch.setattr("glow_app.server.gate.values_of_form", read)
    return received


def begin(page: Page, site: Site, bodies: list[dict[str, Any]], link: str = "") -> None:
    """Open the tab, and wait for the first result."""
    page.goto(f"{site.address}/#restore?{link}")
    expect(page.locator(".compare")).to_be_visible()
    bodies.clear()


def choose(page: Page, words: str) -> None:
    page.get_by_role("combobox", name="Task").select_option(label=words)


def set_draws(page: Page, number: str) -> None:
    page.locator("#restore-count").fill(number)
    page.locator("#restore-count").press("Enter")


def take(page: Page, *shape: int) -> torch.Tensor:
    """Choose a file of random pixels, and return them."""
    picture = random_images(1, shape)[0]
    page.locator("#restore-file").set_input_files(png_file(picture, "mine.png"))
    return picture


def expect_draws(page: Page, result: restoration.Restoration) -> None:
    """Wait until the page shows all draws of a restoration."""
    thumbnails = page.locator(".choices img")
    for place, draw in enumerate(result.draws):
        expect_image(page, thumbnails.nth(place), draw)
    if len(result.draws) > 1:
        expect_image(page, thumbnails.nth(len(result.draws)), result.mean)
        expect_image(page, thumbnails.nth(len(result.draws) + 1), result.shown_spread)


def cleaned_and_enlarged(
    site: Site, damaged: torch.Tensor, count: int = 1, temperature: float | None = 0.0
) -> restoration.Restoration:
    """Return what the page restores by default with the task of enlarging."""
    steps = [(site.restorers[name], restoration.require_task(site.restorers[name])) for name in ("clean", "enlarge")]
    return restoration.restore_successively(steps, damaged, count, temperature)


def expect_result(page: Page, model: LoadedModel, damaged: torch.Tensor) -> None:
    """Wait until the page shows the best estimate."""
    expect_image(page, page.locator(".compare img").nth(1), restoration.restore(model, damaged, 1, 0.0).draws[0])


def box_of(part: Locator) -> FloatRect:
    box = part.bounding_box()
    assert box is not None
    return box


def mask_of(body: dict[str, Any]) -> torch.Tensor:
    return from_base64(as_base64(body["inputs"]["mask"]))[:1]


def wait_for(page: Page, bodies: list[dict[str, Any]], place: int) -> dict[str, Any]:
    """Wait until the server has received a form."""
    while len(bodies) <= place:
        page.wait_for_timeout(10)
    return bodies[place]


def paint(page: Page) -> FloatRect:
    """Paint over the middle third of a picture, and return the box of the canvas."""
    box = box_of(page.locator(".brush canvas"))
    page.locator("#brush-size").fill("20")
    page.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 2 * box["width"] / 3, box["y"] + box["height"] / 2, steps=3)
    page.mouse.up()
    return box


def test_the_first_visit_restores_a_photograph(page: Page, restoring_site: Site) -> None:
    page.goto(f"{restoring_site.address}/#restore")
    expect(page.locator("#restore-note")).to_contain_text("CC0")
    expect(page.locator("#restore-note")).to_contain_text("Result: 600 x 400 pixels.")
    expect(page.locator(".compare")).to_be_visible()
    photo = Path(server.__file__).parent / "page" / "photo.jpg"
    assert photo.stat().st_size < 150_000
    damaged = as_photo(photo, 3)
    result = restoration.restore(restoring_site.restorers["clean"], damaged, 1, 0.0).draws[0]
    name, content = saved(page, page.get_by_role("button", name="Download"))
    assert name == "photo-cleaned.jpg"
    assert (as_photo(Image.open(io.BytesIO(content)), 3).float() - result).abs().mean() < 3, "it is a JPEG too"


def test_a_sample_and_its_draws_in_a_link(page: Page, restoring_site: Site, bodies: list[dict[str, Any]]) -> None:
    begin(page, restoring_site, bodies, "restorer=enlarge&picture=0_0.7_")
    small = restoring_site.model.sample(1, temperature=0.7, seeds=0)[0]
    best = cleaned_and_enlarged(restoring_site, small).draws[0]
    expect_image(page, page.locator(".compare img").nth(1), best)
    expect(page.locator(".choices button")).to_have_text(["restored", "original"])
    expect_image(page, page.locator(".choices img").last, small)
    name, content = saved(page, page.get_by_role("button", name="Download"))
    assert name == "picture-seed0-cleaned-enlarged.png"
    assert torch.equal(from_base64(base64.b64encode(content).decode()), best)

    page.get_by_role("switch", name="Show possible originals").check()
    result = cleaned_and_enlarged(restoring_site, small, 4, None)
    expect_draws(page, result)
    captions = ["seed 0", "seed 1", "seed 2", "seed 3", "mean", "spread", "original"]
    expect(page.locator(".choices button")).to_have_text(captions)
    page.get_by_role("button", name="seed 2").click()
    expect(page.get_by_role("button", name="seed 2")).to_have_attribute("aria-pressed", "true")
    expect_image(page, page.locator(".compare img").nth(1), result.draws[2])
    assert saved(page, page.get_by_role("button", name="Download"))[0] == "picture-seed0-cleaned-enlarged-3.png"
    page.locator("#restore-temperature input").fill("0.2")
    expect(page.locator("#restore-result .notes")).to_contain_text("temperature 0.20")
    third = cleaned_and_enlarged(restoring_site, small, 4, 0.2).draws[2]
    expect_image(page, page.locator(".compare img").nth(1), third)
    set_draws(page, "2")
    expect(page.locator(".choices button")).to_have_count(5)
    page.wait_for_url("**/#restore?restorer=enlarge&picture=0_0.7_&count=2&seed=0&temperature=0.2")
    reopen(page, page.url)
    expect_draws(page, cleaned_and_enlarged(restoring_site, small, 2, 0.2))
    bodies.clear()
    reopen(page, f"{restoring_site.address}/#restore?restorer=x&temperature=&seed=x&count=900")
    expect(page.locator(".compare")).to_be_visible()
    assert [(body["temperature"], body["count"], body["image"]) for body in bodies] == [
        (0, 1, png_file(PHOTO)["buffer"])
    ]


def test_the_task_can_change_while_the_sample_is_drawn(page: Page, restoring_site: Site) -> None:
    held: list[Route] = []
    page.route("**/v1/sample", lambda route: held.append(route))
    with page.expect_request("**/v1/sample"):
        page.goto(f"{restoring_site.address}/#restore?restorer=enlarge&picture=0_0.7_")
    with page.expect_request("**/v1/sample"):
        choose(page, "Photograph: clean (noise, JPEG)")
    while len(held) < 2:  # the request is there, and is about to be held
        page.wait_for_timeout(10)
    held[1].continue_()
    sample = restoring_site.model.sample(1, temperature=0.7, seeds=0)[0]
    expect_result(page, restoring_site.restorers["clean"], sample)


def test_a_file_is_sent_unchanged_and_compared_with_its_draws(
    page: Page, restoring_site: Site, bodies: list[dict[str, Any]]
) -> None:
    begin(page, restoring_site, bodies, "restorer=enlarge&count=4&seed=0")
    picture = take(page, 3, 5, 11)
    expect_draws(page, cleaned_and_enlarged(restoring_site, picture, 4, None))
    expect_image(page, page.locator(".compare img").first, picture)
    assert bodies[-1]["image"] == png_file(picture)["buffer"]
    expect(page.locator("#restore-note")).to_contain_text("Result: 22 x 10 pixels.")
    assert saved(page, page.get_by_role("button", name="Download"))[0] == "mine-cleaned-enlarged.png"
    page.wait_for_url("**/#restore?restorer=enlarge&count=4&seed=0")

    divider = page.get_by_label("Before and after")
    expect(divider).to_have_attribute("aria-valuetext", "50 % before")
    divider.press("ArrowRight")
    expect(divider).to_have_value("51")
    box = box_of(page.locator(".compare"))
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 9)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 9)
    page.mouse.up()
    expect(divider).to_be_focused()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 9)
    page.mouse.down(button="right")
    page.mouse.up(button="right")
    clip = "parseFloat(document.querySelector('.compare img + img').style.clipPath.split(' ')[3])"
    assert page.evaluate(clip) == pytest.approx(box["width"] / 4, abs=1)
    page.locator("#restore-seed").fill("9")
    page.locator("#restore-seed").press("Enter")
    expect(page.get_by_role("button", name="seed 9")).to_be_visible()
    expect(divider).to_have_value("25")


def test_enlarged_pictures_are_dragged_under_the_divider(page: Page, restoring_site: Site, bodies: list[Any]) -> None:
    begin(page, restoring_site, bodies)
    take(page, 3, 400, 600)
    expect(page.locator("#restore-note")).to_have_text("Result: 600 x 400 pixels.")
    expect(page.locator("#restore-task")).to_be_empty()
    box, pane = box_of(page.locator(".compare")), page.locator(".pane")
    sizes = "(pane) => [pane.firstChild.offsetWidth, pane.scrollLeft, pane.scrollTop]"
    page.locator(".compare").dblclick(position={"x": 20, "y": 20})
    expect(page.get_by_role("radio", name="1:1")).to_be_checked()
    assert pane.evaluate(sizes)[0] == 600
    page.keyboard.press("Tab")
    page.get_by_role("radio", name="1:1").press("ArrowRight")
    width, left, top = pane.evaluate(sizes)
    assert width == 1200
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 40, box["y"] + 30)
    page.mouse.up()
    assert pane.evaluate(sizes) == [1200, left + 10, top + 20]
    page.wait_for_timeout(100)  # a scroll is reported with the next frame
    edge = "parseFloat(document.querySelector('.compare img + img').style.clipPath.split(' ')[3])"
    assert page.evaluate(edge) == pytest.approx(left + 10 + box["width"] / 2, abs=1)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 50)
    page.mouse.up()
    expect(page.get_by_label("Before and after")).to_have_value("25")


def test_several_files_are_restored_one_after_another_and_enlarged(
    page: Page, restoring_site: Site, bodies: list[dict[str, Any]], watch: Watch
) -> None:
    watch.expected_statuses.update({415, 422})
    begin(page, restoring_site, bodies, "restorer=clean")
    pictures = random_images(2, (3, 6, 8))
    moving = io.BytesIO()
    to_pil(pictures[0]).save(moving, "PNG", save_all=True, append_images=[to_pil(pictures[1])])
    animation: FilePayload = {"name": "moving.png", "mimeType": "image/png", "buffer": moving.getvalue()}
    broken: FilePayload = {"name": "broken.png", "mimeType": "image/png", "buffer": b"no picture"}
    files = [broken, png_file(pictures[0]), animation, png_file(pictures[1], "other.png")]
    page.locator("#restore-file").set_input_files(files)
    row = page.locator("#restore-files .picture")
    expect(row.nth(3)).to_have_attribute("title", "other.png: restored")
    expect(row.nth(0)).to_have_class("picture failed")
    row.nth(1).click()
    assert [body["image"] for body in bodies] == [file["buffer"] for file in files]
    model = restoring_site.restorers["clean"]
    expect_result(page, model, pictures[0])
    expect(row.nth(2)).to_have_class("picture failed")
    row.nth(2).click()
    expect(page.locator("#restore-file-error")).to_contain_text("moving.png: it has 2 frames; choose one")
    expect(page.locator(".compare")).to_have_count(0)
    frame = page.get_by_label("Frame, from 0")
    frame.fill("2")
    frame.press("Enter")
    assert frame.evaluate("(input) => !input.validity.valid")
    frame.fill("1")
    frame.press("Enter")
    expect_result(page, model, pictures[1])
    expect(page.locator("#restore-file-error")).to_be_empty()
    row.nth(3).click()
    expect(frame).to_be_hidden()
    expect_result(page, model, pictures[1])
    page.get_by_role("button", name="Enlarge 2 times").click()
    cleaned = restoration.restore(model, pictures[1], 1, 0.0).draws[0]
    expect_result(page, restoring_site.restorers["enlarge"], cleaned)
    expect_image(page, page.locator(".compare img").first, pictures[1])
    note = "Result: 16 x 12 pixels. Steps: clean (noise, JPEG), then enlarge 2 times."
    expect(page.locator("#restore-note")).to_have_text(note)
    expect(page.get_by_role("switch", name="Clean before enlarging")).to_be_hidden()
    assert saved(page, page.get_by_role("button", name="Download", exact=True))[0] == "other-cleaned-enlarged.png"
    expect(row.nth(2)).to_have_attribute("title", "moving.png: restored")
    expect(page.get_by_role("button", name="Download all 3")).to_be_visible()
    expect(row.nth(0)).to_have_class("picture failed")
    sent = [(body["image"], body["restorer"]) for body in bodies[-3:]]
    shown_first = [files[3], files[1], files[2]]
    assert sent == [(file["buffer"], ["clean", "enlarge"]) for file in shown_first], "not its JPEG"
    page.get_by_role("button", name="Enlarge 2 times").click()
    expect(page.locator("#restore-note")).to_contain_text("Result: 32 x 24 pixels")
    expect(page.get_by_role("button", name="Enlarge 2 times")).to_be_hidden()
    assert wait_for(page, bodies, 9)["restorer"] == ["clean", "enlarge", "enlarge"], "cleaned once"


def test_a_picture_is_cleaned_before_it_is_enlarged_unless_switched_off(
    page: Page, restoring_site: Site, bodies: list[dict[str, Any]]
) -> None:
    begin(page, restoring_site, bodies, "restorer=enlarge")
    picture = take(page, 3, 6, 8)
    result = cleaned_and_enlarged(restoring_site, picture)
    after, notes = page.locator(".compare img").nth(1), page.locator("#restore-result .notes")
    expect_image(page, after, result.draws[0])
    assert result.note == "cleaned throughout, then enlarged 2 times"
    expect(notes).to_have_text(result.note)
    page.get_by_role("switch", name="Clean before enlarging").uncheck()
    expect_image(page, after, restoration.restore(restoring_site.restorers["enlarge"], picture, 1, 0.0).draws[0])
    expect(notes).to_be_empty()
    expect(page.get_by_role("switch", name="Correct all")).to_be_hidden()
    page.get_by_role("button", name="Enlarge 2 times").click()
    expect(page.locator("#restore-note")).to_contain_text("Result: 32 x 24 pixels")
    wait_for(page, bodies, 2)
    restorers = [body["restorer"] for body in bodies]
    assert restorers == [["clean", "enlarge"], "enlarge", ["enlarge", "enlarge"]]


def test_draws_have_the_format_of_the_file_and_are_enlarged_from_it(
    page: Page, restoring_site: Site, bodies: list[dict[str, Any]]
) -> None:
    begin(page, restoring_site, bodies, "restorer=clean&count=2&seed=0")
    content = io.BytesIO()
    to_pil(PHOTO).save(content, "JPEG", exif=tags())
    file: FilePayload = {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": content.getvalue()}
    page.locator("#restore-file").set_input_files(file)
    captions = ["seed 0", "seed 1", "mean", "spread"]
    expect(page.locator(".choices img").first).to_have_attribute("src", re.compile("^data:image/jpeg"))
    expect(page.locator("#restore-note")).to_have_text("Result: 6 x 8 pixels.")
    expect(page.locator(".choices button")).to_have_text(captions)
    for caption, expected in zip(captions, ("a-cleaned.jpg", "a-cleaned-2.jpg", "a-cleaned-mean.jpg"), strict=False):
        page.get_by_role("button", name=caption).click()
        name, draw = saved(page, page.get_by_role("button", name="Download"))
        with Image.open(io.BytesIO(draw)) as picture:
            assert (name, picture.format) == (expected, "JPEG")
            assert picture.getexif().items() >= IFD0.items()
    page.get_by_role("button", name="spread").click()
    assert saved(page, page.get_by_role("button", name="Download"))[0] == "a-cleaned-spread.png"
    page.get_by_role("button", name="Enlarge 2 times").click()
    expect(page.locator("#restore-note")).to_contain_text("Result: 12 x 16 pixels.")
    body = wait_for(page, bodies, 1)
    assert (body["image"], body["restorer"], body["count"]) == (file["buffer"], ["clean", "enlarge"], 2)


def test_pictures_are_pasted_or_dropped_anywhere(page: Page, restoring_site: Site, bodies: list[Any]) -> None:
    begin(page, restoring_site, bodies, "restorer=clean")
    give = """([kind, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "mine.png", { type: "image/png" }));
        const place = kind === "drop" ? document.querySelector("#restored") : document;
        const how = { bubbles: true, cancelable: true };
        place.dispatchEvent(kind === "drop" ? new DragEvent("drop", { ...how, dataTransfer: data })
            : new ClipboardEvent("paste", { ...how, clipboardData: data }));
    }"""
    for kind, picture in zip(("paste", "drop"), random_images(2, (3, 6, 8)), strict=True):
        page.evaluate(give, [kind, list(png_file(picture)["buffer"])])
        expect_result(page, restoring_site.restorers["clean"], picture)


def test_a_part_of_a_large_file_is_sent_in_its_own_size(
    page: Page, restorers: dict[str, LoadedModel], bodies: list[dict[str, Any]]
) -> None:
    limits = Limits(restored_pixels=4 * 4 * 30 * 20, estimated_pixels=4 * 60 * 40)
    with served(tiny_model(), limits, restorers={"enlarge": restorers["enlarge"]}) as site:
        begin(page, site, bodies)
        note, frame = page.locator("#restore-note"), page.locator(".framing")
        use = page.get_by_role("button", name="Restore", exact=True)
        take(page, 3, 40, 60)
        expect(page.locator(".compare")).to_be_visible()
        expect(frame).to_be_hidden()
        picture = take(page, 3, 80, 120)
        expect(note).to_have_text("Result: 120 x 80 pixels.")
        expect(frame).to_contain_text("up to 0.0024 megapixels")
        page.get_by_label("Left to right").press("ArrowRight")
        page.get_by_label("Top to bottom").press("Home")
        use.click()
        expect_result(page, site.restorers["enlarge"], picture[:, :40, 30:90])

        box = box_of(page.locator(".framed"))
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 5)
        page.mouse.down()
        page.mouse.move(box["x"] + 2, box["y"] + box["height"])
        page.mouse.up()
        page.get_by_role("switch", name="Show possible originals").check()
        expect(note).to_have_text("Result: 60 x 40 pixels.")
        use.click()
        expect(page.locator(".choices button")).to_have_count(6)
        assert torch.equal(from_base64(as_base64(bodies[-1]["image"]))[:3], picture[:, 60:, :30])
        number = len(bodies)
        page.get_by_label("Size of the frame").fill("0.2")
        expect(note).to_have_text("Result: 12 x 8 pixels.")
        expect(page.locator("#restore-large")).to_contain_text("Press Restore")
        expect(page.locator("#restore-large")).to_be_visible()
        use.click()
        expect_draws(page, restoration.restore(site.restorers["enlarge"], picture[:, 76:, :6], 4, seeds=0))
        assert len(bodies) == number + 1

        # It keeps the look of its colour profile, here one by which red is shown as green.
        swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        for old, new in ((b"rXYZ", b"...."), (b"gXYZ", b"rXYZ"), (b"....", b"gXYZ")):
            swapped = swapped.replace(old, new)
        red = torch.tensor([200, 40, 90], dtype=torch.uint8)[:, None, None].expand(3, 80, 120)
        file = png_file(red) | {"buffer": png_bytes(with_profile(to_pil(red), swapped))}
        page.locator("#restore-file").set_input_files(file)
        expect(note).to_have_text("Result: 60 x 40 pixels.")
        use.click()
        expect(page.locator(".choices button")).to_have_count(6)
        (sent,) = from_base64(as_base64(bodies[-1]["image"]))[:3].flatten(1).unique(dim=1).T
        assert (sent.int() - torch.tensor([40, 200, 90])).abs().max() <= 3


def test_a_picture_that_seems_clean_is_corrected_by_force(
    page: Page, restoring_site: Site, bodies: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clean, "least_change", 1e3)
    begin(page, restoring_site, bodies, "restorer=clean")
    notes = page.locator("#restore-result .notes")
    expect(notes).to_contain_text("it is clean")
    page.get_by_role("switch", name="Leave out").check()
    assert wait_for(page, bodies, 0)["strip"] is True
    page.get_by_role("switch", name="Correct all").check()
    expect(notes).not_to_contain_text("it is clean")
    model = restoring_site.restorers["clean"]
    expected = restoration.restore(model, PHOTO, 1, 0.0, force=True).draws[0]
    expect_image(page, page.locator(".compare img").nth(1), expected)
    page.get_by_role("switch", name="Show possible originals").check()
    expect(page.get_by_role("switch", name="Correct all")).to_be_hidden()
    expect(page.locator("#restore-first")).to_be_hidden()  # which would leave a gap


def test_painted_parts_are_filled(page: Page, restoring_site: Site, bodies: list[dict[str, Any]]) -> None:
    model = restoring_site.restorers["fill"]
    begin(page, restoring_site, bodies, "restorer=fill")  # the photograph has a hole in its middle
    picture = take(page, 3, 20, 30)
    expect(page.locator(".compare")).to_have_count(0)
    page.get_by_role("button", name="Restore", exact=True).click()
    expect(page.locator("#brush-error")).to_have_text("Cover part of the picture, but not all of it.")
    assert bodies == []

    box = paint(page)
    expect(page.locator(".compare")).to_be_visible()
    mask = mask_of(bodies[0])
    assert mask.shape[1:] == (20, 30)
    missing = mask[:1] >= 128
    assert missing[0, 8:12, 10:20].all()
    assert not missing[0, :6].any()
    assert not missing[0, :, :6].any()
    expect_result(page, model, Fill().prepare(picture, mask=mask[:1]))

    page.get_by_text("Erase", exact=True).click()
    with page.expect_request("**/v1/restore"):
        page.mouse.click(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    assert (mask_of(wait_for(page, bodies, 1))[0, 8:12, 8:12] < 128).all()
    with page.expect_request("**/v1/restore"):
        page.get_by_role("button", name="Undo").click()
    assert torch.equal(mask_of(wait_for(page, bodies, 2)), mask)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".compare")).to_have_count(0)

    page.get_by_text("Rectangle by numbers").click()
    for left, is_valid in (("30", False), ("3", True)):  # the picture has 30 columns
        for name, number in {"Left": left, "Top": "5", "Width": "4", "Height": "2"}.items():
            page.get_by_label(name, exact=True).fill(number)
        page.get_by_role("button", name="Cover", exact=True).click()
        expect(page.get_by_role("button", name="Undo")).to_be_enabled(enabled=is_valid)
    expect(page.locator(".compare")).to_be_visible()
    covered = mask_of(bodies[-1])[0].nonzero().tolist()
    assert covered == [[y, x] for y in (5, 6) for x in range(3, 7)]


def test_a_second_finger_is_ignored(page: Page, restoring_site: Site, bodies: list[dict[str, Any]]) -> None:
    devtools = page.context.new_cdp_session(page)

    def touch(box: FloatRect, kind: str, **fingers: tuple[float, float]) -> None:
        """Move fingers to positions in a box: right and down, from 0 to 1."""
        points = [
            {"id": number, "x": box["x"] + across * box["width"], "y": box["y"] + down * box["height"]}
            for number, (across, down) in enumerate(fingers.values())
        ]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    begin(page, restoring_site, bodies, "restorer=enlarge")
    divider = page.get_by_label("Before and after")
    expect(divider).to_have_value("50")
    box = box_of(page.locator(".compare"))
    touch(box, "touchStart", first=(0.3, 0.5))
    touch(box, "touchStart", first=(0.3, 0.5), second=(0.9, 0.5))
    touch(box, "touchMove", first=(0.3, 0.5), second=(0.8, 0.5))
    touch(box, "touchEnd", first=(0.3, 0.5))
    touch(box, "touchEnd")
    expect(divider).to_have_value("30")

    take(page, 3, 20, 30)
    choose(page, "Photograph: fill in")
    expect(page.locator(".compare")).to_have_count(0)
    canvas = page.locator(".brush canvas")
    expect(canvas).to_be_visible()
    expect(page.locator("#restore-task")).to_be_empty()
    canvas.scroll_into_view_if_needed()
    box = box_of(canvas)
    touch(box, "touchStart", first=(0.2, 0.25))
    touch(box, "touchStart", first=(0.2, 0.25), second=(0.8, 0.9))
    touch(box, "touchMove", first=(0.4, 0.25), second=(0.9, 0.9))
    touch(box, "touchMove", first=(0.6, 0.25))  # the second one is lifted
    touch(box, "touchMove", first=(0.8, 0.25))
    touch(box, "touchEnd")
    expect(page.locator(".compare")).to_be_visible()
    missing = mask_of(bodies[-1])[0] >= 128
    assert missing[5, 7:23].all()
    assert not missing[12:].any()


def test_an_invalid_number_is_not_sent(page: Page, restoring_site: Site, bodies: list[dict[str, Any]]) -> None:
    begin(page, restoring_site, bodies, "restorer=enlarge&count=4&seed=0")
    temperature, number = page.locator("#restore-temperature input"), page.locator("#restore-count")
    with restoring_site.busy():
        temperature.fill("0.2")
        restoring_site.expect_depth(page, 2)
        temperature.fill("0.3")  # waits for the answer
        number.fill("")
    expect(page.locator("#restore-count-error")).to_contain_text("whole number from ")
    expect(page.locator("#restore-task")).to_be_empty()
    assert [(body["count"], body["temperature"]) for body in bodies] == [(4, 0.2)]
    take(page, 3, 20, 30)
    expect(page.locator(".choices")).to_have_count(0)
    number.fill("2")
    number.press("Tab")
    expect(page.locator("#restore-count-error")).to_be_empty()
    expect(page.locator(".choices button")).to_have_count(4)
    assert [(body["count"], body["temperature"]) for body in bodies[1:]] == [(2, 0.3)]


def test_each_task_has_its_own_settings(page: Page, restoring_site: Site, bodies: list[Any], watch: Watch) -> None:
    watch.expected_statuses.update({413, 415, 422})
    begin(page, restoring_site, bodies, "restorer=colour")
    picture = take(page, 3, 8, 8)
    expect_result(page, restoring_site.restorers["colour"], luma(picture[None])[0])
    thumbnail = "getComputedStyle(document.querySelector('#restore-picture img')).filter"
    assert page.evaluate(thumbnail) == "grayscale(1)"
    choose(page, "Photograph: enlarge 2 times")
    assert page.evaluate(thumbnail) == "none"

    page.locator("#restore-file").set_input_files({"name": "no.png", "mimeType": "image/png", "buffer": b"picture"})
    expect(page.locator("#restore-file-error")).to_contain_text("no.png: ")
    expect(page.locator(".choices")).to_have_count(0)
    choose(page, "Photograph: fill in")
    expect(page.locator("#restore-file-error")).to_contain_text("no.png: this browser cannot show")
    expect(page.locator(".brush")).to_be_hidden()
    page.get_by_role("switch", name="Show possible originals").check()
    set_draws(page, "1000")
    expect(page.locator("#restore-count-error")).to_have_text("Enter a whole number from 1 to 64.")


def test_tasks_name_the_kind_of_pictures(page: Page, bodies: list[Any]) -> None:
    kinds = tiny_restorer(Upscale())
    kinds.generation = GenerationSettings((0.4, 0.9), 1.0)
    # Not in the order in which they are listed.
    restorers = {name: tiny_restorer(Colourise()) for name in ("mine", "faces", "grey")} | {"kinds": kinds}
    sources = {"kinds": "photos", "faces": "faces", "grey": "photos"}
    with served(tiny_model(image_shape=(1, 8, 8)), restorers=restorers, sources=sources) as site:
        page.goto(f"{site.address}/#restore?count=4&seed=0")
        notes, options = page.locator("#restore-result .notes"), page.locator("#restore-restorer option")
        expect(notes).to_have_text("temperature 0.40, 0.90")
        labels = ["Photograph: enlarge 2 times", "Photograph: colour", "Cartoon face: colour", "mine: colour"]
        assert options.all_inner_texts() == labels
        picture = take(page, 3, 6, 4)
        expect_draws(page, restoration.restore(kinds, picture, 4, seeds=0))
        page.locator("#restore-temperature input").fill("1")
        expect(notes).to_have_text(re.compile(r"^temperature 1\.00\b"))
        page.wait_for_url("**/#restore?restorer=kinds&count=4&seed=0&temperature=1")


def test_samples_are_restored_from_the_viewer_and_the_sample_row(page: Page, restoring_site: Site) -> None:
    visit(page, restoring_site.address)
    page.locator(".card .picture").nth(3).click()
    page.get_by_role("dialog").get_by_role("button", name="Restore").click()
    samples = restoring_site.model.sample(6, temperature=0.7, seeds=0)
    expect_image(page, page.locator(".choices img").last, samples[3])
    page.locator("#restore-samples .picture").nth(5).click()
    expect_image(page, page.locator(".choices img").last, samples[5])


@register("brighten")
class Brighten(RestorationTask):
    """Brighten a picture that was lit from some side: a task whose inputs the page learns only from /v1/info."""

    takes: ClassVar = {"light": "number", "lit": "picture"}

    def damage(self, images: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        return images // 2

    def prepare(self, picture: torch.Tensor, **inputs: Any) -> torch.Tensor:
        super().prepare(picture, **inputs)
        lit = inputs.get("lit", torch.full_like(picture[:1], 255)) >= 128
        return torch.where(lit, (inputs.get("light", 1) * picture).round().to(torch.uint8), picture)


def test_the_inputs_of_an_unknown_task_have_fields(page: Page, bodies: list[dict[str, Any]]) -> None:
    model = tiny_restorer(Brighten())
    with served(tiny_model(), restorers={"brighten": model}) as site:
        begin(page, site, bodies)
        expect(page.locator("#restore-inputs label")).to_have_text(["light", "lit"])
        picture = take(page, 3, 6, 4)
        expect_result(page, model, picture)
        assert "inputs" not in bodies[-1]
        page.get_by_label("light").fill("0.5")
        page.get_by_label("light").press("Tab")
        expect_result(page, model, Brighten().prepare(picture, light=0.5))
        lit = torch.zeros(1, 6, 4, dtype=torch.uint8)
        lit[:, :3] = 255
        page.get_by_label("lit", exact=True).set_input_files(png_file(lit, "lit.png"))
        expect_result(page, model, Brighten().prepare(picture, light=0.5, lit=lit))
