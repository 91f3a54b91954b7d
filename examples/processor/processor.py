"""An image processing service for halftone: takes signed jobs, works, and calls back.

Copy it and put your own work into `process`. It fetches every URL that a signed job names, so let
only halftone reach it: at PROCESSOR_URL. Both sign with the same secret, here PROCESSOR_SECRET.
"""

import asyncio
import io
import json
import logging
import os
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import uvicorn
from PIL import Image, ImageOps
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

HOST = os.environ.get("PROCESSOR_HOST", "127.0.0.1")
PORT = int(os.environ.get("PROCESSOR_PORT", "8100"))
URL = os.environ.get("PROCESSOR_URL", f"http://127.0.0.1:{PORT}").rstrip("/")
FOLDER = Path(os.environ.get("PROCESSOR_FOLDER", "outputs"))
IMAGES_AT_ONCE = int(os.environ.get("PROCESSOR_WORKERS", "2"))
MAX_IMAGE_BYTES = 50 * 1024 * 1024
# Jobs that are not called back yet. One more is refused, and halftone sends it again later.
MAX_JOBS = 1000
# Pauses before each callback, in seconds, as Standard Webhooks recommends; with jitter.
CALLBACK_PAUSES = (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF")
Job = dict[str, Any]  # the JSON that halftone sends
log = logging.getLogger("processor")


def process(data: bytes, options: dict[str, Any]) -> tuple[bytes, str]:
    """Your work: the image's bytes and halftone's options in, new bytes and their format out.

    Raise ValueError with a sentence where an image cannot be processed.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
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
    image.save(buffer := io.BytesIO(), form, quality=options.get("quality", 50), optimize=True)
    return buffer.getvalue(), form


class Processor:
    """The jobs of this process."""

    def __init__(self) -> None:
        self._webhook = Webhook(os.environ["PROCESSOR_SECRET"])
        self._http = httpx.AsyncClient(timeout=30, trust_env=False)
        self._places = asyncio.Semaphore(IMAGES_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        # The latest jobs, so that a job that comes twice is done once.
        self._known: dict[str, None] = {}

    async def take(self, request: Request) -> Response:
        try:
            job = self._webhook.verify(await request.body(), dict(request.headers))
        except (WebhookVerificationError, ValueError):
            return JSONResponse({"error": "The signature is not valid."}, status_code=401)
        if job["job_id"] not in self._known:
            if len(self._tasks) >= MAX_JOBS:
                return Response(status_code=503, headers={"Retry-After": "5"})
            self._known[job["job_id"]] = None
            if len(self._known) > 100 * MAX_JOBS:
                del self._known[next(iter(self._known))]
            task = asyncio.create_task(self._run(job))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return JSONResponse({"job_id": job["job_id"]}, status_code=202)

    async def _run(self, job: Job) -> None:
        async with self._places:
            try:
                result = {"status": "completed", "output_url": await self._output_url(job)}
            except (ValueError, httpx.HTTPError) as error:
                result = {"status": "failed", "error": str(error)}
            except Exception:
                log.exception("job %s failed unexpectedly", job["job_id"])
                result = {"status": "failed", "error": "Something went wrong in the service."}
        await self._call_back(job, json.dumps({"job_id": job["job_id"], **result}))

    async def _output_url(self, job: Job) -> str:
        data = bytearray()
        async with self._http.stream("GET", job["source_url"], follow_redirects=True) as source:
            source.raise_for_status()
            async for chunk in source.aiter_raw():
                data += chunk
                if len(data) > MAX_IMAGE_BYTES:
                    raise ValueError(f"The image has more than {MAX_IMAGE_BYTES} bytes.")
        output, form = await asyncio.to_thread(process, bytes(data), job["options"])
        name = f"{UUID(job['job_id'])}.{form.lower()}"
        await asyncio.to_thread((FOLDER / name).write_bytes, output)
        return f"{URL}/outputs/{name}"

    async def _call_back(self, job: Job, body: str) -> None:
        """Call back until the result is taken or refused, or the job has expired."""
        message_id = f"msg_{job['job_id']}"  # the same for each attempt
        for pause in CALLBACK_PAUSES:
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))
            now = datetime.now(UTC)
            if now > datetime.fromisoformat(job["expires_at"]):
                return
            headers = {
                "Content-Type": "application/json",
                "webhook-id": message_id,
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": self._webhook.sign(message_id, now, body),
            }
            try:
                answer = await self._http.post(job["callback_url"], content=body, headers=headers)
            except httpx.HTTPError as error:
                log.warning("callback for job %s failed: %s", job["job_id"], error)
                continue
            if answer.is_success:
                return
            log.warning("callback for job %s: answer %s", job["job_id"], answer.status_code)
            if answer.is_client_error and answer.status_code not in (408, 429):
                return


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    app = Starlette(routes=[Route("/", Processor().take, methods=["POST"])])
    app.mount("/outputs", StaticFiles(directory=FOLDER))
    uvicorn.run(app, host=HOST, port=PORT, log_level="warning")


if __name__ == "__main__":
    main()
