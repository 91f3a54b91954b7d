"""`halftone doctor`: the parts of this installation, and what is wrong with them."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from halftone_cli.home import DEFAULT_HOME
from halftone_cli.service import DEFAULT_URL
from halftone_cli.terminal import (
    EXIT_FAILED,
    EXIT_REFUSED,
    HomeOption,
    failing_with,
    print_json,
    print_quiet,
    say,
)

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from halftone_cli.checkup.findings import Finding
    from halftone_cli.places import Places
    from halftone_shared.db.workers import LiveWorker

_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "broken": ("✗", "red")}


def doctor(
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            dir_okay=False,
            help="Also write a ZIP for an issue report, without secrets.",
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", envvar="HALFTONE_URL", help="The URL of the API."),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Check database, broker, storage, versions and settings, and look for work that is stuck.

    Exit code 0: nothing is broken, though there may be warnings. 1: something is broken. 2: the
    settings of the database are missing or invalid.
    """
    from halftone_cli.checkup.bundle import write_bundle
    from halftone_cli.checkup.configuration import settings_in_use
    from halftone_cli.places import find_places

    places = find_places(home)
    for place in places.all:
        say(place.text, style="dim")
    service_url = url or os.environ.get("HALFTONE_PUBLIC_URL") or DEFAULT_URL
    findings: list[Finding] = []
    workers: list[LiveWorker] = []
    for finding in _examine(places, home, service_url, workers):
        findings.append(finding)
        _show(finding)
    if bundle is not None:
        with failing_with(EXIT_FAILED, OSError):
            write_bundle(bundle, findings, settings_in_use(places), workers)
        say(f"Written: {bundle}")
    broken = [finding for finding in findings if finding.level == "broken"]
    warnings = [finding for finding in findings if finding.level == "warning"]
    say(f"{len(broken)} broken, {len(warnings)} warnings.", style="bold")
    if broken:
        raise typer.Exit(EXIT_FAILED)


def _examine(
    places: "Places", home: Path, url: str, workers: "list[LiveWorker]"
) -> "Iterator[Finding]":
    """Every check, in turn. Fills `workers` with those that run."""
    from sqlalchemy.exc import SQLAlchemyError

    from halftone_cli.checkup.configuration import check_settings
    from halftone_cli.checkup.connections import AREA, check_broker, check_storage
    from halftone_cli.checkup.findings import broken, ok
    from halftone_cli.checkup.versions import check_versions
    from halftone_cli.checkup.work import check_data, check_work
    from halftone_cli.local_database import database_url
    from halftone_shared.db.engine import check_database, is_unavailable, make_engine, unreachable
    from halftone_shared.db.workers import live_workers
    from halftone_shared.errors import BadSettings, DatabaseUnavailable

    yield check_broker(places.broker)
    yield check_storage(places.storage)
    schema = None
    with failing_with(EXIT_REFUSED, BadSettings):
        try:
            with database_url(home) as found:
                engine = make_engine(found, pool_size=1)
                try:
                    schema = _schema(engine)
                    check_database(engine)
                    yield ok(AREA, "Database: PostgreSQL is reached and takes writes.")
                    with engine.connect() as connection:
                        workers += live_workers(connection)
                        yield from check_work(connection)
                    yield from check_data(engine)
                finally:
                    engine.dispose()
        except SQLAlchemyError as error:
            if not is_unavailable(error):
                raise
            yield broken(AREA, f"Database: {unreachable(error)}")
        except DatabaseUnavailable as error:
            yield broken(AREA, f"Database: {error}")
    yield from check_settings(places)
    yield from check_versions(url, schema, workers)


def _schema(engine: "Engine") -> str | None:
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    with suppress(SQLAlchemyError), engine.connect() as connection:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return str(found) if found else None
    return None


def _show(finding: "Finding") -> None:
    mark, style = _MARKS[finding.level]
    print_json(asdict(finding))
    if finding.level != "ok":
        print_quiet(f"{finding.level}: {finding.text}")
    say(f"{mark} {finding.text}", style=style)
    for example in finding.examples:
        say(f"    {example}")
    if finding.remedy:
        say(f"    {finding.remedy}")
