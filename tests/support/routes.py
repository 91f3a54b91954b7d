"""For tests of routes: uploads, finished images, and the format of every problem."""

from typing import Any
from uuid import UUID

import httpx

from halftone_shared.model.image_names import image_name
from tests.support.api import Api
from tests.support.csv_files import HEADER
from tests.support.stored import claimed, good_image, settle

URL = "http://images.example/1.jpg"
DATA = bytes(range(256)) * 4


def upload(api: Api, products: int = 1, *, images: int = 1, **how: Any) -> UUID:
    """Upload that many products and return the request's ID."""
    urls = ",".join(f"http://images.example/{position}.jpg" for position in range(1, images + 1))
    response = api.upload(
        HEADER + "".join(f'{n},SKU{n},"{urls}"\n' for n in range(1, products + 1)), **how
    )
    assert response.status_code == 202, response.text
    return UUID(response.json()["request_id"])


def problem_of(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert {"type", "title", "detail", "instance"} <= problem.keys()
    return problem


def ended_with_image(
    api: Api, request_id: UUID, *, extension: str = "jpg", data: bytes = DATA
) -> str:
    """Settle the request's first product with one stored image and return the image's name."""
    claim = claimed(api.engine, request_id, 1)
    name = image_name(claim.image_key, 1, 1, extension)
    api.store.put(name, data)
    settle(api.engine, claim, good_image(name))
    return name
