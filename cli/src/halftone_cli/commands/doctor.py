"""`halftone doctor`: every invariant of the database, checked and printed."""

import typer

from halftone_cli.home import DEFAULT_HOME
from halftone_cli.terminal import EXIT_FAILED, HomeOption, console, say


def doctor(home: HomeOption = DEFAULT_HOME) -> None:
    """Check every invariant of the database, running or stopped; exit 1 when one is broken."""
    from halftone_cli.local_database import local_engine
    from halftone_shared.db.invariants import examine

    broken = 0
    with local_engine(home) as engine:
        for check, finding in examine(engine):
            mark = "[green]✓[/]" if finding is None else "[red]✗[/]"
            console.print(f"{mark} {check.rule}", highlight=False, soft_wrap=True)
            if finding is not None:
                broken += 1
                for example in finding.examples:
                    say(f"    {example}")
                if finding.count > len(finding.examples):
                    console.print(f"    and {finding.count - len(finding.examples):,} more")
    if broken:
        raise typer.Exit(EXIT_FAILED)
