"""The presets that an upload can name, as the API lists them."""

import pytest

from halftone_api.endpoints.presets import preset_object
from halftone_shared.presets import load_presets
from tests.support.api import Api
from tests.support.routes import problem_of


def test_every_preset_is_listed_with_options_and_rules(api: Api) -> None:
    listed = api.get("/api/presets").json()["presets"]
    assert [preset["name"] for preset in listed] == list(load_presets())
    for preset in listed:
        assert preset == preset_object(load_presets()[preset["name"]])


@pytest.mark.parametrize("path", ["/api/presets", "/api/presets/"])
def test_presets_want_a_key(guarded: Api, path: str) -> None:
    problem_of(guarded.get(path), 401, "unauthorized")
