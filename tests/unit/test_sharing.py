"""Turns and shares: by owner, then by request."""

import asyncio
from uuid import UUID

import pytest

from halftone_workers.sharing import Held, NoPlace, Places, Share, Turns, Who


def _who(owner: int, request: int = 1) -> Who:
    return Who(UUID(int=owner), UUID(int=request))


def test_turns_go_by_owner_then_by_request_then_in_order() -> None:
    turns: Turns[str] = Turns(Held())
    for name, who in (
        ("a1", _who(1, 1)), ("a2", _who(1, 1)), ("a3", _who(1, 1)), ("b1", _who(1, 2)),
        ("c1", _who(2, 3)), ("c2", _who(2, 3)),
    ):  # fmt: skip
        turns.push(who, name)
    order = []
    while turns:
        order.append(turns.pop()[1])
    assert order == ["a1", "c1", "b1", "c2", "a2", "a3"]


def test_who_holds_least_goes_first() -> None:
    held = Held()
    turns: Turns[str] = Turns(held)
    held.add(_who(1, 1), 2)
    held.add(_who(1, 2), 1)
    held.add(_who(2, 3), 5)
    for name, who in (("c", _who(2, 3)), ("a", _who(1, 1)), ("b", _who(1, 2))):
        turns.push(who, name)
    assert [turns.pop()[1] for _ in range(3)] == ["b", "a", "c"]


def test_share_of_an_owner_leaves_a_quarter_and_of_a_request_a_third() -> None:
    share = Share(120)
    while share.allows(_who(1, 1)):
        share.take(_who(1, 1))
    assert share.free == 40
    while share.allows(_who(1, 2)):
        share.take(_who(1, 2))
    assert share.free == 30
    assert not share.allows(_who(1, 3))
    while share.allows(_who(2, 4)):
        share.take(_who(2, 4))
    assert share.free == 10
    assert share.allows(_who(3, 5))


def test_place_is_waited_for_only_so_long_and_not_lost() -> None:
    async def work() -> None:
        places = Places(1)
        await places.acquire(_who(1), 1)
        with pytest.raises(NoPlace):
            await places.acquire(_who(2), 0.01)
        waiting = [asyncio.ensure_future(places.acquire(_who(3), 5)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        places.release(_who(1))
        waiting[1].cancel()  # just as it got the place
        await asyncio.gather(*waiting, return_exceptions=True)
        assert waiting[2].exception() is None
        assert places.in_use == 1
        places.release(_who(3))
        assert places.in_use == 0
        assert places.has_place(_who(1))

    asyncio.run(work())
