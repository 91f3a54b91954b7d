"""`halftone origins` and `halftone presets`."""

import json

import pytest

from tests.support.command import answer, problem, run
from tests.support.origin import Answer, Origin

ORIGIN = {
    "host": "shop.example",
    "header_names": ["X-Key"],
    "has_password": True,
    "requests_per_second": 5,
    "connections": None,
    "updated_at": "2026-01-01T00:00:00.000Z",
}


def test_origins_are_listed_without_secrets(origin: Origin) -> None:
    origin.serve("/api/origins", answer({"origins": [ORIGIN]}))
    shown = run("origins", "list", url=origin.url).stdout
    assert shown == "shop.example: headers X-Key, a password, at most 5 requests/s\n"


def test_origin_is_set_with_what_is_given_alone(origin: Origin) -> None:
    origin.serve("/api/origins/shop.example", answer(ORIGIN))
    options = ["--header", "X-Key: a:b", "--requests-per-second", "5", "--connections", "8"]
    assert run("origins", "set", "shop.example", *options, url=origin.url).exit_code == 0
    assert json.loads(origin.posts[0][2]) == {
        "headers": {"X-Key": "a:b"},
        "requests_per_second": 5,
        "connections": 8,
    }


def test_header_without_a_colon_is_refused(origin: Origin) -> None:
    refused = run("origins", "set", "shop.example", "--header", "X-Key", url=origin.url)
    assert refused.exit_code == 2
    assert '"Name: value"' in refused.stderr
    assert not origin.posts


@pytest.mark.parametrize(("given", "exit_code"), [(Answer(status=204), 0), (None, 1)])
def test_origin_is_removed(origin: Origin, given: Answer | None, exit_code: int) -> None:
    missing = problem(404, "not_found", "Nothing is set for this host.")
    origin.serve("/api/origins/shop.example", given or missing)
    removed = run("origins", "remove", "shop.example", url=origin.url)
    assert removed.exit_code == exit_code
