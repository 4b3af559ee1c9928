"""The API reference at /docs, in a real Chromium."""

import json
import shlex
from collections.abc import Callable

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from server.page.conftest import Site, Watch

from glow_app.models.image_model import ImageModel
from glow_app.server import Limits

pytestmark = pytest.mark.slow


def open_docs(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/docs")
    expect(page.locator("#reference section").nth(1)).to_be_visible()


def test_every_endpoint_and_field_is_there(page: Page, site: Site) -> None:
    open_docs(page, site)
    described = httpx.get(f"{site.address}/openapi.json").json()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            section = page.locator(f"#{method}{path.replace('/', '-')}")
            expect(section.locator("h2")).to_have_text(f"{method.upper()} {path}")
            shown = section.inner_text()
            for status, answer in operation["responses"].items():
                assert status in shown
                assert answer["description"].replace("`", "") in shown
            if "requestBody" in operation:
                name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].split("/")[-1]
                for field, facts in described["components"]["schemas"][name]["properties"].items():
                    expect(section.locator(".fields").first.get_by_text(field, exact=True)).to_be_visible()
                    assert facts.get("description", "").replace("`", "") in shown
    expect(page.locator("#contents a")).to_have_count(sum(len(methods) for methods in described["paths"].values()))


def test_bounds_and_defaults_are_this_servers(page: Page, serve: Callable[..., Site]) -> None:
    open_docs(page, serve(Limits(count=7)))
    fields = page.locator("#post-v1-sample .fields").first
    expect(fields.locator("dt").filter(has_text="count")).to_have_text("count integer, 1 to 7; default 1")
    images = page.locator("#post-v1-interpolate .fields").first.locator("dt").filter(has_text="images")
    expect(images).to_have_text("images array of base64 string, 2 to 7 items; required")
    places = page.locator("#post-v1-interpolate .fields").first.locator("dt", has=page.get_by_text("at", exact=True))
    expect(places).to_have_text("at array of (array of number, 0 to 1, 1 to 2 items), 1 to 7 items; or null")
    labels = page.locator("#post-v1-score .fields").first.locator("dt").filter(has_text="labels")
    expect(labels).to_have_text("labels array of (integer; or string, at most 200 characters); or null")
    edits = page.locator("#post-v1-edit .fields").first
    expect(edits.get_by_text("edits[].direction", exact=True)).to_be_visible()


@pytest.mark.parametrize("key", [None, "sesame"])
def test_the_examples_are_answered(
    page: Page, serve: Callable[..., Site], restorers: dict[str, ImageModel], key: str | None
) -> None:
    site = serve(keys=[key] if key else [], restorers=restorers)
    open_docs(page, site)
    expect(page.locator("#about-the-api")).to_contain_text("need a key" if key else "asks for no key")
    commands = page.locator("pre code").all_inner_texts()
    assert len(commands) > 8
    for command in commands:
        words = shlex.split(command.replace("\\\n", " "))
        assert words[0] == "curl"
        headers = {
            words[n + 1].split(": ")[0]: words[n + 1].split(": ")[1] for n, word in enumerate(words) if word == "-H"
        }
        guarded = key is not None and "/v1/" in words[2]
        assert headers.pop("Authorization", None) == ("Bearer $GLOW_API_KEY" if guarded else None)
        headers |= {"Authorization": f"Bearer {key}"} if guarded else {}
        data = words[words.index("-d") + 1] if "-d" in words else None
        method = "POST" if data else "HEAD" if words[1] == "-sI" else "GET"
        answer = httpx.request(method, words[2], headers=headers, content=data, timeout=60)
        assert answer.status_code == 200, (command, answer.text)
        assert data is None or json.loads(data)


def test_a_command_is_copied(page: Page, site: Site) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_docs(page, site)
    block = page.locator("#post-v1-sample .command").first
    block.get_by_role("button", name="Copy").click()
    expect(block.get_by_role("button")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == block.locator("code").inner_text()


def test_a_command_is_selected_where_there_is_no_clipboard(page: Page, site: Site) -> None:
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    open_docs(page, site)
    block = page.locator("#post-v1-sample .command").first
    block.get_by_role("button", name="Copy").click()
    expect(page.locator("#live")).to_contain_text("Selected")
    assert page.evaluate("getSelection().toString()") == block.locator("code").inner_text()


def test_an_address_of_a_section_leads_there(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/docs#post-v1-score")
    expect(page.locator("#post-v1-score")).to_be_in_viewport()
    page.locator("#contents").get_by_role("link", name="/v1/edit").click()
    expect(page.locator("#post-v1-edit h2")).to_be_in_viewport()


def test_it_says_that_there_is_no_description(page: Page, site: Site, watch: Watch) -> None:
    watch.expected_statuses.add(503)
    page.route("**/openapi.json", lambda route: route.fulfill(status=503))
    page.goto(f"{site.address}/docs")
    expect(page.get_by_role("alert")).to_have_text(
        "The description of the API could not be loaded: the server answered 503."
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_everyone_can_read_it(page: Page, site: Site, scheme: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    open_docs(page, site)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Axe passes over texts on a gradient, so it is given each end of it for the whole page.
    for ground in ("var(--ground)", "var(--halo)"):
        page.evaluate("(ground) => (document.documentElement.style.background = ground)", ground)
        results = Axe().run(page, options={"resultTypes": ["violations"]})
        assert results.violations_count == 0, results.generate_report()


def test_it_is_linked_from_the_page(page: Page, site: Site) -> None:
    page.goto(site.address)
    page.get_by_role("link", name="The API behind this page").click()
    expect(page).to_have_url(f"{site.address}/docs")
    page.get_by_role("link", name="Back to the page").click()
    expect(page).to_have_url(f"{site.address}/")
