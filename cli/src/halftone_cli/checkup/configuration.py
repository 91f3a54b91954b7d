"""Checks the settings: which are set and where, which are invalid, which variables nothing
reads.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic_settings import BaseSettings

from halftone_api.settings import ApiSettings
from halftone_cli.checkup.findings import Finding, broken, ok, warning
from halftone_cli.places import Places, source_of
from halftone_shared.errors import BadSettings
from halftone_shared.model.addresses import FetchRule
from halftone_shared.model.signing import new_secret
from halftone_shared.runtime.settings import IN_PROCESS_QUEUE, SECRETS_FOLDER, load_settings, redact
from halftone_shared.runtime.variables import PREFIX, unknown_variables, warning_about
from halftone_workers.settings import WorkerSettings

AREA = "settings"
_CLASSES: tuple[type[BaseSettings], ...] = (ApiSettings, WorkerSettings)
_SECRET_WORDS = ("secret", "password", "key")


@dataclass(frozen=True)
class Setting:
    """A variable with its value (hidden if secret) and the source of the value."""

    variable: str
    value: str
    source: str


def settings_in_use(places: Places) -> list[Setting]:
    """Every setting of API and workers; those that are set come first."""
    given = {f"{place.name}": place for place in places.all}
    by_variable = {
        "DATABASE_URL": given["Database"],
        "RABBITMQ_URL": given["Broker"],
        "STORAGE_URL": given["Storage"],
    }
    fields = {name: field for each in _CLASSES for name, field in each.model_fields.items()}
    found = []
    for name, field in fields.items():
        variable = name.upper()
        if (place := by_variable.get(variable)) is not None:
            found.append(Setting(PREFIX + variable, redact(place.url), place.source))
        elif source := source_of(variable):
            found.append(Setting(PREFIX + variable, _shown(name), source))
        else:
            default = None if field.is_required() else field.get_default()
            found.append(Setting(PREFIX + variable, _written(default), "default"))
    return sorted(found, key=lambda one: one.source == "default")


def check_settings(places: Places) -> Iterator[Finding]:
    in_use = settings_in_use(places)
    given = [one for one in in_use if one.source != "default"]
    for one in given:
        if one.source in (one.variable, str(SECRETS_FOLDER / one.variable.lower())):
            yield ok(AREA, f"{one.variable}={one.value} ({one.source})")
    yield ok(AREA, f"The other {len(in_use) - len(given)} settings have their defaults.")
    for problem in _problems():
        yield broken(AREA, problem)
    for name in unknown_variables():
        yield warning(AREA, warning_about(name))


def _problems() -> list[str]:
    """The problems that would stop API or workers from starting. A required setting that is missing
    here may be set where they run, so a valid placeholder takes its place.
    """
    stand_ins = {
        "database_url": "postgresql://embedded",
        "rabbitmq_url": IN_PROCESS_QUEUE,
        "storage_url": "file:///",
        "webhook_secret": new_secret(),
    }
    overrides = {name: value for name, value in stand_ins.items() if not source_of(name.upper())}
    problems: dict[str, None] = {}
    for settings_class in _CLASSES:
        try:
            load_settings(settings_class, **overrides)
        except BadSettings as error:
            problems |= dict.fromkeys(error.problems)
    return list(problems)


def _written(default: object) -> str:
    """A default value, written as an environment variable would be."""
    if isinstance(default, FetchRule):
        return ",".join(map(str, default.allowed_networks))
    return "" if default is None else str(default)


def _shown(name: str) -> str:
    if any(word in name for word in _SECRET_WORDS):
        return "…"
    return redact(os.environ.get(PREFIX + name.upper(), "…"))
