"""A catalogue whose pictures tell which product, position and variant they belong to."""

import csv
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import httpx
from PIL import Image

from tests.support.csv_files import HEADER
from tests.support.halftone import Service
from tests.support.images import encoded
from tests.support.origin import Origin

IMAGES = 3
MAIN = "Output Image Urls"
# The column of each output, and the longest side of its pictures.
SIDES = {MAIN: 64, f"{MAIN} (thumb)": 16, f"{MAIN} (card)": 24, f"{MAIN} (zoom)": 48}
VARIANTS = json.dumps([{"name": name, "width": SIDES[f"{MAIN} ({name})"]} for name in
                       ("thumb", "card", "zoom")])  # fmt: skip
MOST_PRODUCTS = 16**3 // IMAGES


@dataclass(frozen=True)
class Delivered:
    """How a catalogue ended. `outputs`: pictures looked at, each in its column and position."""

    requests_to_the_origin: int
    outputs: int
    seconds: float


def deliver_catalogue(
    service: Service, origin: Origin, products: int, seconds: float = 60
) -> Delivered:
    """Compress products of three images into a main output and three variants, and check that the
    origin was asked once for each image and that every cell of the output file shows its picture.
    """
    request_id = service.accepted(_csv(origin, products), variants=VARIANTS)
    status = service.ended(request_id, seconds)
    assert status["processed_images"] == products * IMAGES, status
    assert set(origin.hits.values()) == {1}, origin.hits.most_common(3)
    assert len(origin.hits) == products * IMAGES
    expected = list(_expected(service, request_id, products))
    with (
        httpx.Client(trust_env=False) as http,
        ThreadPoolExecutor(4) as pool,
    ):
        wrong = [text for text in pool.map(lambda one: _wrong(http, *one), expected) if text]
    assert not wrong, wrong[:5]
    assert len({url for url, _, _ in expected}) == len(expected) == products * IMAGES * len(SIDES)
    begin, end = (datetime.fromisoformat(status[name]) for name in ("created_at", "completed_at"))
    return Delivered(origin.hits.total(), len(expected), (end - begin).total_seconds())


def _csv(origin: Origin, products: int) -> str:
    assert products <= MOST_PRODUCTS
    rows = [HEADER]
    for product in range(products):
        urls = []
        for position in range(IMAGES):
            number = product * IMAGES + position
            picture = encoded(Image.new("RGB", (64, 48), _colour(number)), quality=90)
            urls.append(origin.serve(f"/{number}.jpg", picture))
        rows.append(f'{product + 1},SKU{product + 1},"{",".join(urls)}"\n')
    return "".join(rows)


def _colour(number: int) -> tuple[int, int, int]:
    """A colour of its own for each image: 16 levels in each channel."""
    return number // 256 * 16 + 8, number // 16 % 16 * 16 + 8, number % 16 * 16 + 8


def _expected(
    service: Service, request_id: str, products: int
) -> Iterator[tuple[str, int, tuple[int, int, int]]]:
    """Each output URL of the file, with the width and the colour that its place calls for."""
    rows = list(csv.DictReader(io.StringIO(service.download(request_id))))
    assert len(rows) == products
    for product, row in enumerate(rows):
        assert row["Product Name"] == f"SKU{product + 1}"
        for column, side in SIDES.items():
            urls = row[column].split(",")
            assert len(urls) == IMAGES, row
            for position, url in enumerate(urls):
                yield url, side, _colour(product * IMAGES + position)


def _wrong(http: httpx.Client, url: str, width: int, colour: tuple[int, int, int]) -> str | None:
    """What is wrong with the picture at this URL; None if it is the expected one."""
    response = http.get(url)
    if response.status_code != 200:
        return f"{url}: {response.status_code}"
    with Image.open(io.BytesIO(response.content)) as image:
        size, shown = image.size, image.convert("RGB").resize((1, 1)).getpixel((0, 0))
    assert isinstance(shown, tuple)
    is_near = max(abs(a - b) for a, b in zip(shown, colour, strict=True)) < 8
    if is_near and size == (width, width * 3 // 4):
        return None
    return f"{url}: {size} of {shown}, expected a width of {width} and {colour}"
