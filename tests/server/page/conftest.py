"""The page of a server in a thread, in a real Chromium that reports errors and foreign requests."""

import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from app_client import from_base64, running
from playwright.sync_api import Browser, FilePayload, Locator, Page, Request, expect, sync_playwright
from registry import named, random_images, same_pictures, tiny_model, tiny_restorer
from torch import Tensor

from glow_app.models.generation_settings import GenerationSettings
from glow_app.pictures.encoding import png_bytes
from glow_app.pictures.images import to_pil
from glow_app.pipeline import Direction, Reference, infer, measure
from glow_app.pipeline.loaded_model import LoadedModel
from glow_app.pipeline.reference import REFERENCE_KEY
from glow_app.restoration import Clean, Colourise, Fill, Upscale
from glow_app.server.app import create_app
from glow_app.server.limits import Limits
from glow_app.server.model_thread import Ticket
from glow_app.server.restorer import Restorer
from glow_app.storage.model_folders import SUMMARY_KEY

expect.set_options(timeout=120_000)  # other work may be on the machine

CLASSES = ["naught", "one", "<i>two</i>"]
DIRECTIONS = ["bold", "<b>slanted</b>"]
DRAWN = """async (image) => {
    // An image that the page replaces meanwhile is not decoded, but the one that replaces it is.
    while (!(await image.decode().then(() => true, () => false))) await new Promise(requestAnimationFrame);
    const size = { width: image.naturalWidth, height: image.naturalHeight };
    const canvas = Object.assign(document.createElement("canvas"), size);
    canvas.getContext("2d").drawImage(image, 0, 0);
    return canvas.toDataURL();
}"""


@dataclass
class Site:
    """A server and its models."""

    address: str
    app: Any
    model: LoadedModel
    directions: dict[str, Direction]
    restorers: dict[str, LoadedModel]

    @contextmanager
    def busy(self, jobs: int = 1) -> Iterator[threading.Event]:
        """Occupy the model's thread and some slots of the queue until the event is set or the block ends."""
        done = threading.Event()
        begun = threading.Event()

        def work() -> None:
            begun.set()
            done.wait(60)
            self.app.state.gate.depth -= jobs

        self.app.state.gate.depth += jobs
        self.app.state.service.thread.submit(work, Ticket())
        assert begun.wait(60)
        try:
            yield done
        finally:
            done.set()

    def expect_depth(self, page: Page, depth: int) -> None:
        """Wait until this many requests are in the queue."""
        while self.app.state.gate.depth != depth:
            page.wait_for_timeout(10)


@contextmanager
def served(
    model: LoadedModel,
    limits: Limits | None = None,
    restorers: dict[str, LoadedModel] | None = None,
    sources: dict[str, str] | None = None,
    **arguments: Any,
) -> Iterator[Site]:
    models, known = restorers or {}, sources or {}
    offered = [Restorer(name, each, known.get(name)) for name, each in models.items()]
    app = create_app(model, limits, restorers=offered, **arguments)
    with running(app) as client:
        yield Site(str(client.base_url), app, model, arguments.get("directions", {}), models)


def directions_of(model: LoadedModel, names: list[str]) -> dict[str, Direction]:
    generator = torch.Generator().manual_seed(5)
    shapes = model.flow.latent_shapes
    return {name: Direction([torch.randn(shape, generator=generator) for shape in shapes], 2) for name in names}


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """A class-conditional model with statistics of ordinary pictures and two directions; some names contain HTML."""
    model = named(tiny_model(num_bits=4, image_shape=(1, 8, 8), num_classes=3), *CLASSES)
    known = Reference.of(measure(model, random_images(60, (1, 8, 8)))).to_plain()
    facts = {"val/bpd": 3.1052, "epoch": 13, "step": 11802}
    training = {REFERENCE_KEY: known, SUMMARY_KEY: "draws <b>noise</b>. Nothing else.", **facts}
    with served(model, name="noise", directions=directions_of(model, DIRECTIONS), training=training) as site:
        yield site


@pytest.fixture(scope="session")
def strict_site() -> Iterator[Site]:
    """A server with low limits: two requests at a time, three images, pictures of 100 pixels, small bodies."""
    model = tiny_model(image_shape=(1, 8, 8))
    limits = Limits(count=3, queue=2, pixels=100, body_bytes=4000)
    with served(model, limits, directions=directions_of(model, DIRECTIONS[:1])) as site:
        yield site


@pytest.fixture(scope="session")
def keyed_site() -> Iterator[Site]:
    """A server that requires a key."""
    model = tiny_model(image_shape=(1, 8, 8))
    with served(model, directions=directions_of(model, DIRECTIONS[:1]), keys=["sesame"]) as site:
        yield site


@pytest.fixture(scope="session")
def guided_site() -> Iterator[Site]:
    """The model of :func:`site`, with recommended settings between the steps of the sliders."""
    model = tiny_model(num_bits=4, image_shape=(1, 8, 8), num_classes=3)
    model.generation = GenerationSettings((0.5, 0.925), 1.33)
    with served(model) as site:
        yield site


