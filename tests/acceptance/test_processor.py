"""Images compressed by an external service: by callback, in the response, never, and wrongly."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from halftone_shared.model.signing import signed_headers
from tests.support.csv_files import HEADER
from tests.support.halftone import Service, running_separately, running_up, wait_for
from tests.support.images import encoded, jpeg, opened, picture
from tests.support.origin import Answer, Origin
from tests.support.processor import EXAMPLE, SECRET, running_at_once, running_example

Start = Callable[..., AbstractContextManager[Service]]


@pytest.fixture(params=["embedded", pytest.param("rabbitmq", marks=pytest.mark.broker)])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """Starts a service with settings: embedded, or with RabbitMQ and two workers."""
    if request.param == "embedded":
        return partial(running_up, tmp_path)
    urls = [request.getfixturevalue(name) for name in ("database_url", "rabbitmq_url")]
    return partial(running_separately, tmp_path, *urls, workers=2)


def run_main_job(service: Service, origin: Origin) -> list[dict[str, object]]:
    """Upload three products, one with a missing image. Returns the images at the end."""
    for number in range(4):
        origin.serve(f"/{number}.jpg", jpeg(seed=number))
    rows = [f'1,A,"{origin.url}/0.jpg,{origin.url}/1.jpg"', f"2,B,{origin.url}/2.jpg"]
    rows.append(f'3,C,"{origin.url}/3.jpg,{origin.url}/missing.jpg"')
    variants = json.dumps([{"name": "thumb", "mode": "scale", "scale": 0.25}])
    request_id = service.accepted(HEADER + "\n".join(rows) + "\n", variants=variants)
    status = service.ended(request_id, seconds=90)
    assert (status["status"], status["outcome"]) == ("COMPLETED", "partial")
    assert (status["processed_images"], status["failed_images"]) == (4, 1)
    products = service.products(request_id)
    assert [product["attempts"] for product in products] == [1, 1, 1]
    return [image for product in products for image in product["images"]]


def expect_outputs_of_the_example(service: Service, images: list[dict[str, object]]) -> None:
    good = [image for image in images if image["output_url"]]
    assert [image["action"] for image in good] == ["compressed"] * 4
    for image in good:
        output = opened(service.http.get(str(image["output_url"])).content)
        assert (output.format, output.size) == ("JPEG", (320, 240))
        thumb = image["variants"]["thumb"]  # type: ignore[index]
        assert (thumb["width"], thumb["height"]) == (80, 60)
        assert opened(service.http.get(thumb["output_url"]).content).size == (80, 60)


def test_main_job_by_the_local_codec(service: Service, origin: Origin) -> None:
    expect_outputs_of_the_example(service, run_main_job(service, origin))


def test_main_job_by_callbacks(start: Start, tmp_path: Path, origin: Origin) -> None:
    with (
        running_example(tmp_path) as url,
        start(processor_url=url, processor_secret=SECRET) as service,
    ):
        images = run_main_job(service, origin)
        expect_outputs_of_the_example(service, images)
        made = {path.read_bytes() for path in (tmp_path / "outputs").iterdir()}
        assert service.http.get(str(images[0]["output_url"])).content in made


def test_main_job_by_a_processor_that_answers_at_once(start: Start, origin: Origin) -> None:
    with (
        running_at_once() as url,
        start(processor_url=url, processor_secret=SECRET) as service,
    ):
        expect_outputs_of_the_example(service, run_main_job(service, origin))


def test_django_document_callbacks_update_the_status(start: Start, origin: Origin) -> None:
    """The Upload API returns a request ID, the asynchronous image processing service gets the
    images, its callbacks update the status, and the Status API lists the products. Every path ends
    with a slash.
    """
    origin.serve("/process", Answer(b"", 202))
    hook = origin.serve("/hook", Answer(status=204))
    photos = [origin.serve(f"/{number}.jpg", jpeg(seed=number)) for number in range(2)]
    output = origin.serve("/output.jpg", encoded(picture((320, 240)), "JPEG", quality=20))
    row = f'1,SKU1,"{",".join(photos)}"\n'
    with start(processor_url=f"{origin.url}/process", processor_secret=SECRET) as service:
        uploaded = service.http.post(
            "/api/upload/",
            files={"file": ("products.csv", (HEADER + row).encode(), "text/csv")},
            data={"webhook_url": hook},
        )
        assert uploaded.status_code == 202
        request_id = uploaded.json()["request_id"]
        jobs = wait_for(lambda: _jobs_of(origin, 2), 60, "jobs")
        assert {job["source_url"] for job in jobs} == set(photos)
        assert _status_with_products(service, request_id) == ("PROCESSING", [(photos, [])])

        for job in jobs:
            done = {"job_id": job["job_id"], "status": "completed", "output_url": output}
            body = json.dumps(done)
            headers = signed_headers(SECRET, UUID(job["job_id"]), body)
            answer = service.http.post(job["callback_url"] + "/", content=body, headers=headers)
            assert answer.status_code == 204

        service.ended(request_id)
        status, [(inputs, outputs)] = _status_with_products(service, request_id)
        assert (status, inputs, len(outputs)) == ("COMPLETED", photos, 2)
        made = {service.http.get(url).content for url in outputs}
        assert made == {httpx.get(output, trust_env=False).content}
        wait_for(lambda: any(path == "/hook" for path, _, _ in origin.posts), what="webhook")


def _jobs_of(origin: Origin, count: int) -> "list[dict[str, str]] | None":
    jobs = [json.loads(body) for path, _, body in list(origin.posts) if path == "/process"]
    return jobs if len(jobs) == count else None


def _status_with_products(
    service: Service, request_id: str
) -> "tuple[str, list[tuple[list[str], list[str]]]]":
    """The status, and each product's input URLs and those of its output URLs that exist."""
    answer = service.http.get(f"/api/status/{request_id}/", params={"include": "products"})
    assert answer.status_code == 200
    assert answer.json()["request_id"] == request_id
    products = [
        (product["input_image_urls"], [url for url in product["output_image_urls"] if url])
        for product in answer.json()["products"]
    ]
    return answer.json()["status"], products


