"""What halftone guarantees for every request: positions, failures in their slots, options, large
requests, duplicates.
"""

import csv
import io
import itertools
from uuid import UUID

import pika
import pytest

from halftone_shared.model.messages import PRODUCTS_QUEUE, product_message
from halftone_shared.model.results import ProductKey
from tests.support.csv_files import HEADER
from tests.support.halftone import Service, log_lines, wait_for
from tests.support.images import encoded, jpeg, opened, picture
from tests.support.origin import Answer, Origin


def test_failing_url_in_the_middle_costs_only_its_own_slot(
    service: Service, origin: Origin
) -> None:
    first, last = origin.serve("/1.jpg", jpeg(seed=1)), origin.serve("/3.jpg", jpeg(seed=3))
    request_id = service.accepted(f'{HEADER}1,SKU1,"{first},{origin.url}/missing.jpg,{last}"\n')
    status = service.ended(request_id)
    assert (status["status"], status["outcome"]) == ("COMPLETED", "partial")
    assert (status["processed_images"], status["failed_images"]) == (2, 1)
    (product,) = service.products(request_id)
    assert product["outcome"] == "partial"
    assert [url is None for url in product["output_image_urls"]] == [False, True, False]
    failed = product["images"][1]
    assert (failed["position"], failed["status"]) == (2, "FAILED")
    assert failed["error"]["code"] == "http_error"
    assert failed["error"]["http_status"] == 404
    assert failed["error"]["retryable"] is False
    (row,) = _output_rows(service, request_id)
    assert [bool(url) for url in row[3].split(",")] == [True, False, True]


def test_duplicated_url_gets_a_slot_each(service: Service, origin: Origin) -> None:
    url = origin.serve("/same.jpg", jpeg())
    request_id = service.accepted(f'{HEADER}1,SKU1,"{url},{url}"\n')
    service.ended(request_id)
    (product,) = service.products(request_id)
    first, second = product["output_image_urls"]
    assert first != second
    assert service.http.get(first).content == service.http.get(second).content


def test_url_with_commas_is_one_url(service: Service, origin: Origin) -> None:
    url = origin.serve("/w_200,h_200,c_fill/a.jpg", jpeg())
    request_id = service.accepted(f'{HEADER}1,SKU1,"{url},{url}"\n2,SKU2,{url}\n')
    assert service.ended(request_id)["processed_images"] == 3
    assert [product["input_image_urls"] for product in service.products(request_id)] == [
        [url, url],
        [url],
    ]


def test_invalid_further_url_is_warned_of_and_fails_in_its_slot(
    service: Service, origin: Origin
) -> None:
    url = origin.serve("/a.jpg", jpeg())
    answer = service.upload(f'{HEADER}1,SKU1,"{url},ftp://files/b.jpg,{url}"\n').json()
    assert answer["warning_count"] == 1
    assert answer["warnings"][0] | {"message": ""} == {
        "line": 2,
        "column": "Input Image Urls",
        "code": "invalid_url",
        "message": "",
        "value": "ftp://files/b.jpg",
    }
    service.ended(answer["request_id"])
    (product,) = service.products(answer["request_id"])
    assert [image["error"] and image["error"]["code"] for image in product["images"]] == [
        None,
        "invalid_url",
        None,
    ]


def test_request_with_nothing_but_failures_fails(service: Service, origin: Origin) -> None:
    page = origin.serve(
        "/page.jpg", Answer(b"<html>Not an image</html>", headers={"Content-Type": "image/jpeg"})
    )
    empty = origin.serve("/empty.jpg", b"")
    request_id = service.accepted(f'{HEADER}1,SKU1,"{page},{empty}"\n')
    status = service.ended(request_id)
    assert (status["status"], status["outcome"], status["failed_products"]) == (
        "FAILED",
        "failed",
        1,
    )
    (product,) = service.products(request_id)
    assert [image["error"]["code"] for image in product["images"]] == ["not_an_image", "empty_body"]
    assert product["output_image_urls"] == [None, None]


def test_failure_that_may_pass_is_tried_again(service: Service, origin: Origin) -> None:
    answers = itertools.chain(
        [Answer(status=503, headers={"Retry-After": "1"})], itertools.repeat(Answer(jpeg()))
    )
    url = origin.serve("/busy.jpg", lambda: next(answers))
    good = origin.serve("/good.jpg", jpeg(seed=2))
    request_id = service.accepted(f'{HEADER}1,SKU1,"{good},{url}"\n')
    status = service.ended(request_id)
    assert (status["status"], status["outcome"]) == ("COMPLETED", "succeeded")
    (product,) = service.products(request_id)
    assert product["attempts"] == 2
    assert origin.hits["/busy.jpg"] == 2
    assert origin.hits["/good.jpg"] == 1, "what had succeeded was fetched again"


def test_incompressible_image_keeps_its_bytes(service: Service, origin: Origin) -> None:
    tiny = encoded(picture((64, 64)), quality=5, optimize=True)
    request_id = service.accepted(f"{HEADER}1,SKU1,{origin.serve('/tiny.jpg', tiny)}\n")
    assert service.ended(request_id)["kept_original_images"] == 1
    (product,) = service.products(request_id)
    assert product["images"][0]["action"] == "kept_original"
    assert service.http.get(product["output_image_urls"][0]).content == tiny


