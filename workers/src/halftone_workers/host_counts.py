"""Counts attempts at images by host, until the next heartbeat reports them."""

import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime

import httpx

from halftone_shared.db.host_figures import HostFigures
from halftone_workers.http.parsed_url import parsed_url

# A file may name a new host in every row; hosts beyond this number are counted under one name.
MAX_HOSTS = 200
OTHER_HOSTS = "(other hosts)"


class HostCounts:
    """For all threads of a worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By minute since 1970 and host.
        self._counts: dict[tuple[int, str], list[float]] = {}
        # Since the start of the worker, of all hosts.
        self.images = 0
        self.failed_images = 0
        self.seconds = 0.0

    def add(self, url: str, *, failed: bool, bytes_in: int, bytes_out: int, seconds: float) -> None:
        minute = int(time.time()) // 60
        key = (minute, _host_of(url))
        with self._lock:
            self.images += not failed
            self.failed_images += failed
            self.seconds += seconds
            if key not in self._counts and len(self._counts) >= MAX_HOSTS:
                key = (minute, OTHER_HOSTS)
            counts = self._counts.setdefault(key, [0, 0, 0, 0, 0.0])
            added = (not failed, failed, bytes_in, bytes_out, seconds)
            for at, value in enumerate(added):
                counts[at] += value

    def take(self) -> list[HostFigures]:
        """Return the counts since the last call, and reset them."""
        with self._lock:
            counts, self._counts = self._counts, {}
        return [
            HostFigures(
                datetime.fromtimestamp(60 * minute, UTC),
                host,
                int(done),
                int(failed),
                int(before),
                int(after),
                seconds,
            )
            for (minute, host), (done, failed, before, after, seconds) in counts.items()
        ]

    def put_back(self, figures: Iterable[HostFigures]) -> None:
        """Add counts that could not be reported back, for the next report."""
        with self._lock:
            for one in figures:
                minute = int(one.minute.timestamp()) // 60
                counts = self._counts.setdefault((minute, one.host), [0, 0, 0, 0, 0.0])
                added = (one.images, one.failed, one.bytes_in, one.bytes_out, one.seconds)
                for at, value in enumerate(added):
                    counts[at] += value


def _host_of(url: str) -> str:
    try:
        return parsed_url(url).host[:253] or OTHER_HOSTS
    except httpx.InvalidURL:
        return OTHER_HOSTS
