"""Fetches an image: follows redirects under one deadline, up to a size limit, and maps each failure
to a public error code.
"""

import random
import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import httpx

from halftone_shared.db.known_images import Source
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.results import ImageError
from halftone_shared.model.urls import image_url_problem
from halftone_workers.errors import (
    BadHttp,
    BlockedAddress,
    FetchFailed,
    HostDown,
    HostNotFound,
    NotModified,
)
from halftone_workers.http.asked_pauses import AskedPauses
from halftone_workers.http.client import OutgoingHttp
from halftone_workers.http.connection import Body, Response
from halftone_workers.http.content_encoding import Encoding, encoding_of, gunzipped
from halftone_workers.http.cookies import Cookies
from halftone_workers.http.deadline import Deadline
from halftone_workers.http.hosts import host_name
from halftone_workers.http.memory import MemoryBudget, Reservation
from halftone_workers.http.origins import (
    NO_ORIGINS,
    NoOrigins,
    Origins,
    OwnOrigins,
    is_same_host,
)
from halftone_workers.http.parsed_url import parsed_url
from halftone_workers.http.paused_hosts import PausedHosts
from halftone_workers.http.retry_after import retry_after_seconds
from halftone_workers.metrics import STAGE_SECONDS
from halftone_workers.sharing import NOBODY, Who

_NOT_MODIFIED = 304
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Statuses that are worth another attempt; every other one below 200 or above 299 is final.
RETRYABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_HEADERS = {"Accept": "image/*, */*;q=0.5"}
# For a file that is not shared with everybody, these hosts answer 200 with a sign-in page.
_SHARING_HOSTS = re.compile(
    r"(?:.+\.)?(?:dropbox\.com|drive\.google\.com|docs\.google\.com|sharepoint\.com"
    r"|onedrive\.live\.com|1drv\.ms)",
    re.IGNORECASE,
)
# Memory allocated at once for a declared length; beyond it, memory grows as bytes arrive.
_FIRST_BYTES = 1024 * 1024


@dataclass(frozen=True)
class FetchedImage:
    """The image's bytes and its validators (ETag, Last-Modified). The bytes count against the
    memory budget until `reserved` is given back.
    """

    data: bytes | bytearray
    reserved: Reservation
    etag: str | None = None
    last_modified: str | None = None


