"""Which database, broker and storage a command on this machine uses, and where that is
configured.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from halftone_cli.home import Home
from halftone_cli.terminal import console, say
from halftone_shared.runtime.settings import IN_PROCESS_QUEUE, SECRETS_FOLDER, redact
from halftone_shared.runtime.variables import PREFIX

UNNAMED = ""


@dataclass(frozen=True)
class Place:
    """A server or folder: its URL (empty if not configured) and where the URL comes from."""

    name: str
    url: str
    source: str

    @property
    def is_named(self) -> bool:
        return self.url != UNNAMED

    @property
    def text(self) -> str:
        """For people and logs, without passwords."""
        shown = redact(self.url) if self.is_named else "not named"
        return f"{self.name}: {shown} ({self.source})"


@dataclass(frozen=True)
class Places:
    database: Place
    broker: Place
    storage: Place

    @property
    def all(self) -> tuple[Place, ...]:
        return self.database, self.broker, self.storage


def find_places(home_folder: Path) -> Places:
    """The places that the environment or /run/secrets name. If they name no database, those of
    `halftone up` fill the gaps.
    """
    database, broker, storage = (
        _named(name, variable)
        for name, variable in (
            ("Database", "DATABASE_URL"),
            ("Broker", "RABBITMQ_URL"),
            ("Storage", "STORAGE_URL"),
        )
    )
    if database.is_named:
        return Places(database, broker, storage)
    home = Home.at(home_folder)
    source = f"of `halftone up` in {home_folder}"
    if not broker.is_named:
        broker = Place("Broker", IN_PROCESS_QUEUE, source)
    if not storage.is_named:
        storage = Place("Storage", home.storage_url, source)
    return Places(Place("Database", home.postgres.as_uri(), source), broker, storage)


def source_of(variable: str) -> str | None:
    """Where a setting is set: an environment variable or a file; None if it is not set."""
    name = PREFIX + variable
    if os.environ.get(name):
        return name
    file = SECRETS_FOLDER / name.lower()
    return str(file) if file.exists() else None


def announce(home_folder: Path, *, to: Console = console) -> None:
    """Print which database and storage an operator's command uses, before it starts."""
    places = find_places(home_folder)
    for place in (places.database, places.storage):
        say(place.text, style="dim", to=to)


def _named(name: str, variable: str) -> Place:
    source = source_of(variable)
    if source is None:
        return Place(name, UNNAMED, f"{PREFIX}{variable} is not set")
    url = os.environ.get(PREFIX + variable) or Path(source).read_text().strip()
    return Place(name, url, source)
