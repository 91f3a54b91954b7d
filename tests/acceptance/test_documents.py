"""The five design documents that halftone replaces: what each requires works, embedded and on
RabbitMQ.
"""

import csv
import io

from PIL import Image, ImageColor
from standardwebhooks import Webhook

from tests.support.halftone import Service, wait_for
from tests.support.images import encoded, jpeg, opened
from tests.support.origin import Answer, Origin


def test_flask_and_redis_document_upload_status_and_resize_by_half(
    service: Service, origin: Origin
) -> None:
    """/upload and /status without a prefix, 400 on an invalid CSV, images resized by 50 %."""
    photo = origin.serve("/photo.jpg", jpeg((400, 300)))
    refused = service.http.post(
        "/upload", files={"file": ("products.csv", b"Some,Other,Columns\n1,2,3\n", "text/csv")}
    )
    assert refused.status_code == 400

    uploaded = service.http.post(
        "/upload",
        files={
            "file": (
                "products.csv",
                f"Serial Number,Product Name,Input Image Urls\n1,Mug,{photo}\n".encode(),
            )
        },
        data={"mode": "scale"},
    )
    assert uploaded.status_code == 202
    request_id = uploaded.json()["request_id"]
    service.ended(request_id)

    assert service.http.get(f"/status/{request_id}").json()["status"] == "COMPLETED"
    (product,) = service.products(request_id)
    image = opened(service.http.get(product["output_image_urls"][0]).content)
    assert image.size == (200, 150)


def test_fastapi_and_celery_document_whole_api(service: Service, origin: Origin) -> None:
    """The root, 202 with a request ID, 409 until complete, the image by its file name, and the
    webhook at the end.
    """
    photo = origin.serve("/photo.jpg", jpeg())
    slow = origin.serve("/slow.jpg", Answer(jpeg(seed=2), delay_seconds=1))
    hook = origin.serve("/hook", Answer(status=204))
    assert {"name", "version", "links"} <= service.http.get("/").json().keys()

    secret = "whsec_" + "B" * 40
    uploaded = service.upload(
        f'Serial Number,Product Name,Input Image Urls\n1,SKU1,"{photo},{slow}"\n',
        webhook_url=hook,
        webhook_secret=secret,
    )
    assert uploaded.status_code == 202
    request_id = uploaded.json()["request_id"]
    early = service.http.get(f"/api/download/{request_id}")
    assert early.status_code == 409
    assert early.json()["request_status"] in ("PENDING", "PROCESSING")

    ended = service.ended(request_id)
    assert (ended["status"], ended["outcome"], ended["progress"]) == ("COMPLETED", "succeeded", 100)
    assert ended["processed_products"] == 1
    assert service.http.get(f"/api/download/{request_id}").status_code == 200
    (product,) = service.products(request_id)
    answer = service.http.get(product["output_image_urls"][0])
    assert answer.headers["content-type"] == "image/jpeg"
    assert len(answer.content) < len(jpeg())
    assert service.http.get("/api/image/../../etc/passwd").status_code == 404
    assert service.http.get("/api/status/00000000-0000-4000-8000-000000000000").status_code == 404

    wait_for(lambda: origin.posts, what="webhook")
    _, headers, body = origin.posts[0]
    event = Webhook(secret).verify(body, headers)
    assert event["type"] == "request.completed"
    assert event["data"]["request_id"] == request_id
    wait_for(
        lambda: service.status(request_id)["webhook"]["status"] == "delivered", what="delivery"
    )


def test_django_document_trailing_slashes_and_products_in_the_status(
    service: Service, origin: Origin
) -> None:
    """/api/upload/ and /api/status/ID/, whose answer lists the products with their input and output
    URLs.
    """
    photo = origin.serve("/photo.jpg", jpeg())
    uploaded = service.http.post(
        "/api/upload/",
        files={
            "file": (
                "products.csv",
                f"Serial Number,Product Name,Input Image Urls\n7,Lamp,{photo}\n".encode(),
            )
        },
    )
    assert uploaded.status_code == 202
    request_id = uploaded.json()["request_id"]
    service.ended(request_id)
    answer = service.http.get(f"/api/status/{request_id}/", params={"include": "products"})
    assert answer.status_code == 200
    assert not answer.history
    (product,) = answer.json()["products"]
    assert (product["serial_number"], product["product_name"]) == (7, "Lamp")
    assert product["input_image_urls"] == [photo]
    assert product["output_image_urls"][0].startswith(service.url)


def test_celery_or_bull_document_output_csv_url_in_the_order_of_the_input(
    service: Service, origin: Origin
) -> None:
    """output_csv_url once complete, and output URLs in the order of the input URLs."""
    colours = ("red", "lime", "blue", "white", "black")
    urls = [
        origin.serve(f"/{colour}.jpg", encoded(Image.new("RGB", (64, 48), colour)))
        for colour in colours
    ]
    request_id = service.accepted(
        f'Serial Number,Product Name,Input Image Urls\n1,SKU1,"{",".join(urls)}"\n'
    )
    assert (
        service.status(request_id)["output_csv_url"] is None
        or service.status(request_id)["completed_at"]
    )

    ended = service.ended(request_id)
    output = service.http.get(ended["output_csv_url"]).content.decode()
    header, row = csv.reader(io.StringIO(output))
    assert header == ["Serial Number", "Product Name", "Input Image Urls", "Output Image Urls"]
    for url, colour in zip(row[3].split(","), colours, strict=True):
        found = opened(service.http.get(url).content)
        assert found.size == (64, 48)
        assert found.resize((1, 1)).getpixel((0, 0)) == _close_to(ImageColor.getrgb(colour))


def test_flask_document_unquoted_urls_and_the_output_csv(service: Service, origin: Origin) -> None:
    """The header `S. No`, spaces after commas, and unquoted URLs that spill into further cells. A
    failing webhook changes nothing.
    """
    first, second = origin.serve("/1.jpg", jpeg(seed=1)), origin.serve("/2.jpg", jpeg(seed=2))
    hook = origin.serve("/hook", Answer(status=500))
    request_id = service.accepted(
        "S. No, Product Name, Input Image Urls\n"
        f"1, SKU1, {first},{second}\n2, SKU2, {second},{first}\n",
        webhook_url=hook,
    )
    ended = service.ended(request_id)
    assert (ended["status"], ended["total_images"], ended["processed_images"]) == (
        "COMPLETED",
        4,
        4,
    )
    header, *rows = csv.reader(io.StringIO(service.download(request_id)))
    assert [cell.strip() for cell in header] == [
        "S. No",
        "Product Name",
        "Input Image Urls",
        "Output Image Urls",
    ]
    assert [len(row[3].split(",")) for row in rows] == [2, 2]
    wait_for(
        lambda: service.status(request_id)["webhook"]["last_status_code"] == 500,
        what="failed delivery",
    )
    assert service.status(request_id)["status"] == "COMPLETED"


class _close_to:  # noqa: N801 - reads as a value
    """Equal to a colour, within the error of compression."""

    def __init__(self, colour: object) -> None:
        self._colour = colour

    def __eq__(self, other: object) -> bool:
        assert isinstance(self._colour, tuple)
        assert isinstance(other, tuple)
        return all(
            abs(mine - theirs) <= 6 for mine, theirs in zip(self._colour, other, strict=True)
        )
