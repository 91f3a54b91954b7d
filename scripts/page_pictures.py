"""Makes the pictures of the web page for the README: `python -m scripts.page_pictures`.

Runs `halftone up` with a shop of its own, fills it with a request and an hour of example figures,
and saves each page in light and dark mode and at the width of a phone in docs/pictures/. Run it
again when a page looks different, and look at the pictures.
"""

import csv
import io
import math
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sqlalchemy import Connection

from halftone_cli.local_database import local_engine
from halftone_shared.db.host_figures import HostFigures, add_host_figures
from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.browser.pictures import NAMES, PICTURES
from tests.support.halftone import Service, running_up
from tests.support.origin import Origin, running_origin
from tests.support.stored import execute

TARGET = Path("docs/pictures")
SIZES = {"light": (1200, 1000), "dark": (1200, 1000), "phone": (390, 844)}
WEBP_QUALITY = 82
MINUTES = 58
_INSERT = """
    INSERT INTO backlog_minutes (minute, recorded_at, waiting_products, postponed_products,
        processing_products, pending_events, oldest_waiting_seconds)
    VALUES (:minute, :minute, :waiting, :postponed, :processing, :events, :oldest)
    ON CONFLICT (minute) DO NOTHING
"""
HOSTS = {"cdn.shop.example": 0.01, "img.slow.example": 0.12, "static.shop.example": 0.0}


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        running_origin() as shop,
        running_up(Path(folder)) as service,
        sync_playwright() as playwright,
    ):
        for picture in PICTURES.iterdir():
            shop.serve(f"/{picture.name}", picture.read_bytes())
        export = _shopify_export(shop)
        request_id = service.accepted(export, preset="web")
        service.ended(request_id)
        _add_example_figures(Path(folder) / "home")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for look in SIZES:
            _save_pages(browser, service, request_id, export, look)
        browser.close()


def _shopify_export(shop: Origin) -> str:
    """An export with several images a product, one of which the shop no longer has."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["Handle", "Title", "Body (HTML)", "Vendor", "Variant SKU", "Image Src",
                   "Image Position", "Image Alt Text", "Variant Image"])  # fmt: skip
    for number, name in enumerate(NAMES):
        title = f"{name.split('-')[0].title()} no. {number + 1}"
        second = shop.url + f"/{NAMES[number - 4]}" if number % 3 == 0 else ""
        image = f"{shop.url}/{name}"
        rows.writerow([title.lower(), title, "", "Acme", f"SKU-{number}", image, 1, "", second])
    gone = f"{shop.url}/discontinued.jpg"
    rows.writerow(["lamp", "Lamp", "", "Acme", "SKU-99", gone, 1, "", ""])
    return text.getvalue()


def _add_example_figures(home: Path) -> None:
    """An hour in which a large catalogue is worked off."""
    random.seed(1)
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    with local_engine(home) as engine:
        for ago in range(MINUTES, 0, -1):
            minute = now - timedelta(minutes=ago)
            waiting = max(0, int(9000 * math.exp(-(((ago - 25) / 12) ** 2)) - 60))
            execute(
                engine,
                _INSERT,
                minute=minute,
                waiting=waiting,
                postponed=waiting // 12,
                processing=32 if waiting else random.randint(0, 6),
                events=random.randint(0, 4),
                oldest=waiting / 40,
            )
            with engine.connect() as connection:
                _add_images(connection, minute)


def _add_images(connection: Connection, minute: datetime) -> None:
    for host, failing in HOSTS.items():
        images = random.randint(220, 420)
        seconds = images * (2.4 if failing > 0.1 else 0.4)
        failed = int(images * failing * random.random() * 2)
        figures = HostFigures(
            minute, host, images, failed, images * 330_000, images * 92_000, seconds
        )
        add_host_figures(connection, [figures])


def _save_pages(
    browser: Browser, service: Service, request_id: str, export: str, look: str
) -> None:
    with _opened(browser, service.url, look) as page:
        page.goto("/")
        upload = {"name": "products_export.csv", "mimeType": "text/csv", "buffer": export.encode()}
        page.set_input_files("#file", upload)  # type: ignore[arg-type]
        expect(page.locator("#answer")).to_contain_text("Shopify")
        _save(page, "start", look)
        page.goto(f"/r/{request_id}")
        _save(page, "request", look)
        page.goto("/operations")
        _save(page, "operations", look)


@contextmanager
def _opened(browser: Browser, url: str, look: str) -> Iterator[Page]:
    width, height = SIZES[look]
    context = browser.new_context(
        base_url=url,
        color_scheme="dark" if look == "dark" else "light",
        viewport={"width": width, "height": height},
        device_scale_factor=2 if look == "phone" else 1,
    )
    yield context.new_page()
    context.close()


def _save(page: Page, name: str, look: str) -> None:
    page.wait_for_load_state("networkidle")
    page.evaluate("window.scrollTo(0, 0)")
    shot = Image.open(io.BytesIO(page.screenshot()))
    path = TARGET / f"page-{name}-{look}.webp"
    shot.convert("RGB").save(path, quality=WEBP_QUALITY, method=6)
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
