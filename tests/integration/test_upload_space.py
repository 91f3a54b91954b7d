"""Uploads that stall, and many at once, do not fill the temporary space."""

import select
import socket
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import httpx
import pytest

from halftone_api.errors import Problem, ProblemCode
from halftone_api.upload.space import UploadSpace
from tests.support.api import ONE_ROW, multipart
from tests.support.halftone import Service, running_separately
from tests.support.postgres import TestPostgres

_IDLE_SECONDS = 3
# The space is twice this and the form's overhead; one owner gets three quarters of it.
_MAX_UPLOAD_BYTES = 1_000_000
_FILE = ONE_ROW.encode() + b"\n" * 990_000
_BODY = multipart(('name="file"; filename="a.csv"', _FILE))[1]
_END = 10


@pytest.fixture(scope="module")
def server(postgres: TestPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_separately(
        tmp_path_factory.mktemp("server"),
        postgres.new_database(),
        "in-process",
        workers=0,
        max_upload_bytes=str(_MAX_UPLOAD_BYTES),
        upload_idle_seconds=str(_IDLE_SECONDS),
        upload_space_bytes="1",
    ) as service:
        yield service


def _begun(server: Service) -> socket.socket:
    """An upload that lacks its last bytes."""
    connection = socket.create_connection(
        ("127.0.0.1", httpx.URL(server.url).port or 0), timeout=20
    )
    head = (
        "POST /api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n"
        "Content-Type: multipart/form-data; boundary=frontier\r\n\r\n"
    )
    connection.sendall((head % len(_BODY)).encode() + _BODY[:-_END])
    return connection


def _status(connection: socket.socket) -> int:
    return int(connection.recv(12).split()[1])


def test_upload_that_stops_arriving_is_ended(server: Service) -> None:
    with closing(_begun(server)) as connection:
        assert _status(connection) == 408


def test_owner_gets_a_share_of_the_space_which_comes_back(server: Service) -> None:
    with closing(_begun(server)) as first, closing(_begun(server)) as second:
        (refused,), _, _ = select.select([first, second], [], [], 20)
        answer = refused.recv(65536)
        assert answer.startswith(b"HTTP/1.1 429")
        assert b"retry-after: 5" in answer.lower()
        other = second if refused is first else first
        other.sendall(_BODY[-_END:])
        assert _status(other) == 202
    for _ in range(3):
        answered = httpx.post(
            f"{server.url}/api/upload", files={"file": ("a.csv", _FILE)}, trust_env=False
        )
        assert answered.status_code == 202


def test_full_space_is_told_from_a_full_share() -> None:
    space = UploadSpace(100)
    with space.room(uuid4()) as first, space.room(uuid4()) as second:
        first.take(75)
        with pytest.raises(Problem) as own:
            first.take(1)
        second.take(18)
        with pytest.raises(Problem) as full:
            second.take(8)
    assert (own.value.code, full.value.code) == (
        ProblemCode.RATE_LIMITED,
        ProblemCode.STORAGE_UNAVAILABLE,
    )
    with space.room(uuid4()) as later:
        later.take(75)
