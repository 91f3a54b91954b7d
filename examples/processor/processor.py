"""An image processing service for halftone: takes signed jobs, works, and calls back.

Copy it and put your own work into `process`. It fetches whatever URL a signed job names, so keep it
where only halftone reaches it.

Variables of the environment: PROCESSOR_SECRET (whsec_…, the same as HALFTONE_PROCESSOR_SECRET),
PROCESSOR_URL (where halftone reaches this service), PROCESSOR_FOLDER (for outputs, default:
./outputs), PROCESSOR_WORKERS (images at once, default 2), PROCESSOR_HOST (default 127.0.0.1),
PROCESSOR_PORT (default 8100).
"""

import io
import json
import logging
import os
import random
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import uvicorn
from PIL import Image, ImageOps
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

log = logging.getLogger("processor")

MAX_IMAGE_BYTES = 50 * 1024 * 1024
# Jobs that wait, are worked on, or are not called back yet. One more is refused with 503, and
# halftone sends it again.
MAX_JOBS = 1000
# Pauses before each callback, in seconds, as Standard Webhooks recommends; with jitter.
CALLBACK_PAUSES = (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
EXTENSIONS = {
    "JPEG": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "AVIF": "avif",
    "GIF": "gif",
    "TIFF": "tif",
}


def process(data: bytes, options: dict[str, Any]) -> tuple[bytes, str]:
    """Your work: the image's bytes and halftone's options in, new bytes and their format out.

    Raise ValueError with a sentence where an image cannot be processed.
    """
    try:
        with Image.open(io.BytesIO(data), formats=[*EXTENSIONS]) as opened:
            form = opened.format or "JPEG"
            image = ImageOps.exif_transpose(opened)
    except OSError as error:
        raise ValueError(f"The image cannot be read: {error}.") from None
    if options.get("mode") == "scale":
        factor = options.get("scale", 0.5)
        image = image.resize([max(1, round(side * factor)) for side in image.size])
    if options.get("format", "keep") != "keep":
        form = options["format"].upper()
    if form == "JPEG":
        image = image.convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, form, quality=options.get("quality", 50), optimize=True)
    return buffer.getvalue(), form


class Processor:
    """The jobs of this process. A job that comes twice is done once."""

    def __init__(self, secret: str, url: str, folder: Path, workers: int) -> None:
        self._webhook = Webhook(secret)
        self._url = url.rstrip("/")
        self._folder = folder
        self._pool = ThreadPoolExecutor(workers)
        self._http = httpx.Client(timeout=30, trust_env=False)
        self._known: OrderedDict[str, None] = OrderedDict()
        self._open_jobs = threading.Semaphore(MAX_JOBS)
        self._stopping = threading.Event()

    def verify(self, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
        """The job in a signed call. Raises WebhookVerificationError."""
        self._webhook.verify(body, headers)
        job: dict[str, Any] = json.loads(body)
        return job

    def accept(self, job: dict[str, Any]) -> bool:
        """Take a job; False where there are too many."""
        if job["job_id"] in self._known:
            return True
        if not self._open_jobs.acquire(blocking=False):
            return False
        self._known[job["job_id"]] = None
        while len(self._known) > 100 * MAX_JOBS:
            self._known.popitem(last=False)
        self._pool.submit(self._run, job)
        return True

    def output(self, name: str) -> Path:
        return self._folder / name

    def close(self) -> None:
        self._stopping.set()
        self._pool.shutdown(cancel_futures=True)
        self._http.close()

    def _run(self, job: dict[str, Any]) -> None:
        answer = self._answer(job)
        threading.Thread(target=self._call_back, args=(job, answer), daemon=True).start()

    def _answer(self, job: dict[str, Any]) -> dict[str, str]:
        failed = {"job_id": job["job_id"], "status": "failed"}
        try:
            output, form = process(self._fetch(job["source_url"]), job["options"])
        except (ValueError, httpx.HTTPError) as error:
            return failed | {"error": str(error)}
        except Exception:
            log.exception("job %s failed unexpectedly", job["job_id"])
            return failed | {"error": "Something went wrong in the service."}
        name = f"{UUID(job['job_id'])}.{EXTENSIONS[form]}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self.output(name).write_bytes(output)
        url = f"{self._url}/outputs/{name}"
        return {"job_id": job["job_id"], "status": "completed", "output_url": url}

    def _fetch(self, url: str) -> bytes:
        with self._http.stream("GET", url, follow_redirects=True) as response:
            response.raise_for_status()
            data = bytearray()
            for chunk in response.iter_raw():
                data += chunk
                if len(data) > MAX_IMAGE_BYTES:
                    raise ValueError(f"The image has more than {MAX_IMAGE_BYTES} bytes.")
            return bytes(data)

    def _call_back(self, job: dict[str, Any], answer: dict[str, str]) -> None:
        try:
            self._repeat(job, answer)
        finally:
            self._open_jobs.release()

    def _repeat(self, job: dict[str, Any], answer: dict[str, str]) -> None:
        """Call back until the answer is 2xx or 4xx, or the job has expired."""
        expires_at = datetime.fromisoformat(job["expires_at"])
        body, message_id = json.dumps(answer), f"msg_{uuid4().hex}"
        for pause in CALLBACK_PAUSES:
            if self._stopping.wait(pause * random.uniform(0.8, 1.2)):
                return
            if datetime.now(UTC) > expires_at:
                return
            if self._was_taken(job["callback_url"], message_id, body):
                return

    def _was_taken(self, url: str, message_id: str, body: str) -> bool:
        now = datetime.now(UTC)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(message_id, now, body),
        }
        try:
            status = self._http.post(url, content=body, headers=headers).status_code
        except httpx.HTTPError as error:
            log.warning("callback to %s failed: %s", url, error)
            return False
        if status >= 300:
            log.warning("callback to %s was answered %s", url, status)
        return status < 300 or (400 <= status < 500 and status not in (408, 429))


async def take_job(request: Request) -> Response:
    processor: Processor = request.app.state.processor
    try:
        job = processor.verify(await request.body(), dict(request.headers))
    except (WebhookVerificationError, ValueError):
        return JSONResponse({"error": "The signature is not valid."}, status_code=401)
    if not processor.accept(job):
        return Response(status_code=503, headers={"Retry-After": "5"})
    return JSONResponse({"job_id": job["job_id"]}, status_code=202)


async def send_output(request: Request) -> Response:
    name = request.path_params["name"]
    path = request.app.state.processor.output(Path(name).name)
    return FileResponse(path) if path.is_file() else Response(status_code=404)


def make_app(processor: Processor) -> Starlette:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        processor.close()

    app = Starlette(
        routes=[Route("/", take_job, methods=["POST"]), Route("/outputs/{name}", send_output)],
        lifespan=lifespan,
    )
    app.state.processor = processor
    return app


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    port = int(os.environ.get("PROCESSOR_PORT", "8100"))
    processor = Processor(
        os.environ["PROCESSOR_SECRET"],
        os.environ.get("PROCESSOR_URL", f"http://127.0.0.1:{port}"),
        Path(os.environ.get("PROCESSOR_FOLDER", "outputs")),
        int(os.environ.get("PROCESSOR_WORKERS", "2")),
    )
    host = os.environ.get("PROCESSOR_HOST", "127.0.0.1")
    uvicorn.run(make_app(processor), host=host, port=port, log_level="warning")


if __name__ == "__main__":
    main()
