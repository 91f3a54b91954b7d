"""The doctor finds every broken invariant, and reports nothing for a sound database."""

import pytest
from sqlalchemy import Engine

from halftone_shared.db.cancel_retry import retry_request
from halftone_shared.db.invariants import CHECKS, examine
from tests.support.stored import (
    claimed,
    execute,
    failed_image,
    finish,
    good_image,
    settle,
    store_request,
)

BREAKAGES = {
    "shard_counters": (
        "UPDATE request_shards SET bytes_in = bytes_in + 1 WHERE shard = 1",
        "UPDATE products SET status = 'FAILED' WHERE status = 'COMPLETED' AND seq = 1",
        "DELETE FROM products WHERE seq = 3",
    ),
    "request_counters": ("UPDATE requests SET processed_images = processed_images + 1",),
    "error_counts": (
        """UPDATE request_shards SET errors = '{"timeout": 9}' WHERE shard = 1""",
        """UPDATE requests SET errors = '{"timeout": 9}'""",
    ),
    "open_shards": (
        "UPDATE requests SET open_shards = open_shards + 1 WHERE completed_at IS NULL",
        "UPDATE requests SET total_products = total_products + 1",
    ),
    "request_end": (
        "UPDATE products SET status = 'PENDING' FROM requests WHERE id = request_id AND run = 2"
        " AND seq = 1",
    ),
    "webhook_events": (
        "DELETE FROM webhook_events WHERE run = 1",
        "INSERT INTO webhook_events (request_id, run, next_attempt_at) SELECT id, 9,"
        " now() FROM requests WHERE webhook_url IS NULL",
        "UPDATE webhook_events SET run = 7 WHERE run = 2",
    ),
    "results": (
        "UPDATE products SET images = '[]' WHERE status = 'COMPLETED'",
        "UPDATE products SET output_files = '{}' WHERE status = 'COMPLETED'",
        "UPDATE products SET failed_images = 1 WHERE status = 'COMPLETED' AND failed_images = 0",
    ),
    "handed_out": ("UPDATE requests SET dispatch_cursor = total_products",),
    "overdue_leases": (
        "UPDATE products SET lease_until = now() - interval '1 hour' WHERE status = 'PENDING'",
    ),
    "webhook_attempts": (
        "UPDATE webhook_events SET attempts = 1, body = NULL WHERE run = 1",
        "INSERT INTO webhook_attempts (event_id, attempt, duration_ms) SELECT id, 1,"
        " 5 FROM webhook_events",
    ),
}


@pytest.fixture
def varied(engine: Engine) -> Engine:
    """A database with requests in every state: running, ended, retried."""
    running = store_request(engine, 10, images=2)
    settle(engine, claimed(engine, running, 1), good_image(), failed_image())
    claimed(engine, running, 2)
    retried = store_request(engine, 2, webhook_url="http://127.0.0.1/hook")
    settle(engine, claimed(engine, retried, 1), failed_image())
    settle(engine, claimed(engine, retried, 2))
    retry_request(engine, retried, "http://halftone")
    finish(engine, retried, 1)
    return engine


def _broken(engine: Engine) -> list[str]:
    return [check.name for check, finding in examine(engine) if finding is not None]


def test_sound_database_passes_every_check(varied: Engine) -> None:
    assert _broken(varied) == []


@pytest.mark.parametrize(
    ("name", "breakage"),
    [(name, breakage) for name, breakages in BREAKAGES.items() for breakage in breakages],
)
def test_breakage_is_found(varied: Engine, name: str, breakage: str) -> None:
    execute(varied, breakage)
    assert name in _broken(varied)


def test_every_check_has_a_breakage_that_it_finds() -> None:
    assert BREAKAGES.keys() == {check.name for check in CHECKS}
