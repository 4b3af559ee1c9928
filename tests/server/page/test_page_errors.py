"""Errors are shown where they occur, untrusted text stays text, and long work can be cancelled."""

import json

import pytest
from playwright.sync_api import Page, expect
from registry import random_images
from server.page.conftest import CLASSES, DIRECTIONS, Site, Watch, png_file, sent_to, visit

pytestmark = pytest.mark.slow


def press_draw(page: Page) -> None:
    page.get_by_role("button", name="New pictures").click()


def test_requests_to_a_busy_server_are_retried(page: Page, strict_site: Site, watch: Watch) -> None:
    watch.expected_statuses.add(503)
    page.clock.install()
    visit(page, strict_site.address)
    page.clock.pause_at(page.evaluate("Date.now() + 1000"))
    task, alert = page.locator("#sample-task"), page.get_by_role("alert")
    with strict_site.busy(2) as done:
        press_draw(page)
        page.clock.run_for(300)  # shorter work shows no progress
        expect(task).to_contain_text("the server is busy")
        expect(task).to_contain_text("retrying in 1 s")
        done.set()
        strict_site.expect_depth(page, 0)
        page.clock.run_for(1500)
        expect(page.locator(".card")).to_have_count(6)
    expect(task).to_be_empty()
    statuses: list[int] = []
    page.on("response", lambda response: statuses.append(response.status) if "v1/sample" in response.url else None)
    with strict_site.busy(2):
        press_draw(page)
        while not alert.is_visible():
            page.clock.run_for(100)
        assert statuses == [503] * 4
        expect(alert).to_contain_text("The queue is full")
        expect(alert).to_contain_text("Request ")
    alert.get_by_role("button", name="Try again").click()
    expect(page.locator(".card")).to_have_count(9)
    expect(alert).to_have_count(0)


def test_cancel_stops_current_and_queued_work(page: Page, site: Site) -> None:
    visit(page, site.address)
    sent = sent_to(page, "sample")
    slider = page.get_by_label("Temperature", exact=True)
    with site.busy():
        with page.expect_request("**/v1/sample"):
            slider.fill("0.1")
        slider.fill("0.2")
        expect(page.locator("#sample-task")).to_contain_text("Drawing again")
        site.expect_depth(page, 2)
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#sample-task")).to_have_text("Cancelled.")
        expect(page.get_by_role("status")).to_have_text("Cancelled.")
        site.expect_depth(page, 1)
    slider.fill("0.3")
    expect(page.get_by_role("heading", name="temperature 0.30")).to_be_visible()
    assert [body["temperature"] for body in sent] == [0.1, 0.3]


def test_errors_are_shown_with_a_hint(page: Page, site: Site, watch: Watch) -> None:
    watch.expected_statuses.add(504)
    page.route("**/v1/sample", lambda route: route.abort())
    page.goto(f"{site.address}/#interpolate")
    alert = page.get_by_role("tabpanel").get_by_role("alert")
    expect(alert).to_contain_text("The server cannot be reached")
    page.get_by_role("tab", name="Create").click()
    expect(alert).to_contain_text("The server cannot be reached")
    page.unroute("**/v1/sample")
    body = json.dumps({"error": {"code": "timeout", "message": "no result within 30 s", "request_id": "n7"}})
    page.route("**/v1/sample", lambda route: route.fulfill(status=504, content_type="application/json", body=body))
    alert.get_by_role("button", name="Try again").click()
    expect(alert).to_contain_text("No result within 30 s. Ask for less")
    expect(alert).to_contain_text("Request n7")
    page.unroute("**/v1/sample")
    alert.get_by_role("button", name="Try again").click()
    expect(page.locator(".card")).to_have_count(6)
    watch.faults = [fault for fault in watch.faults if "ERR_FAILED" not in fault]


@pytest.mark.parametrize(
    ("tab", "control", "endpoint", "begins", "ends", "setting", "values"),
    [
        ("sample", "#temperature", "sample", "count=6*", "*temperature=0.9", "temperature", [0.1, 0.9]),
        ("edit", "#edit-0", "edit", "picture=*", "*edit=bold*0.3", "edits", [2, 0.3]),
        ("interpolate?at=0_0", ".handle input", "interpolate", "*fourth=*", "*at=0.4_0", "at", [0.1, 0.4]),
    ],
)
def test_only_the_latest_move_of_a_slider_is_sent(
    page: Page,
    site: Site,
    tab: str,
    control: str,
    endpoint: str,
    begins: str,
    ends: str,
    setting: str,
    values: list[float],
) -> None:
    page.goto(f"{site.address}/#{tab}")
    page.wait_for_url(f"**/#{tab.split('?')[0]}?{begins}")
    slider, sent = page.locator(control).first, sent_to(page, endpoint)
    first, last = values
    with site.busy():
        with page.expect_request(f"**/v1/{endpoint}"):
            slider.fill(str(first))
        for value in (0.5, 0.6, 0.7, last):
            slider.fill(str(value))
    page.wait_for_url(f"**/#{tab.split('?')[0]}?{ends}")
    texts = [str(body[setting]) for body in sent]
    assert [str(value) in text for value, text in zip(values, texts, strict=True)] == [True, True]


