"""A claimed product in progress: its place, its running images, and what they wait for."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from halftone_shared.db.products import Claim
from halftone_shared.model.options import ImageOptions
from halftone_shared.model.states import WaitReason
from halftone_workers.errors import HostBusy
from halftone_workers.http.hosts import host_name
from halftone_workers.http.parsed_url import parsed_url
from halftone_workers.jobs.unchanged import Unchanged
from halftone_workers.sharing import Who

# A product that only waits for the network gives up its place after this time.
PARK_AFTER_SECONDS = 0.05
# After this time the status names the host that the product waits for.
TELL_AFTER_SECONDS = 3.0


@dataclass(frozen=True)
class Claimed:
    """A claim, its options, and the earlier results of its images."""

    claim: Claim
    options: ImageOptions
    unchanged: Unchanged


@dataclass(frozen=True)
class Waiting:
    """What a product waits for. `seconds`: when to try it again."""

    host: str
    reason: WaitReason
    seconds: float = 0.0


class ActiveProduct:
    """One claimed product. It calls `leave_place` at most once, on the event loop, when all its
    unfinished images wait for the network.

    Use it on the event loop, except where a method says otherwise.
    """

    def __init__(self, claimed: Claimed, who: Who, leave_place: Callable[[], None]) -> None:
        self.claim = claimed.claim
        self.options = claimed.options
        self.unchanged = claimed.unchanged
        self.who = who
        self.is_void = False
        self.is_late = False
        self._leave_place = leave_place
        self._images: set[asyncio.Task[object]] = set()
        self._on_network: Counter[str] = Counter()
        self._appointments: dict[str, float] = {}
        self._parking: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._is_cancelled = False
        self._started = 0.0

    def begin(self, images: "set[asyncio.Task[object]]", timeout_seconds: float) -> None:
        """Track the tasks of its images, and cancel those that still run after the timeout."""
        loop = asyncio.get_running_loop()
        self._images = images
        self._started = time.monotonic()
        if images:
            self._parking = loop.call_later(PARK_AFTER_SECONDS, self._park)
            self._deadline = loop.call_later(timeout_seconds, self._is_out_of_time)
        if self._is_cancelled:
            self.cancel()

    def image_ended(self, image: "asyncio.Task[object]") -> None:
        self._images.discard(image)
        if not self._images:
            for timer in (self._parking, self._deadline):
                if timer is not None:
                    timer.cancel()

    def cancel(self) -> None:
        """Cancel the images that have not ended. They get no result."""
        self._is_cancelled = True
        for image in list(self._images):
            image.cancel()

    def _is_out_of_time(self) -> None:
        self.is_late = True
        self.cancel()

    def _park(self) -> None:
        if len(self._images) <= self._on_network.total():
            self._leave_place()
        else:
            loop = asyncio.get_running_loop()
            self._parking = loop.call_later(PARK_AFTER_SECONDS, self._park)

    @contextmanager
    def on_network(self, url: str) -> Iterator[None]:
        """Mark an image as waiting for the network until the block ends."""
        host = _host_of(url)
        self._on_network[host] += 1
        try:
            yield
        finally:
            self._on_network[host] -= 1
            if not self._on_network[host]:
                del self._on_network[host]

    def appointment(self, busy: HostBusy) -> Waiting:
        """When to try a busy host again. All images of the product that wait for the same host
        share one appointment.
        """
        if busy.host not in self._appointments:
            self._appointments[busy.host] = busy.appointment_seconds(len(self._images))
        return Waiting(busy.host, busy.reason, self._appointments[busy.host])

    def waiting_host(self) -> str | None:
        """The host that most images wait for; None before TELL_AFTER_SECONDS. Thread-safe."""
        waits = dict(self._on_network)
        if not waits or time.monotonic() - self._started < TELL_AFTER_SECONDS:
            return None
        return max(waits, key=waits.__getitem__)


def _host_of(url: str) -> str:
    try:
        return host_name(parsed_url(url))
    except httpx.InvalidURL:
        return url[:100]
