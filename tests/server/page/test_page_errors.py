"""What goes wrong is said where it went wrong, what others wrote stays text, and what takes long can be cancelled."""

import json
import re
from collections.abc import Callable

import pytest
import torch
from playwright.sync_api import FilePayload, Page, expect
from registry import random_images
from server.page.conftest import CLASSES, DIRECTIONS, Site, Watch, png_file, sent_to, shown_image, visit

from glow_app.server import Limits

pytestmark = pytest.mark.slow

Serve = Callable[..., Site]


def press_draw(page: Page) -> None:
    page.get_by_role("button", name="Draw", exact=True).click()


def test_a_busy_server_is_asked_again(page: Page, serve: Serve, watch: Watch) -> None:
    watch.expected_statuses.add(503)
    site = serve(Limits(queue=1))
    visit(page, site.address)
    with site.busy() as done:
        press_draw(page)
        expect(page.locator("#sample-task")).to_contain_text("the server is busy (1 request is waiting")
        expect(page.locator("#sample-task")).to_contain_text("again in 1 s")
        done.set()
        expect(page.locator(".card")).to_have_count(16)
    expect(page.locator("#sample-task")).to_be_empty()


def test_a_server_that_stays_busy_is_an_error_that_can_be_tried_again(page: Page, serve: Serve, watch: Watch) -> None:
    watch.expected_statuses.add(503)
    site = serve(Limits(queue=1))
    page.clock.install()
    visit(page, site.address)
    with site.busy():
        press_draw(page)
        alert = page.get_by_role("alert")
        for _ in range(3):
            with page.expect_response("**/v1/sample") as answer:
                page.clock.run_for(1500)
            assert answer.value.status == 503
        expect(alert).to_contain_text("1 request is waiting; try again in 1 s")
        expect(alert).to_contain_text("Request ")
    alert.get_by_role("button", name="Try again").click()
    expect(page.locator(".card")).to_have_count(16)
    expect(alert).to_have_count(0)


def test_cancel_lets_the_server_drop_the_work(page: Page, site: Site) -> None:
    visit(page, site.address)
    with site.busy():
        press_draw(page)
        expect(page.locator("#sample-task")).to_contain_text("Drawing 8 images")
        site.expect_depth(page, 2)
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#sample-task")).to_have_text("Cancelled.")
        expect(page.get_by_role("status")).to_have_text("Cancelled.")
        site.expect_depth(page, 1)
    press_draw(page)
    expect(page.locator(".card")).to_have_count(16)


def test_cancel_lets_go_of_what_waits_too(page: Page, site: Site) -> None:
    visit(page, site.address)
    sent = sent_to(page, "sample")
    slider = page.get_by_label("Temperature", exact=True)
    with site.busy():
        with page.expect_request("**/v1/sample"):
            slider.fill("0.1")
        slider.fill("0.2")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#sample-task")).to_have_text("Cancelled.")
    slider.fill("0.3")
    expect(page.get_by_role("heading", name="temperature 0.30")).to_be_visible()
    assert [body["temperature"] for body in sent] == [0.1, 0.3]


def test_an_edit_that_a_busy_server_is_asked_for_again_is_waited_for(page: Page, serve: Serve, watch: Watch) -> None:
    watch.expected_statuses.add(503)
    site = serve(Limits(queue=1))
    visit(page, site.address)
    page.locator(".card .picture").first.click()
    dialog = page.get_by_role("dialog")
    with site.busy():
        dialog.get_by_label(DIRECTIONS[0], exact=True).fill("1.2")
        expect(page.locator("#viewer-task")).to_contain_text("the server is busy")
        expect(dialog.get_by_role("button", name="Score")).to_be_disabled()
    expect(dialog.get_by_role("button", name="Score")).to_be_enabled()
    expect(dialog.get_by_role("img")).to_have_attribute("alt", re.compile(rf"{DIRECTIONS[0]} \+1\.2$"))


def test_what_is_served_is_asked_for_until_it_is_known(page: Page, site: Site) -> None:
    page.add_init_script(
        "const [ask, gate] = [fetch, new Promise((go) => (window.go = go))];"
        "window.fetch = (...request) => gate.then(() => ask(...request));"
    )
    page.goto(site.address)
    expect(page.locator("#loading")).to_contain_text("Asking what is served")
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)  # nothing would be left on the page
    page.evaluate("go()")
    expect(page.locator(".card")).to_have_count(8)