def test_the_key_is_requested_and_kept_in_its_tab(page: Page, keyed_site: Site, watch: Watch) -> None:
    watch.expected_statuses.add(401)
    page.goto(keyed_site.address)
    expect(page.get_by_role("heading", name="This server requires a key")).to_be_visible()
    field, error = page.get_by_label("Key"), page.locator("#key-error")
    expect(field).to_be_focused()
    expect(error).to_be_empty()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator("#main")).to_be_hidden()
    for key, message in {"schl\u00fcssel": "without spaces", "": "without spaces", "wrong": "does not accept"}.items():
        field.fill(key)
        expect(error).to_be_empty()
        page.get_by_role("button", name="Use this key").click()
        expect(error).to_contain_text(message)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(page.get_by_role("alert")).to_have_count(0)
    field.fill("sesame")
    page.get_by_role("button", name="Use this key").click()
    expect(page.locator(".card")).to_have_count(6)
    press_draw(page)
    expect(page.locator(".card")).to_have_count(12)
    assert page.evaluate("[localStorage.length, document.cookie, Object.values(sessionStorage)]") == [0, "", ["sesame"]]
    page.evaluate("sessionStorage.setItem('glow-api-key', 'old')")
    press_draw(page)
    expect(error).to_contain_text("does not accept")
    with page.expect_response("**/v1/sample"):
        page.get_by_role("tab", name="Edit").click()
    field.fill("sesame")
    page.get_by_role("button", name="Use this key").click()
    expect(page.locator("#edited figure")).to_have_count(2)  # every tab that waited for a key continues
    page.get_by_role("tab", name="Create").click()
    expect(page.locator(".card")).to_have_count(18)
    page.reload()
    expect(page.get_by_role("tablist")).to_be_visible()


def test_pictures_that_are_too_large_are_named_at_their_field(page: Page, strict_site: Site, watch: Watch) -> None:
    watch.expected_statuses.add(413)
    page.goto(f"{strict_site.address}/#edit")
    page.locator("#edit-file").set_input_files(png_file(random_images(1, (1, 11, 11))[0]))
    expect(page.locator("#edit-file-error")).to_contain_text("picture.png: too large; ")
    page.get_by_role("tab", name="Blend").click()
    expect(page.locator(".strip img")).to_have_count(3)  # the defaults respect the limits of the server
    sent = sent_to(page, "interpolate")
    field = page.locator("#interpolate-1")
    field.set_input_files(png_file(random_images(1, (3, 32, 32))[0], "noise.png"))  # sent unreduced
    expect(page.locator("#interpolate-1-error")).to_contain_text("noise.png: too large; ")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#interpolate-0-error")).to_be_empty()
    expect(page.locator(".strip")).to_have_count(0)
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)
    assert not sent
    page.get_by_role("tab", name="Create").click()
    expect(page.locator(".card")).to_have_count(3)


def test_untrusted_text_is_never_html(page: Page, site: Site, watch: Watch) -> None:
    watch.expected_statuses.add(500)
    hostile = '<img src=x onerror="window.hacked=1">'
    image = random_images(1, (1, 8, 8))[0]
    page.goto(f"{site.address}/#score")
    page.locator("#score-files").set_input_files(png_file(image, f"{hostile}.png"))
    expect(page.locator("#scores ul")).to_contain_text(hostile)
    page.get_by_role("tab", name="Blend").click()
    page.locator("#interpolate-0").set_input_files(png_file(image, f"{hostile}.png"))
    page.locator("#interpolate-1").set_input_files(png_file(image, f"{hostile}.png"))
    expect(page.locator("#frames .notes")).to_contain_text(hostile)
    page.get_by_role("tab", name="Edit").click()
    expect(page.locator("#edit-attributes")).to_contain_text(DIRECTIONS[1])
    page.get_by_role("tab", name="Create").click()
    expect(page.locator(".kind").nth(2)).to_contain_text(CLASSES[2])
    body = json.dumps({"error": {"code": "x", "message": hostile, "request_id": hostile}})
    page.route("**/v1/sample", lambda route: route.fulfill(status=500, content_type="application/json", body=body))
    press_draw(page)
    expect(page.get_by_role("alert")).to_contain_text(f"{hostile}.")
    assert page.evaluate("window.hacked") is None
    assert page.locator("[onerror], main b, main i").count() == 0
    # And if it were, the policy is in force.
    script = "Object.assign(document.createElement('script'), { textContent: 'window.ran = 1' })"
    with page.expect_console_message(lambda message: "policy script-src" in message.text):
        page.evaluate(f"document.body.append({script})")
    assert page.evaluate("window.ran") is None
    watch.faults.clear()
