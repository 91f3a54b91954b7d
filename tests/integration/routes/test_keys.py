"""Who may call: keys. Each owner sees only its own requests."""

from typing import Any
from uuid import uuid4

import pytest

from halftone_api.endpoints import all_endpoints
from halftone_shared.db.api_keys import create_key, revoke_key
from halftone_shared.errors import KeyNameAmbiguous, KeyNameTaken
from tests.support.api import Api
from tests.support.csv_files import HEADER
from tests.support.routes import DATA, URL, ended_with_image, problem_of, upload
from tests.support.stored import execute, finish, query

KEYED = [
    (endpoint.method, path)
    for endpoint in all_endpoints()
    if not endpoint.keyless
    for path in endpoint.paths
]
OF_A_REQUEST = [(method, path) for method, path in KEYED if "{request_id}" in path]


def new_key(api: Api, owner: str | None = None, **how: Any) -> dict[str, str]:
    """The header of a new key, by default of a new owner."""
    with api.engine.connect() as connection:
        made = create_key(connection, owner or f"owner {uuid4()}", **how)
    return {"Authorization": f"Bearer {made.secret}"}


def test_routes_with_keys_are_known_to_the_tests() -> None:
    assert {
        "/api/upload",
        "/upload",
        "/api/status/{request_id}",
        "/status/{request_id}",
        "/api/requests",
    } <= {path for _, path in KEYED}
    assert len(OF_A_REQUEST) >= 4


@pytest.mark.parametrize(("method", "path"), KEYED)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer ht_wrong"},
        {"Authorization": "Basic dXNlcjp3b3Jk"},
        {"X-Api-Key": "ht_wrong"},
    ],
    ids=[
        "no header",
        "empty",
        "no key",
        "blank key",
        "wrong key",
        "another scheme",
        "another header",
    ],
)
def test_call_without_a_good_key_is_401(
    guarded: Api, method: str, path: str, headers: dict[str, str]
) -> None:
    key = new_key(guarded)
    request_id = upload(guarded, headers=key)
    response = guarded.call(
        method, path.format(request_id=request_id, host="shop.example"), headers=headers
    )
    problem_of(response, 401, "unauthorized")
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert len(query(guarded.engine, "SELECT FROM requests")) == 1


def test_upload_without_a_key_stores_nothing(guarded: Api) -> None:
    problem_of(guarded.upload(f"{HEADER}1,A,{URL}\n"), 401, "unauthorized")
    assert query(guarded.engine, "SELECT FROM requests") == []


@pytest.mark.parametrize(
    "path",
    [
        "/api/requests?limit=0",
        "/api/requests?cursor=x",
        "/api/details/{id}?limit=0",
        "/api/status/nonsense",
    ],
)
def test_key_is_asked_for_before_anything_else(guarded: Api, path: str) -> None:
    problem_of(guarded.get(path.format(id=uuid4())), 401, "unauthorized")


def test_revoked_key_is_401(guarded: Api) -> None:
    with guarded.engine.connect() as connection:
        made = create_key(connection, "test")
    header = {"Authorization": f"Bearer {made.secret}"}
    request_id = upload(guarded, headers=header)
    assert guarded.get(f"/api/status/{request_id}", headers=header).status_code == 200
    with guarded.engine.connect() as connection:
        assert revoke_key(connection, made.id)
    for method, path in KEYED:
        response = guarded.call(
            method, path.format(request_id=request_id, host="shop.example"), headers=header
        )
        problem_of(response, 401, "unauthorized")


def test_key_works_whatever_the_case_of_its_scheme(guarded: Api) -> None:
    key = new_key(guarded)["Authorization"].removeprefix("Bearer ")
    for scheme in ("Bearer", "bearer", "BEARER", "Bearer "):
        assert (
            guarded.get("/api/requests", headers={"Authorization": f"{scheme} {key}"}).status_code
            == 200
        )


@pytest.mark.parametrize(("method", "path"), OF_A_REQUEST)
def test_request_of_another_key_is_404(guarded: Api, method: str, path: str) -> None:
    mine, other = new_key(guarded, "mine"), new_key(guarded, "other")
    request_id = upload(guarded, headers=mine)
    finish(guarded.engine, request_id, 1)
    response = guarded.call(
        method, path.format(request_id=request_id, host="shop.example"), headers=other
    )
    hidden = problem_of(response, 404, "not_found")
    unknown = uuid4()
    absent = problem_of(
        guarded.call(method, path.format(request_id=unknown, host="shop.example"), headers=other),
        404,
        "not_found",
    )
    assert str(hidden).replace(str(request_id), str(unknown)) == str(absent), (
        "it can be told from one that is not there"
    )


def test_list_holds_only_the_keys_own_requests(guarded: Api) -> None:
    keys = [new_key(guarded), new_key(guarded)]
    ids = [[str(upload(guarded, headers=key)) for _ in range(3)] for key in keys]
    for key, own in zip(keys, ids, strict=True):
        listed = guarded.get("/api/requests", headers=key).json()["requests"]
        assert [request["request_id"] for request in listed] == own[::-1]