def test_cancelled_pictures_are_not_scored_with_later_ones(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/#score")
    images = random_images(4, (1, 8, 8))
    with site.busy():
        page.locator("#score-files").set_input_files([png_file(image, f"{n}.png") for n, image in enumerate(images)])
        expect(page.locator("#score-task")).to_contain_text("Scoring 4 pictures")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#score-task")).to_have_text("Cancelled.")
    page.locator("#score-files").set_input_files(png_file(images[0], "later.png"))
    expect(page.locator("#scores tbody tr")).to_have_count(1)
    expect(page.locator("#scores tbody")).to_contain_text("later.png")
    expect(page.locator("#score-task")).to_be_empty()


def test_pictures_that_come_while_others_are_scored_come_after_them(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/#score")
    images = random_images(2, (1, 8, 8))
    with site.busy():
        for name, image in zip(("first.png", "second.png"), images, strict=True):
            page.locator("#score-files").set_input_files(png_file(image, name))
            expect(page.locator("#score-task")).to_contain_text("Scoring ")
    expect(page.locator("#scores tbody tr")).to_have_count(2)
    expect(page.locator("#scores tbody tr").first).to_contain_text("first.png")


def test_rows_that_come_leave_the_focus_where_it_is(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/#score")
    first, *others = random_images(3, (1, 8, 8))
    page.locator("#score-files").set_input_files(png_file(first))
    controls = [page.get_by_role("switch", name="All scores"), page.get_by_role("button", name="Clear")]
    for number, (control, image) in enumerate(zip(controls, others, strict=True), 2):
        control.focus()
        page.locator("#score-files").set_input_files(png_file(image))
        expect(page.locator("#scores tbody tr")).to_have_count(number)
        expect(control).to_be_focused()


def test_the_picture_at_fault_is_named_among_several_of_unknown_class(page: Page, site: Site, watch: Watch) -> None:
    watch.expected_statuses.add(415)
    page.goto(f"{site.address}/#interpolate")
    page.get_by_role("radio", name="Four").check()
    broken: FilePayload = {"name": "broken.png", "mimeType": "image/png", "buffer": b"text"}
    page.locator("#interpolate-2").set_input_files(broken)
    expect(page.locator("#interpolate-2-error")).to_contain_text("broken.png: of no known format")
    expect(page.locator("#interpolate-0-error")).to_be_empty()


def test_the_newest_edit_is_the_one_that_counts_and_the_overtaken_are_never_sent(page: Page, site: Site) -> None:
    image = random_images(1, (1, 8, 8))
    page.goto(f"{site.address}/#edit")
    expect(page.locator("figcaption").nth(1)).to_have_text("Unchanged")  # of the picture that the tab opens with
    with page.expect_response("**/v1/edit"):
        page.locator("#edit-file").set_input_files(png_file(image[0]))
    expect(page.locator(".drop-name")).to_have_text("picture.png")
    expect(page.locator("#edit-task")).to_be_empty()
    slider = page.locator("#edit-sliders").get_by_label(DIRECTIONS[0], exact=True)
    sent = sent_to(page, "edit")
    with site.busy():
        with page.expect_request("**/v1/edit"):
            slider.fill("2")
        for value in ("1.5", "1", "0.3"):
            slider.fill(value)
    expect(page.locator("figcaption").nth(1)).to_have_text(f"{DIRECTIONS[0]} +0.3")
    expect(page.locator("#edit-task")).to_be_empty()
    assert [body["edits"][0]["strength"] for body in sent] == [2, 0.3]


def test_what_takes_too_long_is_said(page: Page, serve: Serve, watch: Watch) -> None:
    watch.expected_statuses.add(504)
    site = serve(Limits(seconds=0.3))
    visit(page, site.address)
    with site.busy():
        press_draw(page)
        expect(page.get_by_role("alert")).to_contain_text("There was no result within 0.3 s. Ask for less")


def test_the_key_is_asked_for_and_kept_in_this_tab_alone(page: Page, serve: Serve, watch: Watch) -> None:
    watch.expected_statuses.add(401)
    site = serve(keys=["sesame"])
    page.goto(site.address)
    expect(page.get_by_role("heading", name="This server asks for a key")).to_be_visible()
    field, error = page.get_by_label("Key"), page.locator("#key-error")
    expect(field).to_be_focused()
    expect(error).to_be_empty()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator("#main")).to_be_hidden()
    for key, message in {
        "schl\u00fcssel": "letters, digits and signs",
        "": "letters",
        "wrong": "does not take",
    }.items():
        field.fill(key)
        expect(error).to_be_empty()
        page.get_by_role("button", name="Use this key").click()
        expect(error).to_contain_text(message)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(page.get_by_role("alert")).to_have_count(0)
    field.fill("sesame")
    page.get_by_role("button", name="Use this key").click()
    expect(page.locator(".card")).to_have_count(8)
    press_draw(page)
    expect(page.locator(".card")).to_have_count(16)
    assert page.evaluate("[localStorage.length, document.cookie, Object.values(sessionStorage)]") == [0, "", ["sesame"]]
    page.evaluate("sessionStorage.setItem('glow-api-key', 'old')")
    press_draw(page)
    expect(error).to_contain_text("does not take")
    field.fill("sesame")
    page.get_by_role("button", name="Use this key").click()
    expect(page.locator(".card")).to_have_count(24)
    page.reload()
    expect(page.get_by_role("tablist")).to_be_visible()


def test_every_tab_that_waits_for_a_key_goes_on(page: Page, serve: Serve, watch: Watch) -> None:
    watch.expected_statuses.add(401)
    site = serve(keys=["sesame"])
    page.add_init_script("sessionStorage.setItem('glow-api-key', 'sesame')")
    visit(page, site.address)
    page.evaluate("sessionStorage.setItem('glow-api-key', 'old')")
    press_draw(page)
    expect(page.get_by_label("Key")).to_be_visible()
    with page.expect_response("**/v1/sample"):
        page.get_by_role("tab", name="Edit").click()
    page.get_by_label("Key").fill("sesame")
    page.get_by_role("button", name="Use this key").click()
    expect(page.locator("#edited figure")).to_have_count(2)
    page.get_by_role("tab", name="Sample").click()
    expect(page.locator(".card")).to_have_count(16)


def test_a_picture_of_too_many_pixels_is_refused_by_the_server(page: Page, serve: Serve, watch: Watch) -> None:
    watch.expected_statuses.add(413)
    site = serve(Limits(pixels=100))
    page.goto(f"{site.address}/#edit")
    page.locator("#edit-file").set_input_files(png_file(random_images(1, (1, 11, 11))[0]))
    expect(page.locator("#edit-file-error")).to_contain_text("picture.png: too large; at most 100 pixels")


BROKEN: FilePayload = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"}


def test_a_file_that_is_no_picture_is_told_beside_it(page: Page, site: Site, watch: Watch) -> None:
    watch.expected_statuses.add(415)
    good = png_file(random_images(1, (1, 8, 8))[0])
    message = "notes.txt: of no known format, or damaged; expected PNG, JPEG, WEBP, GIF, BMP."
    page.goto(f"{site.address}/#edit")
    page.locator("#edit-file").set_input_files(good)
    expect(page.locator("#edited figure")).to_have_count(2)
    page.locator("#edit-file").set_input_files(BROKEN)
    expect(page.locator("#edit-file-error")).to_have_text(message)
    expect(page.locator("#edited figure")).to_have_count(0)
    expect(page.locator("#edited .empty")).to_be_visible()
    expect(page.locator("#panel-edit .drop img")).to_have_count(0)
    page.locator("#edit-file").set_input_files(good)
    expect(page.locator("#edit-file-error")).to_be_empty()
    expect(page.locator("#edited figure")).to_have_count(2)

    page.get_by_role("tab", name="Interpolate").click()
    draw = page.get_by_role("button", name="Interpolate", exact=True)
    page.locator("#interpolate-0").set_input_files(good)
    page.locator("#interpolate-1").set_input_files(good)
    draw.click()
    expect(page.locator("#frames .large")).to_be_visible()
    page.locator("#interpolate-1").set_input_files(BROKEN)
    draw.click()
    expect(page.locator("#interpolate-1-error")).to_have_text(message)
    expect(page.locator("#interpolate-0-error")).to_be_empty()
    expect(page.locator("#frames .large")).to_have_count(0)
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)


def test_a_file_of_too_many_bytes_is_not_even_sent(page: Page, serve: Serve) -> None:
    site = serve(Limits(body_bytes=4000))
    noise = png_file(random_images(1, (3, 32, 32))[0], "noise.png")  # small enough to be sent as it is
    page.goto(f"{site.address}/#interpolate")
    expect(page.locator(".strip img")).to_have_count(9)
    sent = sent_to(page, "interpolate")
    field = page.locator("#interpolate-1")
    field.set_input_files(noise)
    expect(page.locator("#interpolate-1-error")).to_contain_text("noise.png: too large; this server takes")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.locator(".strip")).to_have_count(0)
    assert not sent


