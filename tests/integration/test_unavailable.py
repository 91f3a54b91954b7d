"""Uploads while the database or disk space is unavailable: answered 503, and nothing is stored."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from tests.support.api import ONE_ROW, api_settings, running_api
from tests.support.halftone import free_port


def test_upload_while_the_database_is_away_is_503(tmp_path: Path) -> None:
    dead = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    with running_api(api_settings(dead, tmp_path)) as api:
        response = api.upload(ONE_ROW)
    assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) > 0


@pytest.mark.parametrize("path", ["/", "/requests", "/operations", "/api/requests"])
def test_page_while_the_database_is_away_says_so_with_the_id_of_the_call(
    tmp_path: Path, path: str
) -> None:
    dead = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    with running_api(api_settings(dead, tmp_path)) as api:
        page = api.get(path, headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert "What to do" in page.text
    assert page.headers["x-request-id"] in page.text


@pytest.mark.parametrize(
    "failure",
    [
        "RAISE 'could not extend file' USING ERRCODE = 'disk_full'",
        "PERFORM pg_terminate_backend(pg_backend_pid())",
    ],
    ids=["full disk", "restart"],
)
def test_database_that_fails_in_the_middle_of_an_upload_is_503_and_leaves_nothing(
    tmp_path: Path, database_url: str, engine: Engine, failure: str
) -> None:
    with engine.connect() as connection:
        connection.execute(
            text(
                f"CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {failure};"
                " RETURN NEW; END$$"
            )
        )
        connection.execute(
            text(
                "CREATE TRIGGER fail BEFORE INSERT ON products FOR EACH ROW WHEN (NEW.seq = 2)"
                " EXECUTE FUNCTION fail()"
            )
        )
    with running_api(api_settings(database_url, tmp_path)) as api:
        response = api.upload(ONE_ROW + "2,SKU2,http://shop.example/b.jpg\n")
        assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
        assert api.get("/api/requests").json()["requests"] == []
        with engine.connect() as connection:
            connection.execute(text("DROP TRIGGER fail ON products"))
        assert api.upload(ONE_ROW).status_code == 202


def test_upload_without_room_for_its_temporary_file_is_503(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with running_api(api_settings(database_url, tmp_path)) as api:
        response = api.upload(ONE_ROW + "\n" * 2_000_000)
        assert (response.status_code, response.json()["code"]) == (503, "storage_unavailable")
        monkeypatch.undo()
        assert api.upload(ONE_ROW + "\n" * 2_000_000).status_code == 202
