"""Many outputs of one request: variants in their columns, and 100,000 images in one ZIP."""

import json
import shutil
import subprocess
import time
from pathlib import Path
from zipfile import ZipFile

import psutil
from PIL import Image

from benchmarks.figures import Figure, at_most
from benchmarks.origin import running_origin
from benchmarks.photos import FOLDER
from benchmarks.service import catalogue, memory_bytes, new_folder, running_service
from tests.support import variants as support
from tests.support.halftone import Service
from tests.support.images import encoded, picture
from tests.support.origin import running_origin as counting_origin

MIB = 1024**2
PRODUCTS = 1000
# 100 products of 100 images of 10 outputs each.
ARCHIVED_PRODUCTS, ARCHIVED_IMAGES, ARCHIVED_VARIANTS = 100, 100, 9
ARCHIVED = ARCHIVED_PRODUCTS * ARCHIVED_IMAGES * (1 + ARCHIVED_VARIANTS)


def variants() -> list[Figure]:
    """1,000 products × 3 images × 3 variants: every output is looked at in its column."""
    with counting_origin() as origin, running_service() as service:
        found = support.deliver_catalogue(service, origin, PRODUCTS, seconds=1800)
    images = PRODUCTS * support.IMAGES
    return [
        at_most("requests to the origin per image", found.requests_to_the_origin / images, "", 1),
        Figure("outputs, all the expected picture in the right column", found.outputs, ""),
        Figure("from upload to end", found.seconds, "s"),
    ]


def archive() -> list[Figure]:
    """A ZIP of 100,000 images: its first byte, the API's memory, and whether others open it."""
    if shutil.which("unzip") is None:
        raise SystemExit("This section needs unzip: apt-get install unzip")
    source = FOLDER / "archived.jpg"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(encoded(picture((64, 48)), quality=90))
    zipped = new_folder() / "images.zip"
    sizes = json.dumps(
        [{"name": f"w{width}", "width": width} for width in range(20, 20 + ARCHIVED_VARIANTS)]
    )
    with running_origin([source]) as urls, running_service() as service:
        csv = catalogue(urls, ARCHIVED_PRODUCTS, ARCHIVED_IMAGES)
        request_id = service.accepted(csv, variants=sizes, names="{key}-{position}-{variant}")
        status = service.ended(request_id, 3600, every_seconds=1)
        assert status["failed_images"] == 0, status
        first_byte, seconds, grown = _fetched(service, f"/api/archive/{request_id}", zipped)
    subprocess.run(["unzip", "-tqq", zipped], check=True, capture_output=True)
    with ZipFile(zipped) as opened:
        assert opened.testzip() is None
        names = opened.namelist()
        with opened.open(names[-1]) as last, Image.open(last) as image:
            image.load()
    assert len({name.casefold() for name in names}) == ARCHIVED
    return [
        Figure("images in the ZIP, which unzip -t and Python open", len(names), ""),
        Figure("its size", zipped.stat().st_size / MIB, "MiB"),
        at_most("first byte after", first_byte, "s", 1),
        Figure("all of it after", seconds, "s"),
        at_most("API memory grown meanwhile by", grown / MIB, "MiB", 20),
    ]


def _fetched(service: Service, path: str, into: Path) -> tuple[float, float, int]:
    """Seconds to the first byte and to the last one, and the growth of the API's memory."""
    api = psutil.Process(service.processes["api"].pid)
    before, most, first_byte = memory_bytes([api]), 0, 0.0
    started = sampled = time.perf_counter()
    with service.http.stream("GET", path, timeout=600) as response, into.open("wb") as file:
        assert response.status_code == 200, response.read()
        for chunk in response.iter_raw():
            now = time.perf_counter()
            first_byte = first_byte or now - started
            file.write(chunk)
            if now - sampled > 0.05:
                most, sampled = max(most, memory_bytes([api])), now
    return first_byte, time.perf_counter() - started, max(0, most - before)
