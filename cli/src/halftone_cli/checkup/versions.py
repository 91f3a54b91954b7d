"""Compares the versions of API, workers, schema and this command, and the workers' engines and
clocks.
"""

from collections.abc import Iterator, Sequence
from importlib.metadata import version

import halftone
from halftone_cli.checkup.findings import Finding, ok, warning
from halftone_shared.db.workers import LiveWorker

AREA = "versions"
# Receivers refuse webhooks older than five minutes, and the database times leases, so clocks must
# agree.
CLOCK_TOLERANCE_SECONDS = 5.0


def check_versions(
    url: str, schema: str | None, workers: Sequence[LiveWorker]
) -> Iterator[Finding]:
    """`schema`: the database's newest migration; None if the database cannot be reached."""
    own = version("halftone")
    yield ok(AREA, f"This command: {own}. Schema of the database: {schema or 'unknown'}.")
    yield _api(url, own)
    for worker in workers:
        yield _worker(worker, own)
    yield from _engines(workers)
    for worker in workers:
        yield from _clock(worker)


def _api(url: str, own: str) -> Finding:
    try:
        with halftone.Client(url, retries=0, timeout_seconds=5) as client:
            found = client.service().get("version", "unknown")
    except halftone.HalftoneError as error:
        return warning(AREA, f"API: {error}", "Give its URL with --url or HALFTONE_URL.")
    if found != own:
        return warning(AREA, f"API at {url}: {found}, this command: {own}.", "Update the older.")
    return ok(AREA, f"API at {url}: {found}.")


def _worker(worker: LiveWorker, own: str) -> Finding:
    engines = ", ".join(f"{name} {found}" for name, found in (worker.engines or {}).items())
    name = _name(worker)
    if worker.version is None:
        return warning(AREA, f"{name}: older than schema 0006.", "Update it.")
    if worker.version != own:
        text = f"{name}: {worker.version}, this command: {own}."
        return warning(AREA, text, "Update the older.")
    return ok(AREA, f"{name}: {worker.version}, with {engines}.")


def _engines(workers: Sequence[LiveWorker]) -> Iterator[Finding]:
    known = [worker for worker in workers if worker.engines is not None]
    kinds = {tuple(sorted((worker.engines or {}).items())) for worker in known}
    if len(kinds) > 1:
        names = ", ".join(_name(worker) for worker in known)
        yield warning(
            AREA,
            f"Workers have different image libraries: the same image may come out differently"
            f" ({names}).",
            "Install the same version and extras on each.",
        )


def _clock(worker: LiveWorker) -> Iterator[Finding]:
    if worker.clock is None:
        return
    seconds = (worker.clock - worker.last_seen_at).total_seconds()
    if abs(seconds) > CLOCK_TOLERANCE_SECONDS:
        fast_or_slow = "ahead of" if seconds > 0 else "behind"
        yield warning(
            AREA,
            f"{_name(worker)}: its clock is {abs(seconds):.0f} s {fast_or_slow} the database's.",
            "Synchronise the clocks (NTP): receivers refuse webhooks of a wrong time.",
        )


def _name(worker: LiveWorker) -> str:
    return f"Worker {worker.pid} on {worker.host}"