@pytest.fixture
def external(tmp_path: Path, origin: Origin) -> Iterator[Service]:
    """A service whose processor is the origin at /process. Each test sets its responses."""
    with running_up(
        tmp_path,
        processor_url=f"{origin.url}/process",
        processor_secret=SECRET,
        processor_timeout_seconds="1",
        max_attempts="2",
    ) as service:
        yield service


def test_outputs_in_the_answer_are_used_at_once_and_wrong_ones_are_refused(
    external: Service, origin: Origin
) -> None:
    source = origin.serve("/a.jpg", jpeg())
    small = encoded(picture((320, 240)), "JPEG", quality=20)
    answers = {
        "completed": Answer(json.dumps({"output_url": origin.serve("/out.jpg", small)}).encode()),
        "its output has 10 × 10 pixels": Answer(
            json.dumps(
                {"output_url": origin.serve("/bad.jpg", encoded(picture((10, 10)), "JPEG"))}
            ).encode()
        ),
        "its output cannot be fetched": Answer(
            json.dumps({"output_url": f"{origin.url}/gone.jpg"}).encode()
        ),
        "its answer 200 has no output_url": Answer(b"thanks"),
        "it answered 400": Answer(b"", 400),
    }
    for expected, answer in answers.items():
        origin.serve("/process", answer)
        request_id = external.accepted(f"{HEADER}1,A,{source}\n", fresh="true")
        external.ended(request_id)
        [product] = external.products(request_id)
        [image] = product["images"]
        if expected == "completed":
            assert image["action"] == "compressed"
            assert external.http.get(image["output_url"]).content == small
        else:
            assert image["error"]["code"] == "processor_failed"
            assert expected in image["error"]["message"]
            assert product["attempts"] == 1


def test_job_is_answered_by_the_commands_of_the_page(tmp_path: Path, origin: Origin) -> None:
    page = (EXAMPLE.parents[2] / "docs/how-to/bring-your-own-processor.md").read_text()
    [script] = [block for block in re.findall(r"```sh\n(.*?)```", page, re.S) if "openssl" in block]
    url = origin.serve("/process", Answer(b"", 202))
    photo = origin.serve("/a.jpg", jpeg())
    with running_up(tmp_path, processor_url=url, processor_secret=SECRET) as service:
        request_id = service.accepted(f"{HEADER}1,A,{photo}\n")
        [job] = wait_for(lambda: _jobs_of(origin, 1), 60, "job")
        script = script.replace("JOB", job["job_id"]).replace("http://127.0.0.1:8000", service.url)

        done = subprocess.run(
            ["sh", "-c", script],
            env=os.environ | {"SECRET": SECRET},
            capture_output=True,
            check=True,
        )

        assert b"204 No Content" in done.stdout
        service.ended(request_id)
        [image] = service.products(request_id)[0]["images"]
    assert image["error"]["code"] == "processor_failed"
    assert "The image has no subject." in image["error"]["message"]


def test_service_that_never_calls_back_is_given_up(external: Service, origin: Origin) -> None:
    origin.serve("/process", Answer(b"", 202))
    request_id = external.accepted(f"{HEADER}1,A,{origin.serve('/a.jpg', jpeg())}\n")

    status = external.ended(request_id, seconds=60)

    assert status["status"] == "FAILED"
    [product] = external.products(request_id)
    assert product["images"][0]["error"]["code"] == "processor_timeout"
    assert product["attempts"] == 2
    jobs = [json.loads(body) for path, _, body in origin.posts if path == "/process"]
    assert len(jobs) == 2
    assert {"job_id", "source_url", "options", "callback_url", "expires_at"} == jobs[0].keys()
