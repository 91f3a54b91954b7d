"""Fetching an image: hop by hop, under one deadline, up to a number of bytes, and what each failure
means.
"""

import asyncio
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from queue import Empty, SimpleQueue
from typing import cast

import httpx

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.results import ImageError
from halftone_shared.model.urls import image_url_problem
from halftone_workers.errors import BlockedAddress, FetchFailed, HostNotFound
from halftone_workers.http.client import Deadline, OutgoingHttp
from halftone_workers.http.connection import Body
from halftone_workers.metrics import STAGE_SECONDS

MAX_REDIRECTS = 5
MAX_RETRY_AFTER_SECONDS = 3600.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Statuses that another attempt may change; every other one below 200 or above 299 is final.
RETRYABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_HEADERS = {"Accept": "image/*, */*;q=0.5"}


class MemoryBudget:
    """How many bytes of fetched images may be in memory at once: what the codec has not taken yet
    holds fetching back.

    Images whose length nobody told may all wait for each other with a part in hand. Then, and only
    then, the one that asked first goes on beyond the budget, by itself at most, so that some image
    always comes to its end.
    """

    def __init__(self, total_bytes: int) -> None:
        self._free = total_bytes
        # In the order in which they asked first. One that has not asked may wait for those that
        # have: for a connection.
        self._reservations: dict[Reservation, None] = {}
        self._waiting: set[Reservation] = set()
        # What other threads have given back.
        self._returned: SimpleQueue[Reservation] = SimpleQueue()
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def reserve(self) -> "Reservation":
        """A place in the budget, empty at first."""
        return Reservation(self)

    def give_back(self, reservation: "Reservation") -> None:
        """From any thread. The event loop is told where somebody waits there, and otherwise looks
        when it must.
        """
        self._returned.put(reservation)
        if self._waiting:
            self._loop.call_soon_threadsafe(self._tell)

    def _take_back(self) -> None:
        with suppress(Empty):
            while True:
                reservation = self._returned.get_nowait()
                self._reservations.pop(reservation, None)
                self._free += reservation.size

    def _tell(self) -> None:
        """Let all who wait look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _has_room(self, reservation: "Reservation", more: int) -> bool:
        self._take_back()
        return self._free >= more or (
            next(iter(self._reservations)) is reservation and self._is_stuck()
        )

    def _is_stuck(self) -> bool:
        """Whether nobody who holds anything goes on by himself, to give it back."""
        return all(other in self._waiting for other in self._reservations if other.size)

    async def take(self, reservation: "Reservation", more: int, until: Deadline) -> None:
        self._reservations.setdefault(reservation)
        if not self._has_room(reservation, more):
            await self._wait(reservation, more, until)
        self._free -= more
        reservation.size += more

    async def _wait(self, reservation: "Reservation", more: int, until: Deadline) -> None:
        with until.paused():
            self._waiting.add(reservation)
            self._tell()  # with one more who waits, all may
            try:
                while not self._has_room(reservation, more):
                    await self._changed.wait()
            finally:
                self._waiting.discard(reservation)


class Reservation:
    """The bytes that one image holds of a MemoryBudget."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self.size = 0

    async def grow_to(self, size: int, until: Deadline) -> None:
        """Wait until the image may have this many bytes; the wait does not count against the
        deadline.
        """
        if size > self.size:
            await self._budget.take(self, size - self.size, until)

    def give_back(self) -> None:
        """Once, from any thread."""
        self._budget.give_back(self)


@dataclass(frozen=True)
class FetchedImage:
    """The image's bytes, which count against the memory budget until `reserved` is given back."""

    data: bytes | bytearray
    reserved: Reservation