BAD = [("Count", "0"), ("Count", "65"), ("Count", ""), ("Seed", "-1"), ("Seed", "1.5")]


@pytest.mark.parametrize(("label", "value"), BAD)
def test_settings_are_checked_beside_their_fields(page: Page, site: Site, label: str, value: str) -> None:
    visit(page, site.address)
    page.on("request", lambda request: pytest.fail(request.url) if "sample" in request.url else None)
    field = page.get_by_label(label, exact=True)
    field.fill(value)
    press_draw(page)
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    error = page.locator(f"#sample-{label.lower()}-error")
    expect(error).to_contain_text("A whole number from")
    assert (error.get_attribute("id") or "") in (field.get_attribute("aria-describedby") or "")


def test_every_wrong_field_is_marked_until_it_is_right(page: Page, site: Site) -> None:
    visit(page, site.address)
    fields = [page.get_by_label(label, exact=True) for label in ("Seed", "Count")]
    for field in fields:
        field.fill("-1")
    press_draw(page)
    expect(fields[0]).to_be_focused()
    for field in fields:
        expect(field).to_have_attribute("aria-invalid", "true")
        field.fill("7")
        expect(field).not_to_have_attribute("aria-invalid", "true")
    expect(page.locator("#sample-form .error").filter(has_text="whole")).to_have_count(0)


