"""A stolen copy of the database reveals no key and no secret."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from halftone_shared.db.api_keys import create_key
from halftone_shared.errors import SecretUnreadable
from halftone_shared.model.secret_box import SecretBox
from halftone_shared.model.signing import new_secret
from tests.support.api import ONE_ROW, Api, api_settings, running_api
from tests.support.stored import query


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    with running_api(api_settings(database_url, tmp_path, auth="keys")) as running:
        yield running


def test_database_holds_no_key_and_no_secret(api: Api) -> None:
    secret = new_secret()
    with api.engine.connect() as connection:
        made = create_key(connection, "anna")
    answer = api.upload(
        ONE_ROW,
        fields={
            "webhook_url": "http://bob:hunter2@shop.example/hook",
            "webhook_secret": secret,
        },
        headers={"Authorization": f"Bearer {made.secret}", "Idempotency-Key": "once"},
    )
    assert answer.status_code == 202
    dump = _dump(api)
    assert str(made.id) in dump
    for told in (
        made.secret,
        made.secret.removeprefix("ht_"),
        secret,
        secret.removeprefix("whsec_"),
        "hunter2",
    ):
        assert told not in dump
        assert told.encode().hex() not in dump
    (row,) = query(api.engine, "SELECT webhook_secret, webhook_sealed_url FROM requests")
    box = SecretBox(api.settings.webhook_secret)
    assert box.open(row.webhook_secret) == secret
    assert box.open(row.webhook_sealed_url) == "http://bob:hunter2@shop.example/hook"


def test_secret_is_sealed_otherwise_each_time_and_opens_under_its_key_alone() -> None:
    box, secret = SecretBox(new_secret()), new_secret()
    sealed = box.seal(secret)
    assert sealed != box.seal(secret)
    assert box.open(sealed) == secret
    another = "B" if sealed[20] == "A" else "A"
    for broken in (sealed[:-2], sealed[:20] + another + sealed[21:], "", "whsec_plain"):
        with pytest.raises(SecretUnreadable):
            box.open(broken)
    with pytest.raises(SecretUnreadable):
        SecretBox(new_secret()).open(sealed)


def _dump(api: Api) -> str:
    """Every row of every table, as text."""
    with api.engine.connect() as connection:
        tables = (
            connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
            .scalars()
            .all()
        )
        every_row = [text(f"SELECT t::text FROM {name} AS t") for name in tables]  # noqa: S608 - the database's own names
        rows = [row for query in every_row for row in connection.execute(query).scalars()]
    assert "requests" in tables
    return "\n".join(rows)
