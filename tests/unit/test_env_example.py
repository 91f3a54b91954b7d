"""`.env.example` lists every setting, with the default that the code has."""

from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from halftone_api.settings import ApiSettings
from halftone_cli.service import DEFAULT_URL
from halftone_shared.runtime.settings import load_settings
from halftone_shared.runtime.variables import KNOWN, PREFIX
from halftone_workers.settings import WorkerSettings
from scripts import settings_reference

EXAMPLE = Path(__file__).parents[2] / ".env.example"
# Their default depends on the machine, or only `halftone up` sets them.
WITHOUT_DEFAULT = {
    "DATABASE_URL",
    "RABBITMQ_URL",
    "STORAGE_URL",
    "WEBHOOK_SECRET",
    "CODEC_PROCESSES",
    "FETCH_ALLOW",
    "METRICS_PORT",
}
# The required settings, without which the others cannot be read.
GOOD = {
    "database_url": "postgresql://db.example/halftone",
    "rabbitmq_url": "amqp://mq.example",
    "storage_url": "file:///storage",
    "webhook_secret": "whsec_" + "A" * 32,
}
# Settings of the commands that call a running halftone.
COMMANDS = {"URL": DEFAULT_URL, "API_KEY": ""}


def _listed() -> dict[str, str]:
    lines = (line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#"))
    return {
        name.removeprefix(PREFIX): value
        for name, _, value in (line.partition("=") for line in lines)
    }


def test_every_setting_is_listed_and_nothing_else() -> None:
    known = {
        name.upper() for settings in (ApiSettings, WorkerSettings) for name in settings.model_fields
    }
    assert _listed().keys() == known | COMMANDS.keys()
    assert {name: _listed()[name] for name in COMMANDS} == COMMANDS
    assert {PREFIX + name for name in _listed()} == KNOWN


@pytest.mark.parametrize("settings", [ApiSettings, WorkerSettings])
def test_listed_defaults_are_the_code_s(settings: type[BaseSettings]) -> None:
    listed = {name.lower(): value for name, value in _listed().items() if name not in COMMANDS}
    given = {name: value for name, value in listed.items() if value}
    read = load_settings(settings, **(GOOD | given))
    for name, field in settings.model_fields.items():
        if name.upper() in WITHOUT_DEFAULT:
            assert listed[name] == "", name
        else:
            assert getattr(read, name) == field.default, name


def test_every_setting_says_what_it_expects() -> None:
    for settings in (ApiSettings, WorkerSettings):
        assert [
            name for name, field in settings.model_fields.items() if not field.description
        ] == []


def test_generated_files_match_the_settings() -> None:
    assert settings_reference.PAGE.read_text() == settings_reference.page(), "run `make generate`"
    known = settings_reference.KNOWN_VARIABLES.read_text()
    assert known == settings_reference.known_variables(), "run `make generate`"
