"""A worker's state per host: its places, its appointments for images that must be tried again, and
its circuit breaker.

A host that hangs costs 30 s an image. After OPEN_AFTER failures in a row its circuit opens: its
images fail at once during a pause that doubles each time; then a single image tries the host.
Circuits are kept per owner: a slow page of a shop, requested by one client, must not fail the
shop's images for all others.
"""

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from uuid import UUID

import httpx

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_workers.errors import HostBusy, HostDown, HostNotFound
from halftone_workers.http.parsed_url import ParsedUrl
from halftone_workers.sharing import NoPlace, Places, Who

# An image waits this long for a place at its host; then its product is handed back.
PATIENCE_SECONDS = 5.0
# Once a host has answered nobody for this time, and for twice the time that it usually takes, its
# waiting images are handed back: each product that waits keeps others out of the worker.
STILL_SECONDS = 1.0
# An image that got no place is tried again within this time, however slow its host is.
MAX_APPOINTMENT_SECONDS = 300.0
OPEN_AFTER = 3
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 5.0, 300.0
# A faster connection or lookup failure does not count: it costs next to nothing.
SLOW_SECONDS = 1.0
# After a pause, the image that tries the host has this long before another one may try.
TRIAL_SECONDS = 60.0
# The number of hosts and of circuits that are kept; the least recently used are dropped.
REMEMBERED = 10_000
_NEW_SHARE = 0.2  # weight of the last answer in the moving average


class Host:
    """The places at a host, and how long images keep them."""

    def __init__(self, name: str, places: int) -> None:
        self._name = name
        self._total = places
        self.places = Places(places)
        self._kept_seconds = 0.1
        self._next_appointment = 0.0
        # When each kept place was taken, the oldest first, and when one was last given back.
        self._taken: dict[object, float] = {}
        self._freed = 0.0

    @contextmanager
    def kept(self, who: Who) -> Iterator[None]:
        """Hold an acquired place until the block ends, and measure how long that took."""
        started, holder = time.monotonic(), object()
        self._taken[holder] = started
        try:
            yield
        finally:
            del self._taken[holder]
            self.places.release(who)
            self._freed = time.monotonic()
            kept = self._freed - started
            self._kept_seconds += _NEW_SHARE * (kept - self._kept_seconds)

    async def place(self, who: Who) -> None:
        """Wait for a place, as long as the host answers anybody. Raises HostBusy."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not self._is_still() and (left := until - time.monotonic()) > 0:
            with suppress(NoPlace):
                await self.places.acquire(who, min(left, self._still_seconds()))
                return
        raise self.busy()

    def _is_still(self) -> bool:
        """Whether all places have been kept for a while, and none was given back."""
        return (
            len(self._taken) >= self._total
            and time.monotonic() - max(self._freed, self._oldest()) > self._still_seconds()
        )

    def _still_seconds(self) -> float:
        return max(STILL_SECONDS, 2 * self._kept_seconds)

    def _oldest(self) -> float:
        return next(iter(self._taken.values()), time.monotonic())

    def busy(self) -> HostBusy:
        return HostBusy(self._name, self.appointment_seconds)

    def appointment_seconds(self, images: int) -> float:
        """In how many seconds a product with this many images of the host should be tried again:
        when the host has probably served the products before it.
        """
        now = time.monotonic()
        at = max(self._next_appointment, now + 1.0)
        kept_seconds = max(self._kept_seconds, now - self._oldest())
        rounds = 1 + PATIENCE_SECONDS / max(kept_seconds, 0.001)
        served = min(images, self._total * rounds)
        latest = now + MAX_APPOINTMENT_SECONDS
        self._next_appointment = min(at + served * kept_seconds / self._total, latest)
        return min(at - now, MAX_APPOINTMENT_SECONDS) * random.uniform(0.9, 1.1)  # noqa: S311 - jitter


@dataclass
class _Circuit:
    """Failures in a row. `closed_at`: when the pause ends. `trial_until`: when another image may
    try the host.
    """

    code: ImageErrorCode
    failures: int = 0
    pause_seconds: float = 0.0
    closed_at: float = 0.0
    trial_until: float = 0.0


@dataclass
class Hosts:
    """All hosts of a worker's images, or of its webhooks."""

    places_each: int
    _hosts: OrderedDict[tuple[str, int], Host] = field(default_factory=OrderedDict)
    _circuits: OrderedDict[tuple[UUID | None, str], _Circuit] = field(default_factory=OrderedDict)

    def of(self, url: ParsedUrl) -> Host:
        key = (url.host, url.port)
        host = self._hosts.get(key)
        if host is None:
            host = self._hosts[key] = Host(host_name(url), self.places_each)
        self._hosts.move_to_end(key)
        while len(self._hosts) > REMEMBERED:
            if next(iter(self._hosts.values())).places.in_use:
                break
            self._hosts.popitem(last=False)
        return host

    @property
    def silent(self) -> int:
        """How many circuits are open."""
        return sum(one.failures >= OPEN_AFTER for one in list(self._circuits.values()))

    @contextmanager
    def watched(
        self, who: Who, url: ParsedUrl, has_timed_out: Callable[[], bool]
    ) -> Iterator[None]:
        """Record whether the host answers in this block. Raises HostDown if its circuit is open."""
        key = (who.payer, host_name(url))
        self._refuse_open(key)
        started = time.monotonic()
        try:
            yield
        except HostBusy:
            raise
        except asyncio.CancelledError:
            if has_timed_out():
                self._failed(key, ImageErrorCode.TIMEOUT)
            raise
        except (HostNotFound, httpx.ConnectError) as error:
            is_name = isinstance(error, HostNotFound)
            if time.monotonic() - started >= SLOW_SECONDS:
                code = ImageErrorCode.DNS_FAILED if is_name else ImageErrorCode.CONNECT_FAILED
                self._failed(key, code)
            raise
        except BaseException:
            self._circuits.pop(key, None)  # it answers, if only with an error
            raise
        else:
            self._circuits.pop(key, None)

    def _refuse_open(self, key: tuple[UUID | None, str]) -> None:
        circuit = self._circuits.get(key)
        if circuit is None or circuit.failures < OPEN_AFTER:
            return
        now = time.monotonic()
        left = max(circuit.closed_at, circuit.trial_until) - now
        if left > 0:
            raise HostDown(key[1], circuit.code, circuit.failures, left)
        circuit.trial_until = now + TRIAL_SECONDS

    def _failed(self, key: tuple[UUID | None, str], code: ImageErrorCode) -> None:
        circuit = self._circuits.setdefault(key, _Circuit(code))
        self._circuits.move_to_end(key)
        if len(self._circuits) > REMEMBERED:
            self._circuits.popitem(last=False)
        circuit.code = code
        circuit.failures += 1
        now = time.monotonic()
        if circuit.failures >= OPEN_AFTER and now >= circuit.closed_at:
            circuit.pause_seconds = min(
                2 * circuit.pause_seconds or FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS
            )
            circuit.closed_at = now + circuit.pause_seconds
            circuit.trial_until = 0.0


def host_name(url: ParsedUrl) -> str:
    """The host's name, with its port unless that is the scheme's default."""
    return url.netloc.lower()
