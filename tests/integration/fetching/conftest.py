"""Name servers of the tests' own."""

import pytest

from halftone_workers import outgoing_http
from tests.support.hostile import StubResolver


@pytest.fixture(autouse=True)
def resolver(monkeypatch: pytest.MonkeyPatch) -> StubResolver:
    """No test looks up a name."""
    stub = StubResolver()
    monkeypatch.setattr(outgoing_http, "_look_up", stub)
    return stub
