"""The ZIP of a request: every output under its name, in file order."""

import io
import json
import shutil
import subprocess
from pathlib import Path
from uuid import UUID
from zipfile import ZIP_STORED, ZipFile

import pytest

from halftone_shared.model.image_names import image_name
from halftone_shared.model.results import ImageResult
from tests.support.api import Api
from tests.support.csv_files import HEADER
from tests.support.routes import problem_of
from tests.support.stored import claimed, failed_image, settle, stored_image

CSV = (
    HEADER + "\n"
    '1,Red Mug,"https://shop.example/a.jpg,https://shop.example/b.jpg"\n'
    "2,Red Mug,https://shop.example/c.jpg\n"
)
VARIANTS = json.dumps([{"name": "thumb", "width": 50}])


def finished(api: Api, **fields: str) -> str:
    """An ended request. The second image of its first product failed."""
    request_id: str = api.upload(CSV, fields=fields).json()["request_id"]
    for seq, positions in ((1, 2), (2, 1)):
        claim = claimed(api.engine, UUID(request_id), seq)
        outputs = ["", "thumb"] if "variants" in fields else [""]
        results = []
        for position in range(1, positions + 1):
            files = {}
            for number, variant in enumerate(outputs):
                names = claim.output_names
                own = names[(position - 1) * len(outputs) + number] if names else None
                key = claim.image_key
                files[variant] = image_name(
                    key, seq, position, "jpg", variant=variant, own_name=own
                )
                api.store.put(files[variant], f"{seq}-{position}{variant}".encode())
            main = stored_image(files.pop(""))
            others = {name: stored_image(file) for name, file in files.items()}
            results.append(ImageResult(main, others) if position == 1 else failed_image())
        settle(api.engine, claim, *results)
    return request_id


def archive(api: Api, request_id: str, **parameters: str) -> ZipFile:
    response = api.get(f"/api/archive/{request_id}", params=parameters)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/zip"
    assert "products-images.zip" in response.headers["content-disposition"]
    return ZipFile(io.BytesIO(response.content))


def test_archive_has_every_output_stored_as_it_is(api: Api) -> None:
    with archive(api, finished(api)) as zipped:
        assert zipped.testzip() is None
        assert {name: zipped.read(name) for name in zipped.namelist()} == {
            "1-1.jpg": b"1-1",
            "2-1.jpg": b"2-1",
        }
        assert {entry.compress_type for entry in zipped.infolist()} == {ZIP_STORED}


def test_archive_uses_the_names_of_the_upload(api: Api) -> None:
    request_id = finished(api, names="{name}", variants=VARIANTS)

    with archive(api, request_id) as zipped:
        assert zipped.namelist() == [
            "Red-Mug.jpg",
            "Red-Mug-thumb.jpg",
            "Red-Mug-3.jpg",
            "Red-Mug-thumb-3.jpg",
        ]
    with archive(api, request_id, variant="thumb") as zipped:
        assert [zipped.read(name) for name in zipped.namelist()] == [b"1-1thumb", b"2-1thumb"]


def test_images_are_served_under_the_names_of_the_upload(api: Api) -> None:
    request_id = finished(api, names="{name}", variants=VARIANTS)
    [first, _] = api.get(f"/api/details/{request_id}").json()["products"]
    image = first["images"][0]
    assert image["output_url"].endswith("/Red-Mug.jpg")
    served = api.get(image["output_url"].removeprefix(api.settings.public_url))
    assert served.content == b"1-1"
    assert served.headers["content-disposition"] == "inline; filename*=UTF-8''Red-Mug.jpg"
    thumb = image["variants"]["thumb"]["output_url"].removeprefix(api.settings.public_url)
    assert api.get(thumb).content == b"1-1thumb"
    problem_of(api.get(thumb.replace("Red-Mug", "Blue-Mug")), 404, "not_found")


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_archive_passes_unzip(api: Api, tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    path.write_bytes(api.get(f"/api/archive/{finished(api)}").content)

    subprocess.run(["unzip", "-t", path], check=True, capture_output=True)


def test_archive_waits_for_the_end(api: Api) -> None:
    request_id = api.upload(CSV).json()["request_id"]

    problem = problem_of(api.get(f"/api/archive/{request_id}"), 409, "not_ended")

    assert problem["request_status"] == "PENDING"


def test_unknown_variant_is_refused_with_those_that_there_are(api: Api) -> None:
    request_id = finished(api, variants=VARIANTS)

    response = api.get(f"/api/archive/{request_id}", params={"variant": "huge"})

    assert "thumb" in problem_of(response, 400, "invalid_parameter")["detail"]


def test_image_that_is_gone_breaks_the_archive_off(api: Api) -> None:
    request_id = finished(api)
    shutil.rmtree(Path(api.settings.storage_url.removeprefix("file://")) / "images")

    with pytest.raises(Exception, match=r"\.jpg"):
        api.get(f"/api/archive/{request_id}")
