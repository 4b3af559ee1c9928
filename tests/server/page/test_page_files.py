"""Files are reduced and cropped in the browser, and may be deleted before they are read."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import FilePayload, Page, expect
from registry import random_images
from server.page.conftest import DIRECTIONS, Site, Watch, png_file, sent_to, shown_image

from glow_app import pipeline
from glow_app.data.decoding import decode_image

pytestmark = pytest.mark.slow


def photo(width: int, height: int, orientation: int = 1) -> FilePayload:
    """Return a JPEG that is bright on the left, with an EXIF orientation."""
    down, across = np.mgrid[:height, :width]
    pixels = 255 - 200 * across // width - 50 * down // height
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", exif=exif)
    return {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()}


def pixels_of(text: object) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(str(text).rpartition(",")[2])))


def test_a_photograph_is_reduced_only_once(page: Page, site: Site) -> None:
    file = photo(1060, 800, orientation=6)
    page.goto(f"{site.address}/#edit")
    bodies = sent_to(page, "edit")
    page.locator("#edit-file").set_input_files(file)
    notes = page.locator("#edited .notes")
    expect(notes).to_contain_text("cropped and reduced to 8x8")
    seen = shown_image(page.get_by_alt_text("The picture before"))
    expected = decode_image(file["buffer"], (1, 8, 8), "crop")
    assert (seen.int() - torch.from_numpy(expected.copy()).int()).abs().max() <= 3
    sent = [body for body in bodies if pixels_of(body["image"]).size == (50, 50)]
    assert len(sent) == 1
    page.locator("#edit-attributes").get_by_label(DIRECTIONS[0], exact=True).fill("1.2")
    expect(page.locator("figcaption").nth(1)).to_contain_text("+1.2")
    assert pixels_of(bodies[-1]["image"]).size == (8, 8)


def test_pictures_are_cropped_by_keyboard_and_dragging(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/#edit")
    page.locator("#edit-file").set_input_files(photo(800, 400))
    expect(page.locator("#edited .notes")).to_contain_text("cropped and reduced to 8x8")
    before = page.get_by_alt_text("The picture before")
    centre, source = shown_image(before), before.get_attribute("src") or ""
    page.get_by_role("button", name="Crop photo.jpg").click()
    page.get_by_label("Left to right").focus()
    page.keyboard.press("Home")
    page.get_by_role("button", name="Use this part").click()
    expect(before).not_to_have_attribute("src", source)
    left = shown_image(before)
    assert left.float().mean() > centre.float().mean() + 30  # it is bright on the left
    page.get_by_role("button", name="Crop photo.jpg").click()
    expect(page.get_by_label("Left to right")).to_have_value("0")
    box = page.locator(".framed").bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 9, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 9, y, steps=5)
    page.mouse.up()
    assert float(page.get_by_label("Left to right").input_value()) > 0.9
    page.keyboard.press("Escape")
    assert torch.equal(shown_image(before), left)  # nothing was chosen


def test_deleted_files_are_named_and_the_others_scored(page: Page, site: Site, watch: Watch, tmp_path: Path) -> None:
    images = random_images(10, (1, 8, 8))
    paths = [tmp_path / f"{number}.png" for number in range(10)]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(png_file(image)["buffer"])
    page.goto(f"{site.address}/#score")
    with site.busy():  # the last two files are not read before they are gone
        page.locator("#score-files").set_input_files(paths)
        site.expect_depth(page, 2)
        paths[8].unlink()
        paths[9].write_bytes(paths[9].read_bytes() + b"more")
    rows = page.locator("#scores li")
    expect(rows).to_have_count(10)
    for number in (8, 9):
        expect(rows.nth(number)).to_contain_text(f"{number}.png")
        expect(rows.nth(number)).to_contain_text("the file was changed or deleted")
    expect(page.locator("#scores .error")).to_have_count(2)
    # Each has the noise of its place.
    scores = pipeline.measure(site.model, images, seeds=range(10)).bits_per_dim
    for number in range(8):
        row = rows.filter(has_text=f"{number}.png")
        expect(row.locator(".bits")).to_contain_text(f"{scores[number]:.3f}")
    page.locator("#score-files").set_input_files(paths[0])
    expect(rows).to_have_count(11)
    watch.faults = [fault for fault in watch.faults if not any(word in fault for word in ("NOT_FOUND", "CHANGED"))]
