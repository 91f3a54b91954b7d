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
    "A shard's counters are those of its products": (
        "UPDATE request_shards SET bytes_in = bytes_in + 1 WHERE shard = 1",
        "UPDATE products SET status = 'FAILED' WHERE status = 'COMPLETED' AND seq = 1",
        "DELETE FROM products WHERE seq = 3",
    ),
    "A request's counters are the sums": (
        "UPDATE requests SET processed_images = processed_images + 1",
    ),
    "The errors that a shard or request": (
        """UPDATE request_shards SET errors = '{"timeout": 9}' WHERE shard = 1""",
        """UPDATE requests SET errors = '{"timeout": 9}'""",
    ),
    "A request's open shards are those": (
        "UPDATE requests SET open_shards = open_shards + 1 WHERE completed_at IS NULL",
        "UPDATE requests SET total_products = total_products + 1",
    ),
    "A request has ended exactly when": (
        "UPDATE products SET status = 'PENDING' FROM requests WHERE id = request_id AND run = 2"
        " AND seq = 1",
    ),
    "Every ending of a request with a webhook": (
        "DELETE FROM webhook_events WHERE run = 1",
        "INSERT INTO webhook_events (request_id, run, next_attempt_at) SELECT id, 9,"
        " now() FROM requests WHERE webhook_url IS NULL",
        "UPDATE webhook_events SET run = 7 WHERE run = 2",
    ),
    "A finished product has a result": (
        "UPDATE products SET images = '[]' WHERE status = 'COMPLETED'",
        "UPDATE products SET output_files = '{}' WHERE status = 'COMPLETED'",
        "UPDATE products SET failed_images = 1 WHERE status = 'COMPLETED' AND failed_images = 0",
    ),
    "A product that was handed out": ("UPDATE requests SET dispatch_cursor = total_products",),
    "No lease has been over for long": (
        "UPDATE products SET lease_until = now() - interval '1 hour' WHERE status = 'PENDING'",
    ),
    "A webhook event that was attempted": (
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
    return [finding.rule for _, finding in examine(engine) if finding is not None]


def test_sound_database_passes_every_check(varied: Engine) -> None:
    assert _broken(varied) == []


@pytest.mark.parametrize(
    ("rule", "breakage"),
    [(rule, breakage) for rule, breakages in BREAKAGES.items() for breakage in breakages],
)
def test_broken_rule_is_found(varied: Engine, rule: str, breakage: str) -> None:
    execute(varied, breakage)
    assert any(found.startswith(rule) for found in _broken(varied))


def test_every_check_has_a_breakage_that_it_finds() -> None:
    assert {
        rule for rule in BREAKAGES if any(check.rule.startswith(rule) for check in CHECKS)
    } == BREAKAGES.keys()
    assert len(BREAKAGES) == len(CHECKS)