def test_missing_pictures_are_asked_for(page: Page, site: Site, watch: Watch) -> None:
    page.route("**/v1/sample", lambda route: route.abort())
    page.goto(f"{site.address}/#interpolate")
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached")
    page.get_by_label("Frames").fill("1")
    page.get_by_role("button", name="Interpolate", exact=True).click()
    expect(page.locator("#interpolate-0")).to_be_focused()
    for end in (0, 1):
        expect(page.locator(f"#interpolate-{end}-error")).to_have_text("Choose a picture.")
    expect(page.get_by_label("Frames")).to_have_attribute("aria-invalid", "true")
    watch.faults = [fault for fault in watch.faults if "ERR_FAILED" not in fault]


def test_a_server_that_is_gone_is_said(page: Page, site: Site, watch: Watch) -> None:
    visit(page, site.address)
    expect(page.get_by_role("tablist")).to_be_visible()
    page.route("**/v1/sample", lambda route: route.abort())
    press_draw(page)
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached")
    watch.faults = [fault for fault in watch.faults if "ERR_FAILED" not in fault]
    page.unroute("**/v1/sample")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".card")).to_have_count(16)


def test_what_others_wrote_is_never_html(page: Page, site: Site, watch: Watch) -> None:
    watch.expected_statuses.add(500)
    hostile = '<img src=x onerror="window.hacked=1">'
    image = random_images(1, (1, 8, 8))[0]
    page.goto(f"{site.address}/#score")
    page.locator("#score-files").set_input_files(png_file(image, f"{hostile}.png"))
    expect(page.locator("#scores tbody")).to_contain_text(hostile)
    page.get_by_role("tab", name="Interpolate").click()
    page.locator("#interpolate-0").set_input_files(png_file(image, f"{hostile}.png"))
    page.locator("#interpolate-1").set_input_files(png_file(image, f"{hostile}.png"))
    page.get_by_role("button", name="Interpolate", exact=True).click()
    expect(page.locator("#frames .notes")).to_contain_text(hostile)
    page.get_by_role("tab", name="Edit").click()
    expect(page.locator("#edit-sliders")).to_contain_text(DIRECTIONS[1])
    page.get_by_role("tab", name="Sample").click()
    expect(page.locator(".kind").nth(2)).to_contain_text(CLASSES[2])
    body = json.dumps({"error": {"code": "x", "message": hostile, "request_id": hostile}})
    page.route("**/v1/sample", lambda route: route.fulfill(status=500, content_type="application/json", body=body))
    press_draw(page)
    expect(page.get_by_role("alert")).to_contain_text(f"{hostile}.")
    assert page.evaluate("window.hacked") is None
    assert page.locator("[onerror], main b, main i").count() == 0


def test_the_policy_is_in_force(page: Page, site: Site, watch: Watch) -> None:
    visit(page, site.address)
    script = "Object.assign(document.createElement('script'), { textContent: 'window.ran = 1' })"
    page.evaluate(f"document.body.append({script})")
    assert page.evaluate("window.ran") is None
    page.wait_for_timeout(50)
    assert any("policy script-src" in fault for fault in watch.faults)
    watch.faults.clear()


def test_the_count_begins_within_what_the_server_allows(page: Page, serve: Serve) -> None:
    site = serve(Limits(count=3))
    visit(page, site.address)
    expect(page.locator(".card")).to_have_count(3)
    drawn = torch.stack([shown_image(card.get_by_role("img").first) for card in page.locator(".card").all()])
    assert torch.equal(drawn, site.model.sample(3, temperature=0.7, seeds=0))
