"""The API from the client's side: what the commands send, and its errors as a person wants them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import httpx

# An upload is answered when every row is checked and stored: a million rows take a while.
TIMEOUT = httpx.Timeout(10, read=300, write=300)


class Unreachable(Exception):
    """No halftone answers at the URL; the message says which."""


class Refused(Exception):
    """The API answered with a problem. The text is for a terminal: what happened, and each row error on a line."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(_problem_text(problem))
        self.problem = problem


class ApiClient:
    """One halftone by its base URL; the key, where it wants one, from HALFTONE_API_KEY."""

    def __init__(self, url: str) -> None:
        key = os.environ.get("HALFTONE_API_KEY")
        self._url = url
        self._http = httpx.Client(
            base_url=url, timeout=TIMEOUT, headers={"Authorization": f"Bearer {key}"} if key else {}, trust_env=False
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
        return self._json("POST", "/api/upload", files={"file": (filename, file, "text/csv")}, data=fields)

    def status(self, request_id: str) -> dict[str, Any]:
        return self._json("GET", f"/api/status/{request_id}")

    def details(self, request_id: str) -> Iterator[dict[str, Any]]:
        """The pages of the details, each with its `products`."""
        cursor: str | None = ""
        while cursor is not None:
            page = self._json("GET", f"/api/details/{request_id}", params={"cursor": cursor} if cursor else {})
            yield page
            cursor = page["next_cursor"]

    def cancel(self, request_id: str) -> dict[str, Any]:
        return self._json("POST", f"/api/cancel/{request_id}")

    def retry(self, request_id: str) -> dict[str, Any]:
        return self._json("POST", f"/api/retry/{request_id}")

    def download(self, request_id: str, output: Path, **parameters: str) -> int:
        """Write the output CSV to a file; how many bytes. An existing file is replaced only by a whole one."""
        partial = output.with_name(output.name + ".part")
        with self._errors(), self._http.stream("GET", f"/api/download/{request_id}", params=parameters) as response:
            if response.is_error:
                response.read()
                _raise_for(response)
            with partial.open("wb") as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)
        partial.replace(output)
        return output.stat().st_size

    def _json(self, method: str, path: str, **parts: Any) -> dict[str, Any]:
        with self._errors():
            response = self._http.request(method, path, **parts)
        _raise_for(response)
        answer: dict[str, Any] = response.json()
        return answer

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError:
            raise Unreachable(
                f"No halftone answers at {self._url}. `halftone up` starts one; --url names another."
            ) from None
        except httpx.HTTPError as error:
            raise Unreachable(f"The connection to {self._url} broke ({type(error).__name__}).") from None


def _raise_for(response: httpx.Response) -> None:
    if not response.is_error:
        return
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        raise Refused(response.json())
    raise Refused({"detail": f"The server answered {response.status_code}.", "code": "http_error"})


def _problem_text(problem: dict[str, Any]) -> str:
    lines = [problem["detail"]]
    errors = problem.get("errors", [])
    lines += [f"  line {error['line']}, {error['column']}: {error['message']} ({error['value']!r})" for error in errors]
    more = problem.get("error_count", len(errors)) - len(errors)
    if more > 0:
        lines.append(f"  and {more} more")
    return "\n".join(lines)