class ImageFetcher:
    """Fetches images. `timeout_seconds` covers a whole image: name lookup, connection, redirects,
    headers and body.
    """

    def __init__(
        self,
        http: OutgoingHttp,
        budget: MemoryBudget,
        *,
        max_image_bytes: int,
        timeout_seconds: float,
        max_redirects: int = 5,
        origins: Origins | None = None,
        paused_hosts: PausedHosts | None = None,
        asked_pauses: AskedPauses | None = None,
    ) -> None:
        self._http = http
        self._budget = budget
        self._max_image_bytes = max_image_bytes
        self._timeout_seconds = timeout_seconds
        self._max_redirects = max_redirects
        self._origins = origins or NoOrigins()
        self._paused_hosts = paused_hosts
        self._asked_pauses = asked_pauses

    async def fetch(
        self,
        url: str,
        who: Who = NOBODY,
        *,
        known: Source | None = None,
        own: OwnOrigins = NO_ORIGINS,
    ) -> FetchedImage:
        """Fetch one image. The caller must give `reserved` back.

        With `known`, asks the server whether the image has changed since then. `own`: the owner's
        settings for hosts. Raises FetchFailed; NotModified; HostBusy, HostPaused, HostAsked or
        MemoryBusy if the image must be tried again later.
        """
        reserved = self._budget.reserve(who)
        started = time.monotonic()
        try:
            with _failures_explained():
                async with Deadline(self._timeout_seconds) as until:
                    return await self._follow(url, until, reserved, _conditions(known), own)
        except BaseException:
            reserved.give_back()
            raise
        finally:
            STAGE_SECONDS["download"].observe(time.monotonic() - started)

    async def _follow(
        self,
        url: str,
        until: Deadline,
        reserved: Reservation,
        conditions: dict[str, str],
        own: OwnOrigins,
    ) -> FetchedImage:
        is_first_host = True
        cookies = Cookies()
        asked_url = url
        for _ in range(self._max_redirects + 1):
            if problem := image_url_problem(url):
                raise _failed(
                    ImageErrorCode.INVALID_URL,
                    f"The URL {url[:200]!r} cannot be fetched. {problem}",
                )
            await self._refuse_paused(url, until, reserved.who)
            headers = _HEADERS | cookies.header(url) | conditions
            if is_first_host:
                headers |= await self._origins.headers(own, url)
            async with (
                self._origins.turn(own, url, until),
                self._http.request(
                    "GET", url, until, headers=headers, who=reserved.who
                ) as response,
            ):
                if self._asked_pauses is not None:
                    await self._asked_pauses.heard(
                        reserved.who, parsed_url(url), response.status_code, response.headers
                    )
                location = response.headers.get("location")
                if response.status_code not in _REDIRECTS or location is None:
                    if response.status_code == _NOT_MODIFIED and conditions:
                        raise NotModified
                    _refuse_page_of_share_link(response, asked_url)
                    return FetchedImage(
                        await self._read(url, response, until, reserved),
                        reserved,
                        response.headers.get("etag"),
                        response.headers.get("last-modified"),
                    )
                cookies.take(url, response.headers)
                here = parsed_url(url)
                there = here.join(location)
                is_first_host = is_first_host and is_same_host(here, there)
                url = there.text
        raise _failed(
            ImageErrorCode.TOO_MANY_REDIRECTS,
            f"The URL was redirected more than {self._max_redirects} times.",
        )

    async def _refuse_paused(self, url: str, until: Deadline, who: Who) -> None:
        parsed = parsed_url(url)
        if self._paused_hosts is not None:
            await self._paused_hosts.refuse(parsed, until)
        if self._asked_pauses is not None:
            await self._asked_pauses.refuse(who, parsed, until)

    async def _read(
        self, url: str, response: Response, until: Deadline, reserved: Reservation
    ) -> bytes | bytearray:
        encoding = self._check(url, response)
        body = response.body
        data: bytes | bytearray
        if body.declared_bytes is None:
            data = await self._read_to_its_end(body, until, reserved)
        elif body.declared_bytes > self._max_image_bytes:
            raise self._too_large()
        else:
            data = await _read_declared(body, body.declared_bytes, until, reserved)
        if encoding is Encoding.GZIP:
            data = await self._unpacked(data, until, reserved)
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

    async def _unpacked(
        self, data: bytes | bytearray, until: Deadline, reserved: Reservation
    ) -> bytes | bytearray:
        parts, size = [], 0
        async for part in gunzipped(data):
            size += len(part)
            if size > self._max_image_bytes:
                raise self._too_large()
            await reserved.grow_to(len(data) + size, until)
            parts.append(part)
        return b"".join(parts)

    def _check(self, url: str, response: Response) -> Encoding:
        status = response.status_code
        if not response.is_success:
            asked_seconds = retry_after_seconds(response.headers)
            raise FetchFailed(
                ImageError(
                    ImageErrorCode.HTTP_ERROR,
                    f"The server answered {status}.",
                    http_status=status,
                    retryable=status in RETRYABLE_STATUSES,
                ),
                asked_seconds,
                asking_host=None if asked_seconds is None else host_name(parsed_url(url)),
            )
        told = response.headers.get("content-encoding") or ""
        encoding = encoding_of(told)
        if encoding is Encoding.UNREADABLE:
            raise _failed(
                ImageErrorCode.HTTP_ERROR,
                f"The server sent the image {told[:40]}-encoded, although it was asked not to.",
                http_status=status,
            )
        return encoding

    def _too_large(self) -> FetchFailed:
        return _failed(
            ImageErrorCode.TOO_LARGE, f"The image has more than {self._max_image_bytes:,} bytes."
        )


def _conditions(known: Source | None) -> dict[str, str]:
    """The headers that ask for the image only if it has changed (RFC 9110, 13.1)."""
    if known is None:
        return {}
    conditions = {}
    if known.etag:
        conditions["If-None-Match"] = known.etag
    if known.last_modified:
        conditions["If-Modified-Since"] = known.last_modified
    return conditions


async def _read_declared(
    body: Body, declared_bytes: int, until: Deadline, reserved: Reservation
) -> bytearray:
    """Read a body of declared length. Reserve memory as bytes arrive: a server may declare a large
    body and send little.
    """
    data, received = bytearray(), 0
    while received < declared_bytes:
        size = min(declared_bytes, max(2 * received, _FIRST_BYTES))
        await reserved.grow_to(size, until)
        grown = bytearray(size)
        grown[:received] = data
        data = grown
        await body.read_into(memoryview(data)[received:])
        received = size
    return data


def _is_share_link(url: str) -> bool:
    with suppress(httpx.InvalidURL):
        return _SHARING_HOSTS.fullmatch(parsed_url(url).host) is not None
    return False


def _refuse_page_of_share_link(response: Response, url: str) -> None:
    media_type = (response.headers.get("content-type") or "").partition(";")[0].strip().lower()
    if media_type == "text/html" and response.is_success and _is_share_link(url):
        raise _failed(
            ImageErrorCode.NOT_AN_IMAGE,
            "The link leads to a web page, not to the image: the file is not shared with"
            " everybody. Share it with anyone who has the link.",
            http_status=response.status_code,
        )


@contextmanager
def _failures_explained() -> Iterator[None]:
    """Map transport errors to public codes. Only this function decides which are retryable."""
    try:
        yield
    except HostDown as error:
        spread = random.uniform(1.0, 1.2)  # noqa: S311 - jitter
        raise FetchFailed(
            ImageError(error.code, str(error), retryable=True),
            retry_after_seconds=error.seconds * spread,
            silent_host=error.host,
        ) from None
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
    except BadHttp as error:
        raise _failed(ImageErrorCode.BAD_HTTP, str(error)) from None
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