@pytest.mark.parametrize("extension", ["png", "webp", "gif", "avif", "tiff"])
def test_format_and_dimensions_stay(service: Service, origin: Origin, extension: str) -> None:
    name = extension.upper()
    source = encoded(picture((301, 201)), name)
    request_id = service.accepted(f"{HEADER}1,SKU1,{origin.serve(f'/photo.{extension}', source)}\n")
    service.ended(request_id)
    (image,) = service.products(request_id)[0]["images"]
    assert (image["format"], image["width"], image["height"]) == (name, 301, 201)
    answer = service.http.get(image["output_url"])
    assert answer.headers["content-type"] == f"image/{extension}"
    found = opened(answer.content)
    assert (found.format, found.size) == (name, (301, 201))


def test_asked_format_is_written(service: Service, origin: Origin) -> None:
    request_id = service.accepted(
        f"{HEADER}1,SKU1,{origin.serve('/photo.jpg', jpeg())}\n", format="webp", quality="60"
    )
    assert service.ended(request_id)["options"] == {
        "mode": "quality",
        "quality": 60,
        "format": "webp",
    }
    (image,) = service.products(request_id)[0]["images"]
    assert image["output_url"].endswith(".webp")
    assert opened(service.http.get(image["output_url"]).content).format == "WEBP"


def test_uploaded_columns_come_back_verbatim(service: Service, origin: Origin) -> None:
    url = origin.serve("/a.jpg", jpeg())
    source = (
        "Notes;Serial Number;Product Name;Input Image Urls;Prix\r\n"
        f'"a;""b""\nc";007; Straße ;{url};12,50 €\r\n'
    )
    request_id = service.accepted("\ufeff".encode() + source.encode())
    service.ended(request_id)
    (product,) = service.products(request_id)
    assert (product["line"], product["serial_number"], product["product_name"]) == (2, 7, "Straße")
    output = service.download(request_id)
    assert output.startswith("\ufeff")
    assert output.endswith("\r\n")
    rows = io.StringIO(output.removeprefix("\ufeff"), newline="")
    header, row = csv.reader(rows, delimiter=";")
    assert header == [
        "Notes",
        "Serial Number",
        "Product Name",
        "Input Image Urls",
        "Prix",
        "Output Image Urls",
    ]
    assert row == ['a;"b"\nc', "007", " Straße ", url, "12,50 €", product["output_image_urls"][0]]


def test_thousand_products_end_once(service: Service, origin: Origin) -> None:
    """1,000 products × 2 images with every message duplicated: each image is compressed once, the
    request's end counts once, and one webhook is sent.
    """
    urls = [origin.serve(f"/{number}.jpg", jpeg((64, 48), seed=number)) for number in range(20)]
    rows = "".join(f'{n},SKU{n},"{urls[n % 20]},{urls[(n + 7) % 20]}"\n' for n in range(1, 1001))
    hook = origin.serve("/hook", Answer(status=204))
    request_id = service.accepted(HEADER + rows, webhook_url=hook)
    _send_every_message_again(service, request_id, 1000)
    status = service.ended(request_id, 180)
    _send_every_message_again(service, request_id, 1000)
    assert (status["status"], status["outcome"]) == ("COMPLETED", "succeeded")
    assert (status["processed_products"], status["processed_images"]) == (1000, 2000)
    products = service.products(request_id)
    assert [product["serial_number"] for product in products] == list(range(1, 1001))
    assert len({url for product in products for url in product["output_image_urls"]}) == 2000
    wait_for(lambda: origin.posts, what="webhook")
    wait_for(
        lambda: service.status(request_id)["webhook"]["status"] == "delivered", what="delivery"
    )
    _wait_for_empty_queue(service)
    assert service.status(request_id)["processed_images"] == 2000
    # An image that another product of the request already fetched is not fetched again.
    assert all(1 <= origin.hits[f"/{number}.jpg"] < 100 for number in range(20))
    assert len(origin.posts) == 1
    endings = [line for line in log_lines(service) if line["event"] == "request ended"]
    assert [line["request_id"] for line in endings].count(request_id) == 1


def _send_every_message_again(service: Service, request_id: str, products: int) -> None:
    """On RabbitMQ, where messages can be duplicated. The embedded queue is inside its worker."""
    if service.rabbitmq_url is not None:
        with pika.BlockingConnection(pika.URLParameters(service.rabbitmq_url)) as connection:
            channel = connection.channel()
            for seq in range(1, products + 1):
                message = product_message(ProductKey(UUID(request_id), seq))
                channel.basic_publish("", PRODUCTS_QUEUE, message.encode())


def _wait_for_empty_queue(service: Service) -> None:
    if service.rabbitmq_url is not None:
        with pika.BlockingConnection(pika.URLParameters(service.rabbitmq_url)) as connection:
            channel = connection.channel()

            def is_empty() -> bool:
                return bool(
                    channel.queue_declare(PRODUCTS_QUEUE, passive=True).method.message_count == 0
                )

            wait_for(is_empty, what="an empty queue")


def _output_rows(service: Service, request_id: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(service.download(request_id))))[1:]
