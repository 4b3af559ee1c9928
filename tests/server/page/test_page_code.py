"""The dialog "Use this from code": what it shows, runs."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from registry import random_images
from server.page.conftest import Site, png_file, reopen, saved

pytestmark = pytest.mark.slow


def code(page: Page, language: str) -> str:
    """Return the code for the tab that is shown."""
    page.get_by_role("button", name="Use this from code").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text(language, exact=True).click()
    text = dialog.locator("code").text_content() or ""
    page.keyboard.press("Escape")
    return text


@pytest.mark.parametrize("language", ["curl", "Python", "JavaScript"])
def test_the_code_of_a_tab_does_what_the_tab_did(
    page: Page, restoring_site: Site, language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(text: str) -> str:
        if language == "Python":
            written: list[Any] = []
            exec(text, {"print": written.append})
            return json.dumps(written[0]) if written else ""
        command = ["sh", "-c", f"{text} -sf"] if language == "curl" else ["node", "--input-type=module", "-e", text]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    if language != "Python" and not shutil.which({"curl": "curl", "JavaScript": "node"}[language]):
        pytest.skip("there is no program to run it")
    monkeypatch.chdir(tmp_path)
    picture = png_file(random_images(1, (3, 6, 8))[0])
    page.goto(f"{restoring_site.address}/#restore?restorer=enlarge")
    expect(page.locator(".compare")).to_be_visible()
    page.locator("#restore-file").set_input_files(picture)
    expect(page.locator("#restore-note")).to_contain_text("Result: 16 x 12 pixels.")
    expect(page.locator("#restore-task")).to_be_empty()
    Path("picture1.png").write_bytes(picture["buffer"])
    run(code(page, language))
    assert Path("result.png").read_bytes() == saved(page, page.get_by_role("button", name="Download"))[1]
    reopen(page, f"{restoring_site.address}/#sample?count=2&seed=3")
    expect(page.locator(".card")).to_have_count(2)
    run(code(page, language))
    assert Path("result.zip").read_bytes()[:2] == b"PK"
    page.get_by_role("tab", name="Score").click()
    assert "bits_per_dim" in run(code(page, language))
