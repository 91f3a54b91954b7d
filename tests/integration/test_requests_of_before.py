"""A request that was made before the newest migration still shows, downloads and retries."""

import json
from pathlib import Path
from uuid import UUID

import psycopg
from alembic import command
from alembic.config import Config

from halftone_db import MIGRATIONS, migrate
from halftone_shared.model.image_names import image_name, image_token
from halftone_shared.model.results import ImageResult
from tests.support.api import api_settings, path_of, running_api
from tests.support.postgres import TestPostgres
from tests.support.stored import claimed, settle, stored_image

REQUEST = UUID("8243ff57-4d97-4733-bd91-3bb51286b55e")
HEADER = ["Serial Number", "Product Name", "Input Image Urls"]
URLS = ["https://shop.example/1.jpg", "https://shop.example/2.jpg"]
# As the version before the newest migration stored them.
DONE = {
    "status": "COMPLETED", "action": "compressed", "format": "JPEG", "width": 8, "height": 8,
    "bytes_in": 100, "bytes_out": 40, "warnings": [],
}  # fmt: skip
FAILED = {
    "status": "FAILED",
    "error": {"code": "http_error", "message": "404.", "http_status": 404, "retryable": False},
}
INSERT_REQUEST = """
INSERT INTO requests (id, status, outcome, options, csv_filename, csv_header, csv_delimiter,
  csv_url_column, image_token, total_products, total_images, open_shards, processed_products,
  failed_products, processed_images, failed_images, bytes_in, bytes_out, dispatch_cursor,
  started_at, completed_at)
VALUES (%s, 'COMPLETED', 'partial', %s, 'old.csv', %s, ',', 2, %s, 2, 2, 0, 1, 1, 1, 1, 100, 40, 2,
  now(), now())
"""
INSERT_PRODUCT = """
INSERT INTO products (request_id, seq, line, serial_number, product_name, cells, input_image_urls,
  status, attempts, output_files, images, failed_images)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 1, %s, %s, %s)
"""
INSERT_SHARD = """
INSERT INTO request_shards (request_id, shard, total, processed_products, failed_products,
  processed_images, failed_images, bytes_in, bytes_out)
VALUES (%s, %s, 1, %s, %s, %s, %s, %s, %s)
"""


def test_old_request_shows_downloads_and_retries(postgres: TestPostgres, tmp_path: Path) -> None:
    url, file = _database_of_before(postgres), image_name(REQUEST, 1, 1, "jpg")
    with running_api(api_settings(url, tmp_path)) as api:
        api.store.put(file, b"picture")
        status = api.get(f"/api/status/{REQUEST}").json()
        assert (status["status"], status["processed_images"]) == ("COMPLETED", 1)
        first, second = api.get(f"/api/details/{REQUEST}").json()["products"]
        assert second["images"][0]["error"]["code"] == "http_error"
        output = first["output_image_urls"][0]
        assert api.get(path_of(output)).content == b"picture"
        assert api.get(f"/api/download/{REQUEST}").text.splitlines() == [
            ",".join([*HEADER, "Output Image Urls"]),
            f"1,SKU1,{URLS[0]},{output}",
            f"2,SKU2,{URLS[1]},",
        ]
        assert api.get(f"/api/archive/{REQUEST}").content.startswith(b"PK")
        assert api.call("POST", f"/api/retry/{REQUEST}").status_code == 202
        claim = claimed(api.engine, REQUEST, 2)
        name = image_name(claim.image_key, 2, 1, "jpg")
        api.store.put(name, b"another")
        assert settle(api.engine, claim, ImageResult(stored_image(name))).ended
        status = api.get(f"/api/status/{REQUEST}").json()
        assert (status["outcome"], status["failed_images"]) == ("succeeded", 0)
        urls = [
            product["output_image_urls"][0]
            for product in api.get(f"/api/details/{REQUEST}").json()["products"]
        ]
        assert urls[0] == output
        assert api.get(path_of(urls[1])).content == b"another"


def _database_of_before(postgres: TestPostgres) -> str:
    """A database with a request of two products, made at migration 0005 and then migrated."""
    name = "requests_of_before"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = postgres.url(name)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["database_url"] = url
    command.upgrade(config, "0005")
    options = json.dumps({"mode": "quality", "quality": 50, "format": "keep"})
    file = image_name(REQUEST, 1, 1, "jpg")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(INSERT_REQUEST, (REQUEST, options, HEADER, image_token(REQUEST)))
        for seq, state, output, image in (
            (1, "COMPLETED", file, DONE),
            (2, "FAILED", None, FAILED),
        ):
            cells = [str(seq), f"SKU{seq}", URLS[seq - 1]]
            product = (REQUEST, seq, seq + 1, seq, f"SKU{seq}", cells, [URLS[seq - 1]], state,
                       [output], json.dumps([image]), seq - 1)  # fmt: skip
            connection.execute(INSERT_PRODUCT, product)
            counts = (1, 0, 1, 0, 100, 40) if seq == 1 else (0, 1, 0, 1, 0, 0)
            connection.execute(INSERT_SHARD, (REQUEST, seq % 64, *counts))
    migrate(url)
    return url
