"""How long images wait for a place at their host."""

import asyncio
from uuid import uuid4

import pytest

from halftone_workers.errors import HostBusy
from halftone_workers.http import hosts
from halftone_workers.http.hosts import Host
from halftone_workers.sharing import Who

WHO = Who(uuid4(), uuid4())


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "STILL_SECONDS", 0.5)
    monkeypatch.setattr(hosts, "PATIENCE_SECONDS", 60.0)


async def _keep(host: Host, until: asyncio.Event) -> None:
    await host.place(WHO)
    with host.kept(WHO):
        await until.wait()


async def _behind_a_silent_host() -> float:
    host, end = Host("shop.example", 2), asyncio.Event()
    kept = [asyncio.create_task(_keep(host, end)) for _ in range(2)]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        with pytest.raises(HostBusy):
            await host.place(WHO)
        with pytest.raises(HostBusy) as busy:
            await host.place(WHO)
    end.set()
    await asyncio.gather(*kept)
    await host.place(WHO)  # it answers again
    return busy.value.appointment_seconds(1)


def test_image_behind_a_host_that_answers_nobody_is_handed_back() -> None:
    assert asyncio.run(_behind_a_silent_host()) > 0


async def _one_after_the_other() -> None:
    host = Host("shop.example", 1)

    async def image() -> None:
        await host.place(WHO)
        with host.kept(WHO):
            await asyncio.sleep(0.05)

    # Together much longer than STILL_SECONDS.
    await asyncio.gather(*(image() for _ in range(30)))


def test_image_behind_a_host_that_answers_keeps_waiting() -> None:
    asyncio.run(_one_after_the_other())
