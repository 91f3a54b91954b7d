"""The `halftone` command, run in this process, and service responses for it."""

import json
import os
from typing import Any
from unittest.mock import patch

from typer.testing import CliRunner, Result

from halftone_cli.main import app
from tests.support.origin import Answer

ACCEPTED = {
    "message": "Accepted.",
    "request_id": "1",
    "status": "PENDING",
    "total_products": 1,
    "total_images": 2,
}
STATUS = {
    "request_id": "1",
    "status": "COMPLETED",
    "outcome": "succeeded",
    "progress": 100.0,
    "csv_filename": "products.csv",
    "total_products": 1,
    "processed_products": 1,
    "total_images": 2,
    "processed_images": 2,
    "bytes_in": 3_000_000,
    "bytes_out": 1_000_000,
    "bytes_saved": 2_000_000,
    "created_at": "2026-01-01T00:00:00.000Z",
    "updated_at": "2026-01-01T00:00:01.000Z",
    "completed_at": "2026-01-01T00:00:01.000Z",
}
FAILED_IMAGE = {
    "position": 2,
    "input_url": "http://127.0.0.1/b.jpg",
    "output_url": None,
    "status": "FAILED",
    "action": None,
    "error": {
        "code": "blocked_address",
        "message": "127.0.0.1 is private.",
        "http_status": None,
        "retryable": False,
    },
}
GOOD_IMAGE = {
    "position": 1,
    "input_url": "http://shop.example/a.jpg",
    "output_url": "http://api.example/api/image/a.jpg",
    "status": "COMPLETED",
    "action": "compressed",
    "bytes_in": 2000,
    "bytes_out": 1000,
    "error": None,
}
PRODUCT = {
    "line": 2,
    "serial_number": 1,
    "product_name": "Mug",
    "status": "COMPLETED",
    "outcome": "partial",
    "attempts": 1,
    "input_image_urls": [],
    "output_image_urls": [],
    "images": [GOOD_IMAGE, FAILED_IMAGE],
}


def run(*arguments: str, url: str | None = None, **environment: str) -> Result:
    """Run a command. With `url`, it calls the service there."""
    known = {name: value for name, value in os.environ.items() if "HALFTONE" not in name}
    variables = known | {"COLUMNS": "120"} | environment
    if url is not None:
        variables["HALFTONE_URL"] = url
    with patch.dict(os.environ, variables, clear=True):
        return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def answer(body: Any, status: int = 200) -> Answer:
    return Answer(json.dumps(body).encode(), status, {"Content-Type": "application/json"})


def problem(status: int, code: str, detail: str, **members: Any) -> Answer:
    body = {"detail": detail, "code": code, "status": status} | members
    return Answer(json.dumps(body).encode(), status, {"Content-Type": "application/problem+json"})
