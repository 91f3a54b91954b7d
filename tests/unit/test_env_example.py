"""`.env.example` lists every setting, with the default that the code has."""

from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from halftone_api.settings import ApiSettings
from halftone_cli.client_commands import DEFAULT_URL
from halftone_shared.settings import PREFIX
from halftone_workers.settings import WorkerSettings

EXAMPLE = Path(__file__).parents[2] / ".env.example"
# Their default depends on the machine, or is given by `halftone up` alone.
WITHOUT_DEFAULT = {
    "DATABASE_URL",
    "RABBITMQ_URL",
    "STORAGE_URL",
    "WEBHOOK_SECRET",
    "CODEC_PROCESSES",
    "FETCH_ALLOW",
    "METRICS_PORT",
}

# Those that the commands read which speak to a running halftone.
COMMANDS = {"URL": DEFAULT_URL, "API_KEY": ""}


def _listed() -> dict[str, str]:
    lines = (line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#"))
    return {name.removeprefix(PREFIX): value for name, _, value in (line.partition("=") for line in lines)}


def test_every_setting_is_listed_and_nothing_else() -> None:
    known = {name.upper() for settings in (ApiSettings, WorkerSettings) for name in settings.model_fields}
    assert _listed().keys() == known | COMMANDS.keys()
    assert {name: _listed()[name] for name in COMMANDS} == COMMANDS


@pytest.mark.parametrize("settings", [ApiSettings, WorkerSettings])
def test_listed_defaults_are_the_code_s(settings: type[BaseSettings]) -> None:
    for name, field in settings.model_fields.items():
        listed = _listed()[name.upper()]
        if name.upper() in WITHOUT_DEFAULT:
            assert listed == "", name
        else:
            assert listed == f"{field.default:g}" if isinstance(field.default, float) else str(field.default), name


def test_every_setting_says_what_it_expects() -> None:
    for settings in (ApiSettings, WorkerSettings):
        assert [name for name, field in settings.model_fields.items() if not field.description] == []
