"""A stub instead of name servers."""

import pytest

from tests.support.hostile import StubResolver


@pytest.fixture(autouse=True)
def resolver(monkeypatch: pytest.MonkeyPatch) -> StubResolver:
    """No test looks up a name."""
    stub = StubResolver()
    stub.replace_look_ups(monkeypatch)
    return stub
