"""`halftone origins` and `halftone presets`."""

import json

import pytest

from tests.support.command import answer, problem, run
from tests.support.origin import Answer, Origin


def test_origin_is_set_with_what_is_given_alone(origin: Origin) -> None:
    origin.serve("/api/origins/shop.example", answer({"host": "shop.example"}))
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
