"""A name of a stranger's that leads to this machine, which a page of that name could then use."""

import os
import shutil

import pytest
from playwright.sync_api import Browser
from server.page.conftest import Site


def test_a_page_of_another_name_reads_nothing(browser: Browser, plain_site: Site) -> None:
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or browser.browser_type.executable_path
    rules = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    port = plain_site.address.rpartition(":")[2]
    other = browser.browser_type.launch(executable_path=found, args=["--no-sandbox", rules])
    try:
        page = other.new_page()
        answer = page.goto(f"http://evil.example:{port}/")
        assert answer is not None
        assert answer.status == 421
        ask = "fetch('/v1/info').then(async (answer) => [answer.status, await answer.text()])"
        status, text = page.evaluate(ask)
        assert status == 421
        assert "image_shape" not in text
    finally:
        other.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_names_of_this_machine_are_let_in(host: str, browser: Browser, plain_site: Site) -> None:
    page = browser.new_page()
    answer = page.goto(plain_site.address.replace("127.0.0.1", host))
    assert answer is not None
    assert answer.status == 200
    page.close()