@pytest.fixture(scope="session")
def plain_site() -> Iterator[Site]:
    """A model of colour images that are not square, with one level and no classes or directions."""
    with served(tiny_model(image_shape=(3, 4, 6), num_levels=1)) as site:
        yield site


@pytest.fixture(scope="session")
def restorers() -> dict[str, LoadedModel]:
    """Restorers of colour pictures, one for each task with settings of its own."""
    tasks = {"enlarge": Upscale(), "clean": Clean(), "fill": Fill(), "colour": Colourise()}
    return {name: tiny_restorer(task) for name, task in tasks.items()}


@pytest.fixture(scope="session")
def restoring_site(restorers: dict[str, LoadedModel]) -> Iterator[Site]:
    """A model of colour images with restorers."""
    with served(tiny_model(), restorers=restorers, sources=dict.fromkeys(restorers, "photos")) as site:
        yield site


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = os.environ.get("CHROMIUM") or shutil.which("chromium") or playwright.chromium.executable_path
        if not os.path.exists(found):
            pytest.skip("there is no Chromium; install one, or name it in the environment variable CHROMIUM")
        # The sandbox needs a kernel's help that containers and root do not have; only this page is visited.
        arguments = ["--no-sandbox", "--disable-background-networking", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


@dataclass
class Watch:
    """Errors of the page, and expected error statuses."""

    faults: list[str] = field(default_factory=list)
    expected_statuses: set[int] = field(default_factory=set)


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def page(browser: Browser, watch: Watch) -> Iterator[Page]:
    """A page; afterwards check that it contacted only its server, kept the policy and logged no error."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.add_init_script(
        "document.addEventListener('securitypolicyviolation', (e) => console.error('policy', e.violatedDirective))"
    )
    context.set_default_timeout(180_000)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: watch.faults.append(str(error)))

    def logged(message: Any) -> None:
        is_status = any(f"status of {status}" in message.text for status in watch.expected_statuses)
        # The browser asks for the icon whenever the address changes, also where the server has just been stopped.
        is_icon = message.location["url"].endswith("/icon.svg")
        if message.type in ("error", "warning") and not is_status and not is_icon:
            watch.faults.append(message.text)

    page.on("console", logged)
    yield page
    context.close()
    origins = {"/".join(url.split("/")[:3]) for url in asked if not url.startswith(("data:", "blob:"))}
    assert len(origins) == 1, origins
    assert not watch.faults


def show_settings(page: Page) -> None:
    """Open "More settings"."""
    page.locator("form details").evaluate_all("(all) => all.forEach((details) => (details.open = true))")


def visit(page: Page, address: str) -> None:
    """Open the page and its settings, and wait for its first pictures."""
    page.goto(address)
    show_settings(page)
    expect(page.locator(".card").first).to_be_visible()
    expect(page.locator("#sample-task")).to_be_empty()


def reopen(page: Page, address: str) -> None:
    """Open an address in a fresh page, as from a bookmark."""
    page.goto("about:blank")
    page.goto(address)


def drawn(site: Site, *seeds: int, temperature: float = 0.7) -> Tensor:
    """Return the samples of some seeds, with classes in turn if there are any."""
    return site.model.sample(len(seeds), temperature, list(seeds))


def likeliest(site: Site, images: Tensor) -> Tensor:
    """Return the most probable class of each image."""
    given = infer(site.model, images)
    assert given is not None
    return given


def sent_to(page: Page, endpoint: str) -> list[dict[str, Any]]:
    """Return a list to which the bodies of new requests are added."""
    bodies: list[dict[str, Any]] = []

    def note(request: Request) -> None:
        if f"v1/{endpoint}" in request.url:
            bodies.append(request.post_data_json or {})

    page.on("request", note)
    return bodies


def saved(page: Page, button: Locator) -> tuple[str, bytes]:
    """Return the name and the content of the file that a button saves."""
    with page.expect_download() as download:
        button.click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def png_file(image: Tensor, name: str = "picture.png") -> FilePayload:
    return {"name": name, "mimeType": "image/png", "buffer": png_bytes(to_pil(image))}


def shown_image(image: Locator) -> Tensor:
    """Return the pixels of an image of the page, (3, H, W) or, from its PNG, (C, H, W)."""
    expect(image).to_have_attribute("src", re.compile(r"^(data:image/png;base64,|blob:)"))
    url = image.get_attribute("src") or ""
    if url.startswith("blob:"):
        return from_base64(image.evaluate(DRAWN).split(",")[1])[:3]
    return from_base64(url.split(",")[1])


def shows(shown: Tensor, expected: Tensor) -> bool:
    """Return whether images are the expected ones, up to a grey level of the models here, of 4 bits or more."""
    return same_pictures(shown, expected, 4)


def expect_image(page: Page, image: Locator, expected: Tensor) -> None:
    """Wait until an image of the page is as expected; its caption may change earlier."""
    for _ in range(1200):
        if shows(shown_image(image), expected):
            return
        page.wait_for_timeout(50)
    assert shows(shown_image(image), expected)
