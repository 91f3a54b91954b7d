"""Each test gets its own isolated network."""

from collections.abc import Iterator

import pytest

from tests.support.guarded import World, new_world


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with new_world(monkeypatch) as world:
        yield world
