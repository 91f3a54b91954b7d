"""A request's page follows its request: over a restart of the API, and while a host is paused."""

import re
import time
from contextlib import suppress

import httpx
import psutil
from playwright.sync_api import BrowserContext, Page, expect

from halftone_workers.http.refreshed import REFRESH_SECONDS
from tests.browser.pictures import catalogue
from tests.support.halftone import Service, wait_for
from tests.support.origin import Origin


def api_of(service: Service) -> psutil.Process | None:
    """The API's process under `halftone up`."""
    children = psutil.Process(service.processes["up"].pid).children()
    for child in children:
        with suppress(psutil.NoSuchProcess):  # it has just ended
            if "halftone_api" in child.cmdline():
                return child
    return None


def is_ready_again(service: Service, before: int) -> bool:
    api = api_of(service)
    if api is None or api.pid == before:
        return False
    try:
        return service.http.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_page_goes_on_after_the_api_was_killed_and_its_host_resumed(
    context: BrowserContext, service: Service, shop: Origin
) -> None:
    host = shop.url.removeprefix("http://")
    service.http.put(f"/api/paused-hosts/{host}").raise_for_status()
    time.sleep(REFRESH_SECONDS)  # until the worker has read the pause
    page = context.new_page()
    page.goto(f"/r/{service.accepted(catalogue(shop.url, 3))}")
    expect(page.get_by_text(f"{host} is paused by an operator")).to_be_visible()
    page.evaluate("window.stays = true")

    api = api_of(service)
    assert api is not None
    api.kill()
    wait_for(lambda: is_ready_again(service, api.pid), what="the API after its end")

    operations = context.new_page()
    operations.goto("/operations")
    operations.get_by_role("listitem").filter(has_text=host).get_by_role("button").click()
    expect(operations.get_by_text("Paused hosts")).to_be_hidden()
    expect(page.get_by_text("Download the file")).to_be_visible()
    expect(page.locator("button.shot")).to_have_count(4)
    expect(page.locator("#failures")).to_contain_text("Why 1 image failed")
    assert page.evaluate("window.stays"), "the page was loaded again"


def test_host_is_paused_by_a_button(page: Page, service: Service, shop: Origin) -> None:
    host = "127.0.0.1"  # the figures have no ports
    service.ended(service.accepted(catalogue(shop.url, 1)))

    def is_counted() -> bool:
        hosts = service.http.get("/api/operations").json()["hosts"]
        return any(each["host"] == host for each in hosts)

    wait_for(is_counted, what="the worker's figures")
    page.goto("/operations")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name=f"Pause {host}").click()
    expect(page.get_by_text("Paused hosts")).to_be_visible()
    [paused] = service.http.get("/api/paused-hosts").json()["paused_hosts"]
    assert paused["host"] == host
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("Paused hosts")).to_be_hidden()
    assert service.http.get("/api/paused-hosts").json()["paused_hosts"] == []


def test_charts_show_what_waits_now_and_was_done(
    page: Page, service: Service, shop: Origin
) -> None:
    host = shop.url.removeprefix("http://")
    service.http.put(f"/api/paused-hosts/{host}").raise_for_status()
    time.sleep(REFRESH_SECONDS)  # until the worker has read the pause
    service.accepted(catalogue(shop.url, 3))

    def waiting() -> int:
        backlog = service.http.get("/api/operations").json()["backlog"]
        return sum(backlog[f"{state}_products"] for state in ("waiting", "postponed", "processing"))

    wait_for(lambda: waiting() == 4, what="products that wait for the host")
    page.goto("/operations")
    chart = page.get_by_role("img", name="Chart of the products")
    expect(chart.locator("canvas")).to_be_visible()
    legend = page.locator("#backlog-chart-legend")
    shown = legend.locator("[data-series]").all_inner_texts()
    assert sum(map(int, shown[:3])) == 4, shown
    # A line runs from the first recorded minute until now. At first it is too short to count.
    wait_for(
        lambda: page.evaluate(_INKS, "backlog-chart") >= 3,
        what="lines beside the axes",
        every_seconds=1.0,
    )
    service.http.delete(f"/api/paused-hosts/{host}").raise_for_status()
    expect(legend).to_contain_text("products waiting 0")  # the page renews it
    expect(page.locator("#throughput-words")).to_contain_text("images done")
    chart.hover(position={"x": 200, "y": 80})
    expect(legend.locator("[data-when]")).to_have_text(re.compile(r"\d\d:\d\d"))


# The number of colours in a chart that cover more than its texts' soft edges do.
_INKS = """id => {
  const canvas = document.querySelector(`#${id} canvas`);
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const counts = new Map();
  for (let at = 0; at < data.length; at += 4) {
    if (data[at + 3] < 40) continue;
    const ink = data.slice(at, at + 4).join();
    counts.set(ink, (counts.get(ink) ?? 0) + 1);
  }
  return [...counts.values()].filter((count) => count > 60).length;
}"""


def test_updates_of_the_operations_page_are_paused(page: Page) -> None:
    page.clock.install()
    page.goto("/operations")
    with page.expect_response("**/operations"):
        page.clock.run_for(6000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_role("button", name="Pause updates").click()
    page.clock.run_for(20_000)
    assert asked == []
    page.get_by_role("button", name="Pause updates").click()
    with page.expect_response("**/operations"):
        page.clock.run_for(6000)
