"""Clients that go on calling while the API is replaced."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

import halftone
from tests.support.csv_files import HEADER

# 0.25 s, doubled up to 8 s: the pauses add up to more than the 35 s that an API has for its stop.
RETRIES = 10
PAUSE_SECONDS = 0.1
UPLOAD_EVERY_SECONDS = 3.0  # below the limit of 60 a minute
PROBE_SECONDS = 0.05


@dataclass
class Calls:
    """What the clients saw. `away_seconds`: the longest time in which the API did not answer a call
    without retries.
    """

    uploaded: list[str] = field(default_factory=list)
    answered: int = 0
    failed: list[str] = field(default_factory=list)
    longest_seconds: float = 0.0
    away_seconds: float = 0.0


@contextmanager
def calling(url: str, proxy_url: str, key: str, image_url: str) -> Iterator[Calls]:
    """Until the block ends: clients of the library upload and read at the API; a client without
    retries does so through the proxy; a probe looks how long the API is away.
    """
    calls = Calls()
    ended = threading.Event()
    threads = [
        threading.Thread(target=_upload, args=(url, key, image_url, calls, ended)),
        threading.Thread(target=_read, args=(url, key, calls, ended)),
        threading.Thread(target=_call_plainly, args=(proxy_url, key, image_url, calls, ended)),
        threading.Thread(target=_probe, args=(url, calls, ended)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield calls
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _upload(url: str, key: str, image_url: str, calls: Calls, ended: threading.Event) -> None:
    with halftone.Client(url, key=key, retries=RETRIES) as client:
        number = 0
        while not ended.wait(UPLOAD_EVERY_SECONDS):
            number += 1
            row = {"Serial Number": 1, "Product Name": f"U{number}", "Input Image Urls": image_url}
            with _counted(calls):
                calls.uploaded.append(client.upload([row], filename=f"upload-{number}.csv").id)


def _read(url: str, key: str, calls: Calls, ended: threading.Event) -> None:
    with halftone.Client(url, key=key, retries=RETRIES) as client:
        while not ended.wait(PAUSE_SECONDS):
            with _counted(calls):
                newest = next(client.requests(page_size=1))
            with _counted(calls):
                client.status(newest.request_id)


def _call_plainly(url: str, key: str, image_url: str, calls: Calls, ended: threading.Event) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    uploaded_at = 0.0
    with httpx.Client(base_url=url, headers=headers, timeout=90, trust_env=False) as http:
        while not ended.wait(PAUSE_SECONDS):
            with _counted(calls):
                http.get("/api/requests").raise_for_status()
            if time.monotonic() - uploaded_at > UPLOAD_EVERY_SECONDS:
                uploaded_at = time.monotonic()
                file = ("upload-plain.csv", f"{HEADER}1,Plain,{image_url}\n", "text/csv")
                with _counted(calls):
                    answer = http.post("/api/upload", files={"file": file}).raise_for_status()
                    calls.uploaded.append(answer.json()["request_id"])


@contextmanager
def _counted(calls: Calls) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
        calls.answered += 1
    except (halftone.HalftoneError, httpx.HTTPError) as error:
        calls.failed.append(repr(error))
    calls.longest_seconds = max(calls.longest_seconds, time.monotonic() - began)


def _probe(url: str, calls: Calls, ended: threading.Event) -> None:
    answered_at = time.monotonic()
    with httpx.Client(base_url=url, timeout=2, trust_env=False) as http:
        while not ended.wait(PROBE_SECONDS):
            try:
                is_there = http.get("/readyz").status_code == 200
            except httpx.HTTPError:
                is_there = False
            if is_there:
                calls.away_seconds = max(calls.away_seconds, time.monotonic() - answered_at)
                answered_at = time.monotonic()
