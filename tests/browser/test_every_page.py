"""Every page is accessible, works by keyboard, on a phone and in dark mode. Also takes the
screenshots.
"""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect

from tests.browser.pictures import catalogue, faulty
from tests.support.halftone import Service
from tests.support.origin import Origin

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
# Screenshots for the README are saved in the folder that HALFTONE_PICTURES names.
PICTURES = os.environ.get("HALFTONE_PICTURES")
SHOWN = {"start": "/", "request": "/r/{id}", "requests": "/requests", "operations": "/operations"}
SHOWN |= {"docs": "/docs", "error": "/api/status/none", "json": "/api/status/{id}"}
SHOWN |= {"sign-in": "/sign-in"}


@pytest.fixture(scope="session")
def request_id(service: Service, shop: Origin) -> str:
    """A request that has ended, with one failure."""
    found = service.accepted(catalogue(shop.url))
    service.ended(found)
    return found


def serious(page: Page) -> list[str]:
    """Serious and critical accessibility violations that axe finds."""
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:160]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", SHOWN)
def test_page_keeps_nobody_out(
    browser: Browser, service: Service, request_id: str, name: str, scheme: str
) -> None:
    context = browser.new_context(
        base_url=service.url,
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": 1200, "height": 900},
        bypass_csp=True,  # the page's CSP would block axe
    )
    page = context.new_page()
    page.goto(SHOWN[name].format(id=request_id), wait_until="load")
    if PICTURES:
        page.wait_for_timeout(700)
        page.screenshot(path=Path(PICTURES) / f"page-{name}-{scheme}.png")
    assert serious(page) == []
    context.close()


@pytest.mark.parametrize("name", SHOWN)
def test_page_fits_a_phone(browser: Browser, service: Service, request_id: str, name: str) -> None:
    context = browser.new_context(base_url=service.url, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(SHOWN[name].format(id=request_id), wait_until="load")
    if PICTURES:
        page.wait_for_timeout(700)
        page.screenshot(path=Path(PICTURES) / f"page-{name}-phone.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "it scrolls sideways"
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_compare_view_is_accessible_and_by_keyboard(
    browser: Browser, service: Service, request_id: str, scheme: str
) -> None:
    context = browser.new_context(
        base_url=service.url,
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": 1200, "height": 900},
        bypass_csp=True,
    )
    page = context.new_page()
    page.goto(f"/r/{request_id}")
    page.locator("button.shot").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    if PICTURES:
        page.wait_for_timeout(900)
        page.screenshot(path=Path(PICTURES) / f"page-compare-{scheme}.png")
    assert serious(page) == []
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.classList.contains('shot')"), "focus is lost"
    context.close()


def test_answers_to_a_file_keep_nobody_out(
    browser: Browser, service: Service, shop: Origin
) -> None:
    context = browser.new_context(base_url=service.url, bypass_csp=True)
    page = context.new_page()
    page.goto("/")
    answer = page.locator("#answer")
    unknown = f"Thing;Picture\nA;{shop.url}/mug-1.jpg\n"
    for name, text, shown in (
        ("faulty.csv", faulty(shop.url), "3 errors"),
        ("unknown.csv", unknown, "columns of this file are not known"),
        ("good.csv", catalogue(shop.url, 2), "4 images"),
    ):
        file = FilePayload(name=name, mimeType="text/csv", buffer=text.encode())
        page.set_input_files("#file", file)
        expect(answer).to_contain_text(shown)
        assert serious(page) == [], name
    context.close()


def test_docs_are_searched_and_each_example_is_copied(browser: Browser, service: Service) -> None:
    context = browser.new_context(
        base_url=service.url, permissions=["clipboard-read", "clipboard-write"]
    )
    page = context.new_page()
    page.goto("/docs")
    page.get_by_role("searchbox").fill("paused-hosts")
    expect(page.locator("section.operation:visible")).to_have_count(3)
    button = page.get_by_role("button", name="Copy the example of pause_host")
    button.click()
    expect(button).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"curl -X PUT {service.url}/api/paused-hosts/HOST"
    context.close()


def test_start_page_by_keyboard_alone(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert {"file", "start-button", "sample-button"} <= reached


def test_request_is_made_watched_and_compared_by_keyboard_alone(page: Page, shop: Origin) -> None:
    page.goto("/")
    page.locator("#file").focus()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    text = catalogue(shop.url, 2).encode()
    chooser.value.set_files(FilePayload(name="a.csv", mimeType="text/csv", buffer=text))
    expect(page.locator("#answer")).to_contain_text("4 images")
    tab_to(page, "#start-button")
    page.keyboard.press("Enter")
    page.wait_for_url("**/r/*")
    expect(page.get_by_text("Download the file")).to_be_visible()
    expect(page.locator("button.shot")).to_have_count(3)
    tab_to(page, "button.shot")
    page.keyboard.press("Enter")
    name = page.locator("#compare-name")
    first = name.inner_text()
    page.keyboard.press("n")
    expect(name).not_to_have_text(first)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until an element is focused that fits the selector."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    pytest.fail(f"Tab does not reach {selector}")


def test_search_finds_a_request_while_typing(page: Page, service: Service, shop: Origin) -> None:
    service.upload(catalogue(shop.url, 1), filename="winter sale.csv")
    page.goto("/requests")
    page.get_by_role("searchbox").fill("winter")
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page.locator("#rows")).to_contain_text("winter sale.csv")
    expect(page.locator("#totals")).to_contain_text("1 request: 3 images")