def test_cursor_of_another_key_leads_to_ones_own_requests(guarded: Api) -> None:
    mine, other = new_key(guarded), new_key(guarded)
    own = upload(guarded, headers=mine)
    for _ in range(2):
        upload(guarded, headers=other)
    cursor = guarded.get("/api/requests?limit=1", headers=other).json()["next_cursor"]
    listed = guarded.get("/api/requests", params={"cursor": cursor}, headers=mine).json()[
        "requests"
    ]
    assert [request["request_id"] for request in listed] == [str(own)]


def test_images_and_health_need_no_key(guarded: Api) -> None:
    name = ended_with_image(guarded, upload(guarded, headers=new_key(guarded)))
    assert guarded.get(f"/api/image/{name}").content == DATA
    for path in ("/", "/healthz", "/readyz"):
        assert guarded.get(path).status_code == 200


def test_key_is_stored_hashed(guarded: Api) -> None:
    key = new_key(guarded)["Authorization"].removeprefix("Bearer ")
    upload(guarded, headers={"Authorization": f"Bearer {key}"})
    (stored,) = query(guarded.engine, "SELECT to_jsonb(api_keys)::text AS columns FROM api_keys")
    assert key not in stored.columns
    assert key.encode().hex() not in stored.columns


# --- owners ---


def test_owner_sees_what_was_uploaded_with_any_of_their_keys(guarded: Api) -> None:
    laptop, server = new_key(guarded, "shop", name="laptop"), new_key(guarded, "shop")
    request_id = upload(guarded, headers=laptop)
    assert guarded.get(f"/api/status/{request_id}", headers=server).status_code == 200
    assert guarded.get("/api/requests", headers=server).json()["requests"]


def test_admin_key_sees_every_owner_s_requests_and_may_cancel_them(guarded: Api) -> None:
    request_id = upload(guarded, headers=new_key(guarded))
    admin = new_key(guarded, "operator", is_admin=True)
    assert guarded.get(f"/api/status/{request_id}", headers=admin).status_code == 200
    assert len(guarded.get("/api/requests", headers=admin).json()["requests"]) == 1
    assert guarded.call("POST", f"/api/cancel/{request_id}", headers=admin).status_code == 202


def test_key_can_be_rotated_without_losing_requests(guarded: Api) -> None:
    old = new_key(guarded, "shop")
    request_id = upload(guarded, headers=old)
    new = new_key(guarded, "shop")
    with guarded.engine.connect() as connection:
        assert revoke_key(connection, "shop") is not None
    problem_of(guarded.get("/api/requests", headers=old), 401, "unauthorized")
    assert guarded.get(f"/api/status/{request_id}", headers=new).status_code == 200


def test_idempotency_key_counts_for_all_keys_of_an_owner(guarded: Api) -> None:
    csv = f"{HEADER}1,A,{URL}\n"
    answers = [
        guarded.upload(csv, headers={**new_key(guarded, "shop"), "Idempotency-Key": "one"})
        for _ in range(2)
    ]
    assert len({answer.json()["request_id"] for answer in answers}) == 1


def test_last_use_is_noted_at_most_once_a_minute(guarded: Api) -> None:
    key = new_key(guarded)
    used = "SELECT last_used_at, xmin::text AS version FROM api_keys"
    guarded.get("/api/requests", headers=key)
    first = query(guarded.engine, used)
    assert first[0].last_used_at is not None
    guarded.get("/api/requests", headers=key)
    assert query(guarded.engine, used) == first
    execute(guarded.engine, "UPDATE api_keys SET last_used_at = now() - interval '2 minutes'")
    guarded.get("/api/requests", headers=key)
    assert query(guarded.engine, used)[0].last_used_at > first[0].last_used_at


def test_key_without_a_name_is_called_as_its_owner(guarded: Api) -> None:
    with guarded.engine.connect() as connection:
        assert [create_key(connection, "shop").name for _ in range(3)] == [
            "shop",
            "shop-2",
            "shop-3",
        ]


def test_name_of_a_valid_key_is_refused_for_the_same_owner(guarded: Api) -> None:
    with guarded.engine.connect() as connection:
        create_key(connection, "shop", name="laptop")
        with pytest.raises(KeyNameTaken, match="'laptop'"):
            create_key(connection, "shop", name="laptop")
        revoke_key(connection, "laptop")
        create_key(connection, "shop", name="laptop")


def test_name_that_several_owners_use_is_not_revoked_by_guess(guarded: Api) -> None:
    with guarded.engine.connect() as connection:
        first, second = (create_key(connection, owner, name="laptop") for owner in "ab")
        with pytest.raises(KeyNameAmbiguous, match=f"{first.id}.*{second.id}|{second.id}.*"):
            revoke_key(connection, "laptop")
        assert revoke_key(connection, str(second.id)) == second.id
        assert revoke_key(connection, "laptop") == first.id
        assert revoke_key(connection, "laptop") is None
