"""Finds work that is stuck or failed and may be retried, with the command that helps."""

from collections.abc import Iterator

from sqlalchemy import Connection, Engine

from halftone_cli.checkup.findings import Finding, broken, ok, warning
from halftone_cli.program import command_line
from halftone_cli.progress import duration, plural
from halftone_shared.db.backlog import (
    NO_PROGRESS_SECONDS,
    Backlog,
    FailureCount,
    read_backlog,
    recent_failures,
)
from halftone_shared.db.invariants import examine
from halftone_shared.model.error_codes import ImageErrorCode

WORK, DATA = "work", "data"
LONG_WAIT_SECONDS = 600
# Codes of the service's own faults: a retry may succeed.
OWN_TROUBLE = (ImageErrorCode.STORAGE_FAILED, ImageErrorCode.INTERNAL)


def check_work(connection: Connection) -> Iterator[Finding]:
    backlog = read_backlog(connection)
    running = backlog.requests["PENDING"] + backlog.requests["PROCESSING"]
    yield ok(
        WORK,
        f"{running:,} requests run; {backlog.waiting_products:,} products wait,"
        f" {backlog.processing_products:,} are being worked on; {backlog.live_workers:,} workers"
        " run.",
    )
    yield from _standstill(backlog)
    yield from _webhooks(backlog)
    for failure in recent_failures(connection):
        yield from _failures(failure)


def _standstill(backlog: Backlog) -> Iterator[Finding]:
    queues = f"`{command_line('queues')}` shows what waits and who works."
    if backlog.live_workers == 0 and backlog.waiting_products:
        yield broken(
            WORK,
            f"{backlog.waiting_products:,} products wait and no worker runs.",
            "Start `halftone-worker`, or `halftone up` on one machine.",
        )
    elif backlog.live_workers == 0:
        yield warning(WORK, "No worker runs.", "Start `halftone-worker`, or `halftone up`.")
    if backlog.requests_without_progress:
        yield broken(
            WORK,
            f"{backlog.requests_without_progress:,} requests have had no progress for"
            f" {duration(NO_PROGRESS_SECONDS)}.",
            queues,
        )
    if backlog.oldest_waiting_seconds > LONG_WAIT_SECONDS:
        waited = duration(backlog.oldest_waiting_seconds)
        yield warning(WORK, f"The oldest product has waited for {waited}.", queues)


def _webhooks(backlog: Backlog) -> Iterator[Finding]:
    if backlog.oldest_due_event_seconds > LONG_WAIT_SECONDS:
        waited = duration(backlog.oldest_due_event_seconds)
        yield warning(
            WORK,
            f"{backlog.pending_events:,} webhooks wait; the oldest has been due for {waited}.",
            "Webhooks are sent by workers: is one running?",
        )


def _failures(failure: FailureCount) -> Iterator[Finding]:
    if failure.code not in set(OWN_TROUBLE):
        return
    retry = command_line("retry", "--all", "--code", failure.code, "--since", "24h")
    yield warning(
        WORK,
        f"{plural(failure.images, 'image')} of {plural(failure.requests, 'recent request')} failed"
        f" with {failure.code}.",
        f"Once the cause is gone, `{retry}` tries them again.",
    )


def check_data(engine: Engine) -> Iterator[Finding]:
    """Check every invariant of the database."""
    for check, finding in examine(engine):
        if finding is None:
            yield ok(DATA, check.rule)
        else:
            more = finding.count - len(finding.examples)
            examples = (*finding.examples, *([f"and {more:,} more"] if more > 0 else []))
            yield broken(DATA, check.rule, examples=examples)
