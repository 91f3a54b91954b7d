"""The client for programs without asyncio, generated from `_async_client.py`.

`make generate` writes this file; do not edit it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypeVar, Unpack, cast

from halftone import _calls as calls
from halftone._declared import (
    Accepted,
    Check,
    FailureGroup,
    Image,
    Json,
    Operations,
    Origin,
    PausedHost,
    Preset,
    Product,
    RequestStatus,
    RequestTotals,
    Retried,
    UploadOptions,
    Webhooks,
)
from halftone._events import EventReader
from halftone._retrying import RetryPolicy
from halftone._sources import Source, opened
from halftone._targets import Target, Writing, writing_to
from halftone.errors import HalftoneError, ServiceError, StillRunning, Unreachable
from halftone.webhooks import WebhookEvent, verify_webhook

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
Send: TypeAlias = "Callable[[], httpx.Response]"
Progress = Callable[[RequestStatus], object]

# An upload is answered once every row is checked and stored: a million rows take a while.
TIMEOUT_SECONDS = 300.0
PAGE_SIZE = 100
# A restarted API or database is back by then.
PATIENCE_SECONDS = 60.0
FIRST_POLL_SECONDS, LAST_POLL_SECONDS = 0.25, 2.0


def _pause(seconds: float) -> None:
    time.sleep(seconds)


class Client:
    """A halftone service, called from threads.

    `url`: where it answers; else HALFTONE_URL, else http://127.0.0.1:8000. `key`: its API key; else
    HALFTONE_API_KEY. `timeout_seconds`: the longest wait for any part of an answer. `retries`: how
    often a call is sent again when the service is away or busy, with growing pauses.

    Use it as `async with`, or call `close` at the end. Every method raises HalftoneError.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retries: int = 3,
    ) -> None:
        from halftone import _transport

        self._transport = _transport
        self._policy = RetryPolicy(retries)
        options = _transport.client_options(url, key, timeout_seconds)
        self.url: str = options["base_url"]
        self._http = _transport.Http(**options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # Requests

    def upload(
        self,
        source: Source,
        *,
        filename: str | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[UploadOptions],
    ) -> Request:
        """Upload a catalogue; its images are worked on when this returns.

        `source`: a path, an open binary file, bytes, or rows (mappings of column names to cells).
        `filename`: its name, where the source has none. `options`: the options of the upload form.
        `idempotency_key`: the same key and content give the same request for 24 hours; without one
        the call makes its own, so that a retry after a lost answer never uploads twice.

        Raises Refused with the wrong rows in `errors`, RateLimited, InvalidUpload.

        >>> request = client.upload("products.csv", quality=70)
        >>> request.accepted.total_images
        2
        >>> rows = [{"Serial Number": 1, "Product Name": "Mug", "Input Image Urls": "no URL"}]
        >>> try:
        ...     client.upload(rows)
        ... except halftone.Refused as refused:
        ...     print(refused.errors[0].line, refused.errors[0].code)
        2 no_valid_url
        """
        call = calls.upload(idempotency_key or secrets.token_urlsafe(24))
        accepted = self._send_file(call, source, filename, options)
        return Request(self, accepted.request_id, accepted)

    def check(
        self, source: Source, *, filename: str | None = None, **options: Unpack[UploadOptions]
    ) -> Check:
        """Say what the service understands of a file; nothing is stored.

        Takes what `upload` takes, and refuses what it refuses.

        >>> found = client.check("products.csv")
        >>> found.products, found.images
        (2, 2)
        """
        return self._send_file(calls.check(), source, filename, options)

    def request(self, request_id: str) -> Request:
        """The request of this ID. Nothing is sent: a wrong ID fails at the first call."""
        return Request(self, request_id)

    def requests(
        self,
        *,
        status: str | None = None,
        error_code: str | None = None,
        search: str | None = None,
        page_size: int = PAGE_SIZE,
    ) -> Iterator[RequestStatus]:
        """Requests, newest first.

        `status`: only those in that state. `error_code`: only those with an image that failed with
        this code. `search`: only those with this text in their file name, or whose ID starts with
        it.

        >>> newest = next(client.requests(status="COMPLETED"))
        >>> newest.request_id == request.id
        True
        """
        cursor: str | None = None
        while True:
            call = calls.requests(
                cursor=cursor,
                limit=page_size,
                status=status,
                error_code=error_code,
                search=search,
            )
            page = self._send(call)
            for item in page.items:
                yield item
            if (cursor := page.next_cursor) is None:
                return

    def request_totals(
        self,
        *,
        status: str | None = None,
        error_code: str | None = None,
        search: str | None = None,
    ) -> RequestTotals:
        """Sums over the requests that `requests` would find with the same arguments.

        >>> (client.request_totals(status="COMPLETED")).requests > 0
        True
        """
        call = calls.request_totals(status=status, error_code=error_code, search=search)
        return self._send(call)

    def status(self, request_id: str) -> RequestStatus:
        """How a request is going."""
        return self._send(calls.status(request_id))

    def wait(
        self,
        request_id: str,
        *,
        timeout_seconds: float | None = None,
        progress: Progress | None = None,
    ) -> RequestStatus:
        """Wait for the end of a request; its last status.

        `progress` is called with each status on the way. Goes on for a minute while the service is
        away. Raises StillRunning after `timeout_seconds`.

        >>> status = client.wait(request.id, progress=lambda status: print(status.progress))
        100.0
        >>> str(status.status)
        'COMPLETED'
        """
        started = last_answer = time.monotonic()
        pause = FIRST_POLL_SECONDS
        while True:
            try:
                status = self.status(request_id)
            except (Unreachable, ServiceError):
                if time.monotonic() - last_answer > PATIENCE_SECONDS:
                    raise
            else:
                last_answer = time.monotonic()
                if progress is not None:
                    progress(status)
                if status.completed_at is not None:
                    return status
                if timeout_seconds is not None and last_answer - started > timeout_seconds:
                    raise StillRunning(status, timeout_seconds)
            _pause(pause)
            pause = min(pause * 1.2, LAST_POLL_SECONDS)

    def products(
        self,
        request_id: str,
        *,
        status: str | None = None,
        error_code: str | None = None,
        page_size: int = PAGE_SIZE,
    ) -> Iterator[Product]:
        """The products of a request in the order of the file, with their images.

        `status`: only those in that state, such as `FAILED`. `error_code`: only those with an image
        that failed with this code.

        >>> for product in client.products(request.id):
        ...     print(product.line, product.product_name, len(product.images))
        2 Mug 1
        3 Vase 1
        """
        cursor: str | None = None
        while True:
            call = calls.products(
                request_id,
                cursor=cursor,
                limit=page_size,
                status=status,
                error_code=error_code,
            )
            page = self._send(call)
            for item in page.items:
                yield item
            if (cursor := page.next_cursor) is None:
                return

    def images(self, request_id: str, *, page_size: int = PAGE_SIZE) -> Iterator[Image]:
        """The images of a request, in the order of the file.

        >>> for image in client.images(request.id):
        ...     print(image.format, image.error)
        JPEG None
        JPEG None
        """
        for product in self.products(request_id, page_size=page_size):
            for image in product.images:
                yield image

    def failures(self, request_id: str) -> tuple[FailureGroup, ...]:
        """Why images of a request failed, by error code, with what to do.

        Counted among the first 10,000 products with a failure.

        >>> client.failures(request.id)
        ()
        """
        return self._send(calls.failures(request_id))

    def events(self, request_id: str) -> Iterator[RequestStatus]:
        """The status on every change, as the service sends it, until the request has ended.

        Connects again after a broken connection, without repeating what was seen.

        >>> for status in client.events(request.id):
        ...     print(status.status)
        COMPLETED
        """
        reader = EventReader()
        failures = 0
        while not reader.ended:
            call = calls.events(request_id, reader.last_event_id)
            try:
                with self._stream(call) as response:
                    if response.status_code == self._transport.NO_CONTENT:
                        return
                    for line in response.iter_lines():
                        if (status := reader.feed(line)) is not None:
                            failures = 0
                            yield status
            except (Unreachable, *self._transport.FAILURES) as error:
                failures += 1
                pause = self._policy.pause_after_error(failures - 1, sent=True, repeatable=True)
                if pause is None:
                    raise self._unreachable(error) from error
                _pause(pause)

    def download(
        self,
        request_id: str,
        to: Target,
        *,
        images: Literal["append", "replace"] | None = None,
        as_: Literal["csv", "xlsx"] | None = None,
        safe: bool = False,
    ) -> int:
        """Write the output file to a path or an open file; how many bytes it has.

        If `to` is a folder, the file gets the name that the service gives it. `images`: output URLs
        in a column of their own, or in place of the input URLs. `as_`: the kind of file. `safe`: no
        cell is taken for a formula by a spreadsheet. A file that exists is replaced only by a whole
        one. Raises Conflict until the request has ended.

        >>> size = client.download(request.id, "output.csv")
        >>> size == Path("output.csv").stat().st_size
        True
        """
        call = calls.download(
            request_id, images=images, as_=as_, safe="spreadsheet" if safe else None
        )
        return self._save(call, to)

    def report(self, request_id: str, to: Target, *, safe: bool = False) -> int:
        """Write the report, a row for each image, to a path or an open file; how many bytes.

        >>> report = io.BytesIO()
        >>> size = client.report(request.id, report)
        >>> len(report.getvalue().splitlines())
        3
        """
        call = calls.download(request_id, report="images", safe="spreadsheet" if safe else None)
        return self._save(call, to)

    def archive(self, request_id: str, to: Target, *, variant: str | None = None) -> int:
        """Write a ZIP of every output image to a path or an open file; how many bytes.

        With `variant` only the images of that variant. Raises Conflict until the request has ended.
        """
        return self._save(calls.archive(request_id, variant=variant), to)

    def image(self, output_url: str, to: Target) -> int:
        """Write one output image, by its `output_url`, to a path or an open file."""
        return self._save(calls.image(output_url), to)

    def cancel(self, request_id: str) -> RequestStatus:
        """Cancel a request. Finished products keep their results."""
        return self._send(calls.cancel(request_id))

    def retry(self, request_id: str) -> RequestStatus:
        """Try again what failed, under the same ID."""
        return self._send(calls.retry(request_id))

    def delete(self, request_id: str) -> None:
        """Delete a request with its files. Raises Conflict while it runs."""
        self._send(calls.delete(request_id))

    # Webhooks

    def webhooks(self, request_id: str) -> Webhooks:
        """How the webhook of a request was delivered: its events and their attempts."""
        return self._send(calls.webhooks(request_id))

    def replay(self, request_id: str) -> None:
        """Send the newest webhook event of a request again."""
        self._send(calls.replay(request_id))

    @staticmethod
    def verify_webhook(body: bytes | str, headers: Mapping[str, str], secret: str) -> WebhookEvent:
        """The event of a webhook whose signature is right; see `halftone.verify_webhook`."""
        return verify_webhook(body, headers, secret)

    # The service

    def presets(self) -> tuple[Preset, ...]:
        """The presets of marketplaces: their options and rules.

        >>> "google-merchant" in [preset.name for preset in client.presets()]
        True
        """
        return self._send(calls.presets())

    def origins(self) -> tuple[Origin, ...]:
        """The hosts with headers, passwords or limits of their own; secrets are never shown."""
        return self._send(calls.origins())

    def origin(self, host: str) -> Origin:
        """What is set for a host; secrets are never shown."""
        return self._send(calls.origin(host))

    def set_origin(
        self,
        host: str,
        *,
        headers: Mapping[str, str] | None = None,
        username: str | None = None,
        password: str | None = None,
        requests_per_second: float | None = None,
        connections: int | None = None,
    ) -> Origin:
        """Set what image fetches send to a host, and how fast they may come.

        Replaces what was set before. `requests_per_second` and `connections` hold over all workers.

        >>> origin = client.set_origin("shop.example", headers={"X-Key": "secret"})
        >>> origin.header_names
        ('X-Key',)
        >>> client.remove_origin("shop.example")
        """
        call = calls.set_origin(
            host,
            headers=headers,
            username=username,
            password=password,
            requests_per_second=requests_per_second,
            connections=connections,
        )
        return self._send(call)

    def remove_origin(self, host: str) -> None:
        """Forget what was set for a host."""
        self._send(calls.remove_origin(host))

    def service(self) -> Json:
        """Name, version and links of the service."""
        return self._send(calls.service())

    def operations(self) -> Operations:
        """What waits, which workers run, which requests run, what failed. Wants an admin key."""
        return self._send(calls.operations())

    def retry_all(
        self, *, error_code: str | None = None, since_seconds: float | None = None
    ) -> Retried:
        """Try again what failed in every request that ended lately. Needs an admin key.

        `error_code`: only products with an image that failed with this code. `since_seconds`: only
        requests that ended within this time; without it, one day. Call it again while `more` is
        true.

        >>> (client.retry_all(error_code="storage_failed")).request_ids
        ()
        """
        return self._send(calls.retry_all(error_code=error_code, since_seconds=since_seconds))

    def paused_hosts(self) -> tuple[PausedHost, ...]:
        """The hosts that are paused. Needs an admin key."""
        return self._send(calls.paused_hosts())

    def pause_host(self, host: str) -> PausedHost:
        """Pause a host: no worker fetches images from it until it is resumed. Needs an admin key.

        Its products wait, and no attempt is counted.

        >>> paused = client.pause_host("shop.example")
        >>> [one.host for one in client.paused_hosts()]
        ['shop.example']
        >>> client.resume_host("shop.example")
        """
        return self._send(calls.pause_host(host))

    def resume_host(self, host: str) -> None:
        """Resume a paused host: its products go on at once. Needs an admin key."""
        self._send(calls.resume_host(host))

    def ready(self) -> Json:
        """Whether database, broker and storage are reached. Raises ServiceError where not."""
        return self._send(calls.ready())

    # Sending

    def _send(self, call: calls.Call[T]) -> T:
        def send() -> httpx.Response:
            return self._http.request(
                call.method,
                call.path,
                params=dict(call.query),
                headers=dict(call.headers),
                json=call.json,
            )

        return self._read(call, self._answer(call, send))

    def _send_file(
        self,
        call: calls.Call[T],
        source: Source,
        filename: str | None,
        options: UploadOptions,
    ) -> T:
        fields = calls.form_fields(options)
        with opened(source, filename) as (name, file):

            def send() -> httpx.Response:
                file.seek(0)
                return self._http.request(
                    call.method,
                    call.path,
                    headers=dict(call.headers),
                    files={"file": (name, cast("IO[bytes]", file))},
                    data=fields,
                )

            return self._read(call, self._answer(call, send))

    def _answer(self, call: calls.Call[Any], send: Send) -> httpx.Response:
        """The successful answer of a call, sent as often as the policy allows."""
        attempt = 0
        while True:
            try:
                response = send()
            except self._transport.FAILURES as error:
                sent = not isinstance(error, self._transport.NOT_SENT)
                pause = self._policy.pause_after_error(
                    attempt, sent=sent, repeatable=call.repeatable
                )
                if pause is None:
                    raise self._unreachable(error) from error
            except self._transport.UNUSABLE as error:
                raise self._unreachable(error) from error
            else:
                problem = self._transport.problem_of(response)
                if problem is None:
                    return response
                pause = self._pause_after(response, attempt, call)
                if pause is None:
                    raise problem
            _pause(pause)
            attempt += 1

    def _read(self, call: calls.Call[T], response: httpx.Response) -> T:
        answer = self._transport.json_of(response)
        try:
            return call.read(answer)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._transport.not_halftone(response) from None

    def _pause_after(
        self, response: httpx.Response, attempt: int, call: calls.Call[Any]
    ) -> float | None:
        return self._policy.pause_after_answer(
            attempt,
            response.status_code,
            self._transport.retry_after_of(response),
            repeatable=call.repeatable,
        )

    def _unreachable(self, error: Exception) -> HalftoneError:
        if isinstance(error, HalftoneError):
            return error
        return self._transport.unreachable(error, self.url)

    @contextmanager
    def _stream(self, call: calls.Call[None]) -> Generator[httpx.Response, None, None]:
        """The successful answer of a call, its body not read yet."""
        attempt = 0
        while True:
            try:
                request = self._http.build_request(
                    call.method, call.path, params=dict(call.query), headers=dict(call.headers)
                )
                if call.keyless:
                    request.headers.pop("Authorization", None)
                response = self._http.send(request, stream=True)
                if not response.is_success:
                    response.read()
            except self._transport.FAILURES as error:
                pause = self._policy.pause_after_error(attempt, sent=True, repeatable=True)
                if pause is None:
                    raise self._unreachable(error) from error
            except self._transport.UNUSABLE as error:
                raise self._unreachable(error) from error
            else:
                problem = self._transport.problem_of(response)
                if problem is None:
                    break
                pause = self._pause_after(response, attempt, call)
                if pause is None:
                    raise problem
            _pause(pause)
            attempt += 1
        try:
            yield response
        finally:
            response.close()

    def _save(self, call: calls.Call[None], to: Target) -> int:
        """Write the body of an answer; begin again where the connection breaks."""
        with self._stream(call) as first:
            # The target is opened once there is something to write to it.
            with writing_to(to, first.headers.get("Content-Disposition", "")) as writing:
                attempt = 0
                if self._copied(first, writing, attempt):
                    return writing.size
                while True:
                    attempt += 1
                    with self._stream(call) as response:
                        if self._copied(response, writing, attempt):
                            return writing.size

    def _copied(self, response: httpx.Response, writing: Writing, attempt: int) -> bool:
        """Whether the whole body was written; False: try again after the pause that was made."""
        try:
            for chunk in response.iter_bytes():
                writing.write(chunk)
        except self._transport.FAILURES as error:
            pause = self._policy.pause_after_error(attempt, sent=True, repeatable=True)
            if pause is None or not writing.restart():
                raise self._unreachable(error) from error
            _pause(pause)
            return False
        return True


class Request:
    """One request of the service.

    `id` is its ID. `accepted` is the answer to the upload, with its warnings; None where the
    request was named by its ID.
    """

    def __init__(self, client: Client, request_id: str, accepted: Accepted | None = None) -> None:
        self._client = client
        self.id = request_id
        self.accepted = accepted

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    def status(self) -> RequestStatus:
        """How the request is going."""
        return self._client.status(self.id)

    def wait(
        self, *, timeout_seconds: float | None = None, progress: Progress | None = None
    ) -> RequestStatus:
        """Wait for its end; its last status. See `Client.wait`."""
        return self._client.wait(self.id, timeout_seconds=timeout_seconds, progress=progress)

    def products(
        self,
        *,
        status: str | None = None,
        error_code: str | None = None,
        page_size: int = PAGE_SIZE,
    ) -> Iterator[Product]:
        """Its products in the order of the file, with their images."""
        return self._client.products(
            self.id, status=status, error_code=error_code, page_size=page_size
        )

    def failures(self) -> tuple[FailureGroup, ...]:
        """Why its images failed, by error code, with what to do."""
        return self._client.failures(self.id)

    def images(self, *, page_size: int = PAGE_SIZE) -> Iterator[Image]:
        """Its images in the order of the file."""
        return self._client.images(self.id, page_size=page_size)

    def events(self) -> Iterator[RequestStatus]:
        """Its status on every change, until it has ended."""
        return self._client.events(self.id)

    def download(
        self,
        to: Target,
        *,
        images: Literal["append", "replace"] | None = None,
        as_: Literal["csv", "xlsx"] | None = None,
        safe: bool = False,
    ) -> int:
        """Write its output file to a path or an open file. See `Client.download`."""
        return self._client.download(self.id, to, images=images, as_=as_, safe=safe)

    def report(self, to: Target, *, safe: bool = False) -> int:
        """Write its report, a row for each image, to a path or an open file."""
        return self._client.report(self.id, to, safe=safe)

    def archive(self, to: Target, *, variant: str | None = None) -> int:
        """Write a ZIP of its output images to a path or an open file."""
        return self._client.archive(self.id, to, variant=variant)

    def cancel(self) -> RequestStatus:
        """Cancel it. Finished products keep their results."""
        return self._client.cancel(self.id)

    def retry(self) -> RequestStatus:
        """Try again what failed in it."""
        return self._client.retry(self.id)

    def delete(self) -> None:
        """Delete it with its files."""
        self._client.delete(self.id)

    def webhooks(self) -> Webhooks:
        """How its webhook was delivered."""
        return self._client.webhooks(self.id)

    def replay(self) -> None:
        """Send its newest webhook event again."""
        self._client.replay(self.id)
