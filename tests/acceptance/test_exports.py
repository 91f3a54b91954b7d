"""Exports of every system, from the upload to a file that the system can import again."""

import csv
import io
import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from tests.support.exports import EXPORTS, Export
from tests.support.halftone import Service
from tests.support.images import jpeg
from tests.support.origin import Origin


def test_export_of_every_system_is_worked_on_to_the_end(service: Service, origin: Origin) -> None:
    running = [(export, _upload(service, origin, export)) for export in EXPORTS]
    for export, request_id in running:
        status = service.ended(request_id)
        images = sum(map(len, export.images))
        assert (status["outcome"], status["processed_images"]) == ("succeeded", images), export
        text = service.download(request_id)
        assert text.startswith("\ufeff") == export.has_bom
        rows = list(csv.reader(io.StringIO(text.lstrip("\ufeff"), newline=""),
                               delimiter=export.delimiter, strict=True))  # fmt: skip
        _assert_only_image_cells_differ(export, _served_by(origin, export.rows), rows)
        assert text.count("/api/image/") == images, (export.profile, text)


def _assert_only_image_cells_differ(
    export: Export, before: list[list[str]], after: list[list[str]]
) -> None:
    """Every cell is as uploaded but those with an output URL, which keep what is around it."""
    assert len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        filled = old + [""] * (len(new) - len(old))
        for cell, written in zip(filled, new, strict=True):
            if "/api/image/" not in written:
                assert written == cell, export.profile
                continue
            around = re.sub(_OUTPUT_URL, "", written)
            # BigCommerce reads another column than it writes: that cell was empty.
            assert set(around) <= set(cell) or not cell, (export.profile, cell, written)


_OUTPUT_URL = r"https?://[^/]+/api/image/[\w./-]+"


def _served_by(origin: Origin, rows: list[list[str]]) -> list[list[str]]:
    """The rows with the address of the origin in place of the hosts of the images."""
    return [
        [re.sub("https://(?:images|shop|pim)\\.example", origin.url, cell) for cell in row]
        for row in rows
    ]


def _upload(service: Service, origin: Origin, export: Export) -> str:
    """Upload the table with every image URL replaced by one at the origin."""
    content, fields = export.content.decode(), dict(export.fields)
    for url in {url for urls in export.images for url in urls}:
        path = PurePosixPath(urlsplit(url).path)
        query = urlsplit(url).query
        origin.serve(f"{path}{'?' + query if query else ''}", jpeg())
    for host in ("https://images.example", "https://shop.example", "https://pim.example"):
        content = content.replace(host, origin.url)
        fields = {name: value.replace(host, origin.url) for name, value in fields.items()}
    if export.profile == "wix-classic":
        fields["base_url"] = f"{origin.url}/media/"
    response = service.upload(content, **fields)
    assert response.status_code == 202, response.text
    assert response.json()["profile"] == export.profile
    request_id: str = response.json()["request_id"]
    return request_id
