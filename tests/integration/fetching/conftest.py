"""Name servers of the tests' own."""

import pytest

from halftone_workers.http import client as http_client
from tests.support.hostile import StubResolver


@pytest.fixture(autouse=True)
def resolver(monkeypatch: pytest.MonkeyPatch) -> StubResolver:
    """No test looks up a name."""
    stub = StubResolver()
    monkeypatch.setattr(http_client, "_look_up", stub)
    return stub
