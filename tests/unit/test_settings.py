"""Settings from the environment: errors name what is missing or invalid, its value and what is
expected.
"""

import os
from ipaddress import ip_network

import pytest
from pydantic_settings import BaseSettings

from halftone_api.settings import ApiSettings
from halftone_shared.errors import BadSettings
from halftone_shared.runtime.settings import load_settings, load_settings_or_exit, redact
from halftone_workers.settings import WorkerSettings

GOOD = {
    "DATABASE_URL": "postgresql://user:word@db.example:5432/halftone",
    "RABBITMQ_URL": "amqp://user:word@mq.example:5672/vhost",
    "STORAGE_URL": "file:///var/lib/halftone",
    "WEBHOOK_SECRET": "whsec_" + "A" * 32,
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with the required settings and no others of ours."""
    for name in [name for name in os.environ if name.upper().startswith("HALFTONE_")]:
        monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(f"HALFTONE_{name}", value)
    return monkeypatch


def complaint(settings_class: type[BaseSettings] = ApiSettings) -> str:
    with pytest.raises(BadSettings) as caught:
        load_settings(settings_class)
    return "\n".join(caught.value.problems)


def test_api_has_the_defaults_of_the_contract() -> None:
    settings = load_settings(ApiSettings)
    assert settings.public_url == "http://127.0.0.1:8000"
    assert settings.fetch_allow.allowed_networks == ()
    assert settings.auth == "keys"
    assert (settings.max_upload_bytes, settings.max_rows, settings.max_urls_per_product) == (
        104857600,
        1000000,
        100,
    )
    assert settings.max_attempts == 5


def test_workers_have_the_defaults_of_the_contract() -> None:
    settings = load_settings(WorkerSettings)
    assert (settings.max_image_bytes, settings.max_image_pixels, settings.max_image_frames) == (
        52428800,
        50000000,
        500,
    )
    assert (settings.download_timeout_seconds, settings.encode_timeout_seconds) == (30, 30)
    assert (settings.max_attempts, settings.connections_per_host) == (5, 4)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "postgres://db.example/halftone"),
        ("DATABASE_URL", "postgresql://"),
        ("DATABASE_URL", "postgresql:///halftone?host=/run/postgresql"),
        ("RABBITMQ_URL", "amqps://mq.example"),
        ("RABBITMQ_URL", "in-process"),
        ("STORAGE_URL", "s3://bucket"),
        ("STORAGE_URL", "s3://bucket/a/prefix"),
        ("PUBLIC_URL", "https://halftone.example/images"),
        ("AUTH", "off"),
        ("API_PORT", "0"),
        ("API_HOST", "0.0.0.0"),
        ("MAX_UPLOAD_BYTES", "1"),
        ("UPLOAD_TIMEOUT_SECONDS", "0.5"),
        ("UPLOAD_IDLE_SECONDS", "0.5"),
        ("UPLOAD_SPACE_BYTES", "1"),
    ],
)
def test_good_value_is_taken(environment: pytest.MonkeyPatch, variable: str, value: str) -> None:
    environment.setenv(f"HALFTONE_{variable}", value)
    assert str(getattr(load_settings(ApiSettings), variable.lower())) == value


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("DATABASE_URL", "mysql://db.example/halftone", "postgresql://"),
        ("DATABASE_URL", "halftone", "postgresql://"),
        ("DATABASE_URL", "postgresql://db.example:port/halftone", "postgresql://"),
        ("DATABASE_URL", "postgresql://db.example:99999/halftone", "postgresql://"),
        ("DATABASE_URL", "postgresql://db.example/halftone?bogus=1", "postgresql://"),
        ("RABBITMQ_URL", "amqp://queue.example/?bogus=1", "amqp://"),
        ("RABBITMQ_URL", "amqp://queue.example/?heartbeat=often", "amqp://"),
        (
            "RABBITMQ_URL",
            "amqps://queue.example/?ssl_options={'cafile': '/missing.pem'}",
            "amqp://",
        ),
        ("RABBITMQ_URL", "amqps://queue.example/?ssl_options={'cafile'", "amqp://"),
        ("RABBITMQ_URL", "http://mq.example", "amqp://"),
        ("RABBITMQ_URL", "localhost:5672", "amqp://"),
        ("RABBITMQ_URL", "amqp://mq.example:port", "amqp://"),
        ("STORAGE_URL", "/var/lib/halftone", "file:///"),
        ("STORAGE_URL", "gs://bucket", "file:///"),
        ("STORAGE_URL", "file://relative/folder", "file:///"),
        ("STORAGE_URL", "file:relative", "file:///"),
        ("STORAGE_URL", "file://", "file:///"),
        ("STORAGE_URL", "s3://", "s3://bucket"),
        ("PUBLIC_URL", "halftone.example", "http(s)://"),
        ("PUBLIC_URL", "ftp://halftone.example", "http(s)://"),
        ("PUBLIC_URL", "http://", "http(s)://"),
        ("PUBLIC_URL", "http://[::1", "http(s)://"),
        ("PUBLIC_URL", "http://a halftone.example", "http(s)://"),
        ("PUBLIC_URL", "http://halftone.example/?key=1", "http(s)://"),
        ("PUBLIC_URL", "http://halftone.example/#top", "http(s)://"),
        ("FETCH_ALLOW", "10.0.0.1/8", "10.1.0.0/16"),
        ("FETCH_ALLOW", "127.0.0.0/8;10.0.0.0/8", "10.1.0.0/16"),
        ("FETCH_ALLOW", "127.0.0.0/8, localhost", "10.1.0.0/16"),
        ("AUTH", "none", "keys or off"),
        ("AUTH", "Keys", "keys or off"),
        ("API_PORT", "65536", "port"),
        ("API_PORT", "http", "port"),
        ("MAX_UPLOAD_BYTES", "0", "bytes"),
        ("MAX_UPLOAD_BYTES", "100MB", "bytes"),
        ("MAX_UPLOAD_BYTES", "1.5", "bytes"),
        ("MAX_ROWS", "0", "rows"),
        ("MAX_ROWS", "-1", "rows"),
        ("MAX_ROWS", "many", "rows"),
        ("MAX_URLS_PER_PRODUCT", "0", "1 to 10000"),
        ("MAX_URLS_PER_PRODUCT", "10001", "1 to 10000"),
        ("UPLOAD_TIMEOUT_SECONDS", "0", "seconds"),
        ("UPLOAD_TIMEOUT_SECONDS", "-1", "seconds"),
        ("UPLOAD_TIMEOUT_SECONDS", "5m", "seconds"),
        ("UPLOAD_TIMEOUT_SECONDS", "nan", "seconds"),
        ("UPLOAD_TIMEOUT_SECONDS", "inf", "seconds"),
        ("DATABASE_POOL_SIZE", "0", "connections"),
        ("MAX_ATTEMPTS", "0", "1 to 100"),
        ("MAX_ATTEMPTS", "101", "1 to 100"),
        ("LOG_LEVEL", "loud", "debug, info"),
        ("LOG_FORMAT", "xml", "json"),
    ],
)
def test_bad_value_is_named_with_its_variable_and_what_is_expected(
    environment: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    environment.setenv(f"HALFTONE_{variable}", value)
    message = complaint()
    assert f"HALFTONE_{variable}={value!r}: expected " in message
    assert expected in message.partition("expected ")[2]
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("MAX_IMAGE_BYTES", "0", "bytes"),
        ("MAX_IMAGE_PIXELS", "x", "pixels"),
        ("MAX_IMAGE_FRAMES", "0", "frames"),
        ("DOWNLOAD_TIMEOUT_SECONDS", "0", "seconds"),
        ("ENCODE_TIMEOUT_SECONDS", "inf", "seconds"),
        ("CONNECTIONS_PER_HOST", "0", "1 to 1000"),
        ("PRODUCTS_AT_ONCE", "0", "1 to 1000"),
        ("CODEC_PROCESSES", "0", "1 to 256"),
    ],
)
def test_bad_value_of_a_worker_is_named_too(
    environment: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    environment.setenv(f"HALFTONE_{variable}", value)
    message = complaint(WorkerSettings)
    assert f"HALFTONE_{variable}={value!r}: expected " in message
    assert expected in message.partition("expected ")[2]


@pytest.mark.parametrize("variable", ["DATABASE_URL", "RABBITMQ_URL", "STORAGE_URL"])
@pytest.mark.parametrize("value", [None, ""])
def test_variable_that_must_be_set_is_named(
    environment: pytest.MonkeyPatch, variable: str, value: str | None
) -> None:
    environment.delenv(f"HALFTONE_{variable}")
    if value is not None:
        environment.setenv(f"HALFTONE_{variable}", value)
    assert f"HALFTONE_{variable} is not set: expected " in complaint()


def test_every_bad_variable_is_named_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("HALFTONE_DATABASE_URL")
    environment.setenv("HALFTONE_AUTH", "maybe")
    environment.setenv("HALFTONE_MAX_ROWS", "x")
    lines = complaint().splitlines()
    assert [line.split()[0].partition("=")[0] for line in lines] == [
        "HALFTONE_DATABASE_URL",
        "HALFTONE_AUTH",
        "HALFTONE_MAX_ROWS",
    ]


def test_bad_settings_end_a_program_with_2(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("HALFTONE_AUTH", "maybe")
    with pytest.raises(SystemExit) as caught:
        load_settings_or_exit(ApiSettings)
    assert caught.value.code == 2
    assert "HALFTONE_AUTH='maybe': expected keys or off" in capsys.readouterr().err


def test_empty_variable_counts_as_left_out(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HALFTONE_MAX_ROWS", "")
    assert load_settings(ApiSettings).max_rows == 1000000


def test_public_url_loses_its_last_slash(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HALFTONE_PUBLIC_URL", "https://halftone.example/")
    assert load_settings(ApiSettings).public_url == "https://halftone.example"


def test_allowed_networks_are_read(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HALFTONE_FETCH_ALLOW", "127.0.0.0/8, fd00::/8,")
    assert load_settings(ApiSettings).fetch_allow.allowed_networks == (
        ip_network("127.0.0.0/8"),
        ip_network("fd00::/8"),
    )


def test_settings_do_not_change() -> None:
    settings = load_settings(ApiSettings)
    with pytest.raises(ValueError, match="frozen"):
        settings.max_rows = 1


# --- no secrets in messages ---


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "mysql://user:hunter2@db.example/halftone"),
        ("DATABASE_URL", "mysql://user:hunter2@@db.example/halftone"),
        ("DATABASE_URL", "mysql://user:p@hunter2@db.example/halftone"),
        ("DATABASE_URL", "mysql://user:p/hunter2@db.example/halftone"),
        ("DATABASE_URL", "mysql://db.example/halftone?user=u&password=hunter2"),
        ("DATABASE_URL", "user:hunter2@db.example/halftone"),
        ("DATABASE_URL", "host=db.example user=u password=hunter2"),
        ("RABBITMQ_URL", "http://user:hunter2@mq.example"),
        ("RABBITMQ_URL", "user:hunter2@mq.example:5672"),
        ("STORAGE_URL", "gs://key:hunter2@bucket"),
    ],
)
def test_password_in_a_bad_value_is_not_shown(
    environment: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    environment.setenv(f"HALFTONE_{variable}", value)
    message = complaint()
    assert f"HALFTONE_{variable}=" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "secret", ["hunter2", "whsec_hunter2", "whsec hunter2", "whsec_hunter2 hunter2", "hunter2" * 8]
)
def test_bad_webhook_secret_is_refused_and_not_shown(
    environment: pytest.MonkeyPatch, secret: str
) -> None:
    environment.setenv("HALFTONE_WEBHOOK_SECRET", secret)
    message = complaint(WorkerSettings)
    assert "HALFTONE_WEBHOOK_SECRET=" in message
    assert "expected whsec_ followed by at least 24 bytes" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://user:word@mq.example/v", "amqp://…@mq.example/v"),
        ("amqp://user@mq.example/v", "amqp://…@mq.example/v"),
        ("amqp://mq.example/v", "amqp://mq.example/v"),
        ("from amqp://a:b@c to postgresql://d:e@f/g", "from amqp://…@c to postgresql://…@f/g"),
        (f"signed with whsec_{'A' * 32}, so it is", "signed with whsec_… so it is"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_redacting_hides_credentials_and_leaves_the_rest(text: str, shown: str) -> None:
    assert redact(text) == shown
