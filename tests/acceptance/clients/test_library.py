"""The Python library with a running service: the examples of its docstrings, and a program."""

import asyncio
import doctest
import io
import os
import subprocess
from pathlib import Path

import pytest

import halftone
from halftone import _client
from tests.support.csv_files import HEADER
from tests.support.halftone import PYTHON, Service
from tests.support.images import jpeg
from tests.support.origin import Origin

PROGRAM = Path(__file__).parents[3] / "examples" / "library" / "compress_catalogue.py"


def test_examples_of_the_client_are_true(
    service: Service, origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    urls = [origin.serve(f"/{name}.jpg", jpeg(seed=seed)) for seed, name in enumerate("ab")]
    Path("products.csv").write_text(f"{HEADER}1,Mug,{urls[0]}\n2,Vase,{urls[1]}\n")
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    with halftone.Client(service.url) as client:
        examples = doctest.DocTestFinder().find(_client, "halftone")
        for example in examples:
            request = client.upload("products.csv")
            request.wait()
            example.globs = {
                "halftone": halftone,
                "io": io,
                "Path": Path,
                "client": client,
                "request": request,
            }
            runner.run(example)
    assert runner.tries > 10
    assert runner.failures == 0


def test_rows_become_a_request_and_its_images_are_downloaded(
    service: Service, origin: Origin, tmp_path: Path
) -> None:
    good, bad = origin.serve("/a.jpg", jpeg()), f"{origin.url}/missing.jpg"
    row = {"Serial Number": 1, "Product Name": "Mug", "Input Image Urls": [good, bad]}
    with halftone.Client(service.url) as client:
        request = client.upload([row], filename="mugs.csv", webhook_url=f"{origin.url}/hook")
        status = request.wait()
        assert (status.outcome, status.csv_filename) == (halftone.Outcome.PARTIAL, "mugs.csv")
        first, second = request.images()
        assert first.output_url is not None
        assert second.error is not None
        assert second.error.code in halftone.ERROR_CODES
        client.image(first.output_url, tmp_path / "a.jpg")
        assert (tmp_path / "a.jpg").stat().st_size == first.bytes_out
        (failed,) = request.products(status="COMPLETED")
        assert failed.outcome is halftone.Outcome.PARTIAL
        assert request.webhooks().url == f"{origin.url}/hook"
        with pytest.raises(halftone.Conflict) as caught:
            request.cancel()
        assert caught.value.code == "already_ended"
        assert request.retry().completed_at is None
        with pytest.raises(halftone.NotFound):
            client.status("8243ff57-4d97-4733-bd91-3bb51286b55e")


def test_asyncio_client_does_the_main_job(service: Service, origin: Origin, tmp_path: Path) -> None:
    source = tmp_path / "products.csv"
    source.write_text(f"{HEADER}1,Mug,{origin.serve('/a.jpg', jpeg())}\n")

    async def run() -> list[str]:
        async with halftone.AsyncClient(service.url) as client:
            request = await client.upload(source)
            seen = [str(status.status) async for status in request.events()]
            await request.download(tmp_path / "output.csv")
            return seen

    assert asyncio.run(run())[-1] == "COMPLETED"
    assert (tmp_path / "output.csv").read_text().count("/api/image/") == 1


@pytest.mark.parametrize(("path", "code"), [("/a.jpg", 0), ("/missing.jpg", 1)])
def test_sample_program_does_the_main_job(
    service: Service, origin: Origin, tmp_path: Path, path: str, code: int
) -> None:
    origin.serve("/a.jpg", jpeg())
    source, output = tmp_path / "products.csv", tmp_path / "output.csv"
    source.write_text(f"{HEADER}1,Mug,{origin.url}{path}\n")
    answer = subprocess.run(
        [PYTHON, PROGRAM, source, output],
        env={**os.environ, "HALFTONE_URL": service.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == code, answer.stderr
    assert ("http_error" in answer.stdout) == bool(code)
    assert output.exists()
