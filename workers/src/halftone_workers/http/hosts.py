"""What a worker knows of a host: its places, when it has one for an image that must come again, and
whether it answers.

A host that hangs costs whoever waits for it 30 s an image. After OPEN_AFTER of them in a row its
circuit is open: its images fail at once, for as long as a pause lasts that doubles each time; then
one image tries. What a host does to one owner's images does not count for another's: a slow page
of a shop, named by one client, must not fail the shop's images for all others.
"""

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

import httpx

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_workers.errors import HostBusy, HostDown, HostNotFound
from halftone_workers.sharing import NoPlace, Places, Who

# An image waits so long for a place at its host; then its product is handed back.
PATIENCE_SECONDS = 5.0
# An image that must come again does so within this time, whatever the pace of its host.
MAX_APPOINTMENT_SECONDS = 300.0
OPEN_AFTER = 3
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 5.0, 300.0
# A failure that was quicker than this cost nobody anything.
SLOW_SECONDS = 1.0
# The image that tries a host after a pause may take so long before another one tries.
TRIAL_SECONDS = 60.0
# Of so many hosts and circuits something is remembered. Those that are used stay.
REMEMBERED = 10_000
_NEW_SHARE = 0.2  # of the last answer in the average


class Host:
    """The places at a host, and how long images keep them."""

    def __init__(self, name: str, places: int) -> None:
        self._name = name
        self._total = places
        self.places = Places(places)
        self._kept_seconds = 0.1
        self._next_appointment = 0.0

    @contextmanager
    def kept(self, who: Who) -> Iterator[None]:
        """Keep a place, which was acquired, until the block ends."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.places.release(who)
            kept = time.monotonic() - started
            self._kept_seconds += _NEW_SHARE * (kept - self._kept_seconds)

    async def place(self, who: Who) -> None:
        """Wait for a place. Raises HostBusy."""
        try:
            await self.places.acquire(who, PATIENCE_SECONDS)
        except NoPlace:
            raise self.busy() from None

    def busy(self) -> HostBusy:
        return HostBusy(self._name, self.appointment_seconds)

    def appointment_seconds(self, images: int) -> float:
        """In how many seconds a product with so many images of this host should come again: each
        product when the host is likely to be through with those before it.
        """
        now = time.monotonic()
        at = max(self._next_appointment, now + 1.0)
        rounds = 1 + PATIENCE_SECONDS / max(self._kept_seconds, 0.001)
        served = min(images, self._total * rounds)
        latest = now + MAX_APPOINTMENT_SECONDS
        self._next_appointment = min(at + served * self._kept_seconds / self._total, latest)
        return min(at - now, MAX_APPOINTMENT_SECONDS) * random.uniform(0.9, 1.1)  # noqa: S311 - jitter


@dataclass
class _Circuit:
    """Failures in a row. `closed_at`: when the pause is over; `trial_until`: an image tries."""

    code: ImageErrorCode
    failures: int = 0
    pause_seconds: float = 0.0
    closed_at: float = 0.0
    trial_until: float = 0.0


@dataclass
class Hosts:
    """All hosts of a worker's images, or of its webhooks."""

    places_each: int
    _hosts: OrderedDict[tuple[bytes, int | None], Host] = field(default_factory=OrderedDict)
    _circuits: OrderedDict[tuple[UUID | None, str], _Circuit] = field(default_factory=OrderedDict)

    def of(self, url: httpx.URL) -> Host:
        key = (url.raw_host, url.port)
        host = self._hosts.setdefault(key, Host(host_name(url), self.places_each))
        self._hosts.move_to_end(key)
        while len(self._hosts) > REMEMBERED:
            if next(iter(self._hosts.values())).places.in_use:
                break
            self._hosts.popitem(last=False)
        return host

    @property
    def silent(self) -> int:
        """How many are left alone now."""
        return sum(one.failures >= OPEN_AFTER for one in list(self._circuits.values()))

    @contextmanager
    def watched(
        self, who: Who, url: httpx.URL, has_timed_out: Callable[[], bool]
    ) -> Iterator[None]:
        """Note whether the host answers in this block. Raises HostDown where it is not to be
        asked now.
        """
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
            self._circuits.pop(key, None)  # it answers, whatever
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


def host_name(url: httpx.URL) -> str:
    """A host as people know it: its name, and its port where that is not the scheme's own."""
    return url.netloc.decode("ascii").lower()
