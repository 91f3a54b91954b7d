"""The API from the client's side: what the commands send, and its errors as a person wants them."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO
from urllib.parse import quote

import httpx

from halftone_cli.terminal import is_stdout

# An upload is answered when every row is checked and stored: a million rows take a while.
TIMEOUT = httpx.Timeout(10, read=300, write=300)
# What is answered while the database, or the API behind a proxy, is away.
AWAY_STATUSES = (502, 503, 504)


class Unreachable(Exception):
    """No halftone answers at the URL; the message says which."""


class Refused(Exception):
    """The API answered with a problem. The text is for a terminal: what happened, and each row
    error on a line.
    """

    def __init__(self, problem: dict[str, Any], status: int) -> None:
        super().__init__(_problem_text(problem))
        self.problem = problem
        self.may_pass = status in AWAY_STATUSES


class ApiClient:
    """One halftone by its base URL; the key, where it wants one, from HALFTONE_API_KEY."""

    def __init__(self, url: str) -> None:
        key = os.environ.get("HALFTONE_API_KEY", "").strip()  # out of a file it has a line's end
        if not (key.isascii() and key.isprintable()):
            raise Unreachable("HALFTONE_API_KEY is no key: it has characters that no key has.")
        self._url = url
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with self._errors():
            self._http = httpx.Client(
                base_url=url, timeout=TIMEOUT, headers=headers, trust_env=False
            )

    def __enter__(self) -> "ApiClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def is_ready(self) -> bool:
        with self._errors():
            return self._http.get("/readyz").is_success

    def upload(self, filename: str, file: BinaryIO, fields: dict[str, str]) -> dict[str, Any]:
        """The 202's body. Raises Refused."""
        with TemporaryFile() as whole:
            if (
                not file.seekable()
            ):  # a pipe, whose length is not known before its end, and whose name is none of a CSV
                shutil.copyfileobj(file, whole)
                whole.seek(0)
                file, filename = whole, f"{filename}.csv"
            name = os.fsencode(filename).decode(errors="replace")
            return self._json(
                "POST", "/api/upload", files={"file": (name, file, "text/csv")}, data=fields
            )

    def status(self, request_id: str) -> dict[str, Any]:
        return self._json("GET", self._path("status", request_id))

    def details(self, request_id: str) -> Iterator[dict[str, Any]]:
        """The pages of the details, each with its `products`."""
        cursor: str | None = ""
        while cursor is not None:
            page = self._json(
                "GET",
                self._path("details", request_id),
                params={"cursor": cursor} if cursor else {},
            )
            yield page
            cursor = page["next_cursor"]

    def cancel(self, request_id: str) -> dict[str, Any]:
        return self._json("POST", self._path("cancel", request_id))

    def retry(self, request_id: str) -> dict[str, Any]:
        return self._json("POST", self._path("retry", request_id))

    def download(self, request_id: str, output: Path, **parameters: str) -> int:
        """Write the output CSV to a file; how many bytes. An existing file is replaced only by a
        whole one; what is no file, as a pipe, is written to, and so is standard output, behind what
        stands there.
        """
        size = 0
        with (
            self._errors(),
            self._http.stream(
                "GET", self._path("download", request_id), params=parameters
            ) as response,
        ):
            if not response.is_success:
                response.read()
                _raise_for(response)
            with _writing_to(output) as file:
                for chunk in response.iter_bytes():
                    size += file.write(chunk)
        return size

    def _json(self, method: str, path: str, **parts: Any) -> dict[str, Any]:
        with self._errors():
            response = self._http.request(method, path, **parts)
        _raise_for(response)
        try:
            answer: dict[str, Any] = response.json()
        except ValueError:
            raise Unreachable(
                f"{response.url} does not answer as halftone does. Is --url right?"
            ) from None
        return answer

    def _path(self, route: str, request_id: str) -> str:
        return f"/api/{route}/{quote(request_id, safe='', errors='surrogateescape')}"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError:
            raise Unreachable(
                f"No halftone answers at {self._url}. `halftone up` starts one;"
                " --url names another."
            ) from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
            raise Unreachable(f"{self._url!a} cannot be asked: {error}.") from None
        except httpx.HTTPError as error:
            raise Unreachable(
                f"The connection to {self._url} broke ({type(error).__name__})."
            ) from None


@contextmanager
def _writing_to(output: Path) -> Iterator[BinaryIO]:
    if is_stdout(output):
        # Opened by its name, a file that a shell appends to would be emptied.
        with open(1, "wb", closefd=False) as file:
            yield file
    elif output.is_file() or not output.exists():
        target = output.resolve()
        part = target.with_name(target.name + ".part")
        try:
            with part.open("wb") as file:
                yield file
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    else:
        with output.open("wb") as file:
            yield file


def _raise_for(response: httpx.Response) -> None:
    """Raises Refused for an error, a proxy's too, and Unreachable for what else is no success."""
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        raise Refused(response.json(), response.status_code)
    told = (
        f"{response.url} answered {response.status_code}, and not as halftone does. Is --url right?"
    )
    if response.is_error:
        raise Refused({"detail": told, "code": "http_error"}, response.status_code)
    if not response.is_success:
        raise Unreachable(told)


def _problem_text(problem: dict[str, Any]) -> str:
    lines = [problem["detail"]]
    errors = problem.get("errors", [])
    lines += [
        f"  line {error['line']}, {error['column']}: {error['message']} ({error['value']!r})"
        for error in errors
    ]
    more = problem.get("error_count", len(errors)) - len(errors)
    if more > 0:
        lines.append(f"  and {more} more")
    return "\n".join(lines)