class ImageFetcher:
    """Fetches images. `timeout_seconds` is for a whole image: look-up, connection, redirects,
    headers and body.
    """

    def __init__(
        self,
        http: OutgoingHttp,
        budget: MemoryBudget,
        *,
        max_image_bytes: int,
        timeout_seconds: float,
    ) -> None:
        self._http = http
        self._budget = budget
        self._max_image_bytes = max_image_bytes
        self._timeout_seconds = timeout_seconds
        # In all, for all images that were fetched or not, side by side.
        self.seconds = 0.0

    async def fetch(self, url: str) -> FetchedImage:
        """The caller gives back what is reserved. Raises FetchFailed."""
        reserved = self._budget.reserve()
        started = time.monotonic()
        try:
            with STAGE_SECONDS["download"].time(), _failures_explained():
                async with Deadline(self._timeout_seconds) as until:
                    return FetchedImage(await self._follow(url, until, reserved), reserved)
        except BaseException:
            reserved.give_back()
            raise
        finally:
            self.seconds += time.monotonic() - started

    async def _follow(self, url: str, until: Deadline, reserved: Reservation) -> bytes | bytearray:
        for _ in range(MAX_REDIRECTS + 1):
            if problem := image_url_problem(url):
                raise _failed(
                    ImageErrorCode.INVALID_URL,
                    f"The URL {url[:200]!r} cannot be fetched. {problem}",
                )
            async with self._http.request("GET", url, until, headers=_HEADERS) as response:
                if response.status_code not in _REDIRECTS or "location" not in response.headers:
                    return await self._read(response, until, reserved)
                url = str(response.url.join(response.headers["location"]))
        raise _failed(
            ImageErrorCode.TOO_MANY_REDIRECTS,
            f"The URL was redirected more than {MAX_REDIRECTS} times.",
        )

    async def _read(
        self, response: httpx.Response, until: Deadline, reserved: Reservation
    ) -> bytes | bytearray:
        self._check(response)
        body = cast("Body", response.stream)
        data: bytes | bytearray
        if body.told_bytes is None:
            data = await self._read_to_its_end(body, until, reserved)
        elif body.told_bytes > self._max_image_bytes:
            raise self._too_large()
        else:
            await reserved.grow_to(body.told_bytes, until)
            data = bytearray(body.told_bytes)
            await body.read_into(memoryview(data))
        if not data:
            raise _failed(ImageErrorCode.EMPTY_BODY, "The server answered with an empty body.")
        return data

    async def _read_to_its_end(self, body: Body, until: Deadline, reserved: Reservation) -> bytes:
        chunks, received = [], 0
        async for chunk in body:
            received += len(chunk)
            if received > self._max_image_bytes:
                raise self._too_large()
            await reserved.grow_to(received, until)
            chunks.append(chunk)
        return b"".join(chunks)

    def _check(self, response: httpx.Response) -> None:
        status = response.status_code
        if not 200 <= status <= 299:
            raise FetchFailed(
                ImageError(
                    ImageErrorCode.HTTP_ERROR,
                    f"The server answered {status}.",
                    http_status=status,
                    retryable=status in RETRYABLE_STATUSES,
                ),
                retry_after_seconds(response.headers),
            )
        encoding = response.headers.get("content-encoding", "")
        if encoding.lower() not in ("", "identity"):
            raise _failed(
                ImageErrorCode.HTTP_ERROR,
                f"The server sent the image {encoding[:40]}-encoded, although it was asked not to.",
                http_status=status,
            )

    def _too_large(self) -> FetchFailed:
        return _failed(
            ImageErrorCode.TOO_LARGE, f"The image has more than {self._max_image_bytes} bytes."
        )


def retry_after_seconds(headers: httpx.Headers) -> float | None:
    """What an answer's Retry-After asks for, in seconds from now (RFC 9110, 10.2.3), at most
    MAX_RETRY_AFTER_SECONDS.

    A date is one by the server's clock, which its Date tells.
    """
    header = headers.get("retry-after")
    if header is None:
        return None
    if header.isascii() and header.isdecimal():
        seconds = float(header[:10])
    elif (when := _moment(header)) is None:
        return None
    else:
        seconds = (when - (_moment(headers.get("date", "")) or datetime.now(UTC))).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _moment(date: str) -> datetime | None:
    """All dates in HTTP are in UTC; the oldest form does not say so."""
    try:
        when = parsedate_to_datetime(date)
        return when.replace(tzinfo=when.tzinfo or UTC).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


@contextmanager
def _failures_explained() -> Iterator[None]:
    """What can go wrong on the way, in the public codes: which of it another attempt may change is
    said here alone.
    """
    try:
        yield
    except TimeoutError:
        raise _failed(
            ImageErrorCode.TIMEOUT, "The image did not arrive in time.", retryable=True
        ) from None
    except BlockedAddress as error:
        raise _failed(ImageErrorCode.BLOCKED_ADDRESS, str(error)) from None
    except HostNotFound as error:
        raise _failed(ImageErrorCode.DNS_FAILED, str(error), retryable=error.temporary) from None
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise _failed(ImageErrorCode.INVALID_URL, f"The URL cannot be fetched: {error}.") from None
    except httpx.TimeoutException:
        raise _failed(
            ImageErrorCode.TIMEOUT, "The server did not answer in time.", retryable=True
        ) from None
    except httpx.ConnectError as error:
        if (tls := _tls_error(error)) is not None:
            raise _failed(
                ImageErrorCode.TLS_FAILED, f"No secure connection: {tls.reason or tls}."
            ) from None
        message = "The server cannot be reached: it refused the connection, or no way leads to it."
        raise _failed(ImageErrorCode.CONNECT_FAILED, message, retryable=True) from None
    except httpx.HTTPError as error:
        message = f"The connection broke before the image was whole ({type(error).__name__})."
        raise _failed(ImageErrorCode.CONNECT_FAILED, message, retryable=True) from None


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _failed(
    code: ImageErrorCode, message: str, *, http_status: int | None = None, retryable: bool = False
) -> FetchFailed:
    return FetchFailed(ImageError(code, message, http_status, retryable))
