"""A short drill; `make chaos` runs long ones."""

import os

import pytest

from tests.chaos.drill import run_drill
from tests.support.rabbitmq import TestRabbitmq


@pytest.mark.broker
@pytest.mark.timeout(400)
def test_nothing_accepted_is_lost(broker: TestRabbitmq) -> None:
    seed = int(os.environ.get("CHAOS_SEED", "20261122"))
    figures = run_drill(seed, seconds=25)
    print(figures)
    assert figures["requests"] > 0
