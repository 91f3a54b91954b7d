"""A real Chromium on the real service: `halftone up` with its embedded database and a worker."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Request,
    expect,
    sync_playwright,
)

from tests.browser.pictures import PICTURES
from tests.support.halftone import Service, running_up
from tests.support.origin import Origin, running_origin

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT_MILLISECONDS = 30_000
expect.set_options(timeout=WAIT_MILLISECONDS)


@pytest.fixture(scope="module")  # it keeps an event loop running until it ends
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def shop() -> Iterator[Origin]:
    """A shop that serves the demo's photographs under /NAME."""
    with running_origin() as origin:
        for picture in PICTURES.iterdir():
            origin.serve(f"/{picture.name}", picture.read_bytes())
        yield origin


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_up(tmp_path_factory.mktemp("up")) as running:
        yield running


@pytest.fixture
def context(browser: Browser, service: Service) -> Iterator[BrowserContext]:
    """A browser's session. Hosts that a failed test leaves paused are resumed after it."""
    made = browser.new_context(base_url=service.url, accept_downloads=True)
    made.set_default_timeout(WAIT_MILLISECONDS)
    yield made
    made.close()
    for paused in service.http.get("/api/paused-hosts").json()["paused_hosts"]:
        service.http.delete(f"/api/paused-hosts/{paused['host']}").raise_for_status()


@pytest.fixture
def page(context: BrowserContext, service: Service, shop: Origin) -> Iterator[Page]:
    """A page that may call the service, may load only pictures from the shop, and must log no
    console error.

    `context.expected_errors` would hide errors, so tests of refusals check HTTP statuses instead.
    """
    opened = context.new_page()
    foreign: list[str] = []
    errors: list[str] = []

    def look(request: Request) -> None:
        own = request.url.startswith((service.url, "data:", "blob:"))
        picture = request.url.startswith(shop.url) and request.resource_type == "image"
        if not (own or picture):
            foreign.append(request.url)

    def hear(message: Any) -> None:
        # A picture missing in the shop is not an error of the page.
        missing = "Failed to load resource" in message.text and shop.url in message.location["url"]
        if message.type == "error" and not missing:
            errors.append(f"{message.text} {message.location['url']}")

    # The test driver asks Chromium for file choosers when the first listener is added, and does not
    # wait for the answer: on a busy machine a chooser that opens right after is never reported.
    opened.on("filechooser", lambda _: None)
    opened.on("request", look)
    opened.on("console", hear)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    assert foreign == [], "a request to another host"
    assert errors == [], "an error in the console"
