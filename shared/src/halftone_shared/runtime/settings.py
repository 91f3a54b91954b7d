"""Settings from the environment, checked at start. Each variable is HALFTONE_ plus the field's name
in capitals.

A variable may also be a file of the same name in lower case under /run/secrets (Docker and
Kubernetes secrets); the environment wins. `.env.example` lists every variable with its unit and
default; a test compares the two.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from halftone_shared.errors import BadSettings
from halftone_shared.model.addresses import FetchRule, parse_networks
from halftone_shared.model.signing import secret_problem
from halftone_shared.runtime.variables import PREFIX

SECRETS_FOLDER = Path("/run/secrets")
IN_PROCESS_QUEUE = "in-process"


def _split_networks(value: object) -> object:
    return FetchRule(parse_networks(value.split(","))) if isinstance(value, str) else value


def _url(*schemes: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in schemes:
            raise ValueError("wrong scheme")
        if parts.port == 0:  # reading an invalid port raises
            raise ValueError("no port")
        if parts.scheme in ("s3", "http", "https") and not parts.hostname:
            raise ValueError("no host")
        if parts.scheme == "file" and (parts.netloc or not parts.path.startswith("/")):
            raise ValueError("no absolute folder")
        return value

    return check


def _database_url(value: str) -> str:
    import psycopg.conninfo  # imported here: without a database the driver may be missing

    try:
        psycopg.conninfo.conninfo_to_dict(_url("postgresql", "postgres")(value))
    except psycopg.Error as error:
        raise ValueError(error) from None
    return value


def _public_url(value: str) -> str:
    parts = urlsplit(_url("http", "https")(value))
    if parts.query or parts.fragment or re.search(r"\s", value):
        raise ValueError("no base of URLs")
    return value.rstrip("/")


def _base_url(value: str) -> str:
    return _public_url(value) if value else value


def _broker_url(value: str) -> str:
    if value == IN_PROCESS_QUEUE:
        return value
    import pika  # imported here: migrations do not need it

    try:
        pika.URLParameters(_url("amqp", "amqps")(value))
    except Exception as error:  # noqa: BLE001 - ssl_options are read as Python and name files: anything can fail
        raise ValueError(error) from None
    return value


def _secret(value: str) -> str:
    if problem := secret_problem(value):
        raise ValueError(problem)
    return value


DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
BrokerUrl = Annotated[str, AfterValidator(_broker_url)]
StorageUrl = Annotated[str, AfterValidator(_url("file", "s3"))]
ProcessorUrl = Annotated[str, AfterValidator(_url("http", "https"))]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
WebhookSecret = Annotated[str, AfterValidator(_secret)]
FetchAllow = Annotated[FetchRule, NoDecode, BeforeValidator(_split_networks)]


class DatabaseSettings(BaseSettings):
    """Settings of every part; migrations need only these. A field's description is the expected
    form shown in the message for a bad value.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        arbitrary_types_allowed=True,
        secrets_dir=SECRETS_FOLDER if SECRETS_FOLDER.is_dir() else None,
    )

    database_url: DatabaseUrl = Field(description="postgresql://user:password@host:5432/database")


class CommonSettings(DatabaseSettings):
    """Settings of both API and workers."""

    rabbitmq_url: BrokerUrl = Field(description="amqp://user:password@host:5672/vhost")
    queue_type: Literal["classic", "quorum"] = Field("classic", description="classic or quorum")
    storage_url: StorageUrl = Field(description="file:///directory or s3://bucket/prefix")
    public_url: PublicUrl = Field(
        "http://127.0.0.1:8000", description="http(s)://host[:port], as clients reach the API"
    )
    fetch_allow: FetchAllow = Field(
        FetchRule(), description="networks like 10.1.0.0/16, separated by commas"
    )
    webhook_secret: WebhookSecret = Field(
        description="whsec_ followed by at least 24 bytes in base64"
    )
    processor_url: ProcessorUrl | None = Field(
        None, description="http(s)://host[:port]/path of an image processing service, or nothing"
    )
    processor_secret: WebhookSecret | None = Field(
        None, description="whsec_ followed by at least 24 bytes in base64"
    )
    processor_timeout_seconds: float = Field(
        300, gt=0, le=86400, description="a number of seconds above 0, at most 86400"
    )
    retention_days: int = Field(
        0, ge=0, le=36500, description="a whole number of days, 0 to keep everything"
    )
    max_attempts: int = Field(5, ge=1, le=100, description="a whole number from 1 to 100")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="debug, info, warning or error"
    )
    log_format: Literal["json", "console"] = Field("json", description="json or console")


SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load_settings(settings_class: type[SettingsT], **overrides: Any) -> SettingsT:
    """Read and check the environment. Raises BadSettings naming every missing or invalid
    variable.
    """
    try:
        return settings_class(**overrides)
    except ValidationError as error:
        raise BadSettings(_explain(settings_class, problem) for problem in error.errors()) from None


def load_settings_or_exit(settings_class: type[SettingsT], **overrides: Any) -> SettingsT:
    """Like load_settings, for a program's start: prints the problems and exits with 2."""
    with exit_on_bad_settings():
        return load_settings(settings_class, **overrides)


def take_no_arguments(program: str, what: str) -> None:
    """For a program without arguments: answer --help, and refuse any argument instead of ignoring
    it.
    """
    argparse.ArgumentParser(
        program,
        description=what,
        epilog=f"Every setting is a variable of the environment, {PREFIX}… (.env.example).",
    ).parse_args()


@contextmanager
def exit_on_bad_settings() -> Iterator[None]:
    """For a program's start: print BadSettings raised in this block and exit with 2."""
    try:
        yield
    except BadSettings as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


def _explain(settings_class: type[BaseSettings], problem: Any) -> str:
    name = str(problem["loc"][0])
    variable = PREFIX + name.upper()
    field = settings_class.model_fields[name]
    expected = f"expected {field.description}" if field.description else problem["msg"]
    if problem["type"] == "missing":
        return f"{variable} is not set: {expected}."
    shown = "…" if "secret" in name else repr(redact(str(problem["input"])))
    return f"{variable}={shown}: {expected}."


def redact(text: str) -> str:
    """Remove passwords and signing secrets from a text, for messages and logs."""
    text = re.sub(r"://\S*@", "://…@", text)
    text = re.sub(r"(?<!\S)[^\s:/]+:(?!//)\S*@", "…@", text)  # user:password@host without a scheme
    text = re.sub(r"(?i)(password|passwd|pwd)=[^&\s]*", r"\1=…", text)
    return re.sub(r"whsec_\S+", "whsec_…", text)
