"""Images compressed by an external service: by callback, in the response, never, and wrongly."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.csv_files import HEADER
from tests.support.halftone import (
    Service,
    free_port,
    running_separately,
    running_up,
    wait_for,
)
from tests.support.images import encoded, jpeg, opened, picture
from tests.support.origin import Answer, Origin

SECRET = "whsec_" + "C" * 40
EXAMPLE = Path(__file__).parents[2] / "examples" / "processor" / "processor.py"


@contextmanager
def running_example(folder: Path) -> Iterator[str]:
    """Runs the example service from the documentation; gives its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    variables = {
        "PROCESSOR_SECRET": SECRET,
        "PROCESSOR_URL": url,
        "PROCESSOR_PORT": str(port),
        "PROCESSOR_FOLDER": str(folder / "outputs"),
    }
    process = subprocess.Popen([sys.executable, str(EXAMPLE)], env=variables)
    try:
        wait_for(lambda: _answers(url), 30, "the example processor")
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.post(url, content=b"{}", trust_env=False).status_code == 401
    except httpx.HTTPError:
        return False


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


def test_main_job_by_callbacks(tmp_path: Path, origin: Origin) -> None:
    with (
        running_example(tmp_path) as url,
        running_up(tmp_path, processor_url=url, processor_secret=SECRET) as service,
    ):
        images = run_main_job(service, origin)
        expect_outputs_of_the_example(service, images)
        made = {path.read_bytes() for path in (tmp_path / "outputs").iterdir()}
        assert service.http.get(str(images[0]["output_url"])).content in made


@pytest.mark.broker
def test_main_job_by_callbacks_over_rabbitmq(
    tmp_path: Path, origin: Origin, database_url: str, rabbitmq_url: str
) -> None:
    with (
        running_example(tmp_path) as url,
        running_separately(
            tmp_path,
            database_url,
            rabbitmq_url,
            workers=2,
            processor_url=url,
            processor_secret=SECRET,
        ) as service,
    ):
        expect_outputs_of_the_example(service, run_main_job(service, origin))


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
