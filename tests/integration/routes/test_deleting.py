"""DELETE /api/requests/{id} deletes the request and its files, and nothing of other requests."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from halftone_shared.service import sweeper
from halftone_shared.service.sweeper import Sweeper
from tests.support.api import Api, stored_rows
from tests.support.routes import ended_with_image, problem_of, upload
from tests.support.stored import execute


def _files(api: Api) -> set[str]:
    """The names of all stored images. The tests of this folder share a storage."""
    folder = Path(urlsplit(api.settings.storage_url).path)
    return {path.name for path in folder.rglob("*") if path.is_file()}


def _delete(api: Api, request_id: object) -> int:
    return api.call("DELETE", f"/api/requests/{request_id}").status_code


def test_ended_request_is_gone_with_its_rows_and_files(api: Api) -> None:
    request_id, other = upload(api), upload(api)
    name, kept = ended_with_image(api, request_id), ended_with_image(api, other)
    assert _delete(api, request_id) == 204
    problem_of(api.get(f"/api/status/{request_id}"), 404, "not_found")
    problem_of(api.get(f"/api/image/{name}"), 404, "not_found")
    assert {name, kept} & _files(api) == {kept}
    assert stored_rows(api.engine)["requests"] == stored_rows(api.engine)["products"] == 1
    assert api.get(f"/api/image/{kept}").status_code == 200
    assert _delete(api, request_id) == 404


def test_running_request_is_not_deleted(api: Api) -> None:
    request_id = upload(api)
    problem_of(api.call("DELETE", f"/api/requests/{request_id}"), 409, "not_ended")
    assert api.get(f"/api/status/{request_id}").json()["status"] == "PENDING"


def test_undelivered_webhook_does_not_keep_what_its_owner_deletes(api: Api) -> None:
    request_id = upload(api)
    execute(api.engine, "UPDATE requests SET webhook_url = 'http://127.0.0.1:9/hook'")
    ended_with_image(api, request_id)
    assert stored_rows(api.engine)["webhook_events"] == 1
    assert _delete(api, request_id) == 204
    assert stored_rows(api.engine)["webhook_events"] == 0


def test_large_request_is_hidden_at_once_and_swept_behind_the_answer(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "MAX_PRODUCTS_AT_ONCE", 0)
    request_id = upload(api)
    name = ended_with_image(api, request_id)
    assert _delete(api, request_id) == 204
    problem_of(api.get(f"/api/image/{name}"), 404, "not_found")
    assert name in _files(api)
    assert Sweeper(api.engine, api.store, retention_days=0).sweep() == 1
    assert name not in _files(api)
    assert stored_rows(api.engine)["products"] == 0
