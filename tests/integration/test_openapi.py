"""The API's OpenAPI document is complete and correct, and describes every response to calls made
from it.
"""

import inspect
import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any
from urllib.parse import urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import Engine, select
from starlette.responses import Response

from halftone_api import endpoints
from halftone_api.app import create_app
from halftone_api.endpoints import all_endpoints
from halftone_api.errors import ProblemCode
from halftone_api.openapi.document import describe_api
from halftone_shared.db.tables import webhook_events
from halftone_shared.db.webhook_events import freeze_event
from halftone_shared.model.options import Mode
from tests.support.api import ONE_ROW, Api, api_settings, running_api
from tests.support.postgres import TestPostgres

API_SOURCE = Path(__file__).parents[2] / "api" / "src" / "halftone_api"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    with running_api(api_settings(database_url, tmp_path)) as running:
        yield running


def test_every_route_is_described_and_in_the_index_and_in_the_page(api: Api) -> None:
    document = api.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    described = {
        (path, method.upper()) for path, methods in document["paths"].items() for method in methods
    }
    declared = {(each.path, each.method) for each in all_endpoints() if each.described}
    assert described == declared
    links = api.get("/").json()["links"].values()
    page = api.get("/docs").text
    for path, method in declared:
        assert api.settings.public_url + path in links
        assert f"{method} {path}" in page


def test_every_handler_is_declared() -> None:
    """A handler without `@endpoint` has no route, and only this test notices."""
    declared = {each.handler for each in all_endpoints()}
    for module in iter_modules(endpoints.__path__):
        found = import_module(f"{endpoints.__name__}.{module.name}")
        for name, function in inspect.getmembers(found, inspect.isfunction):
            signature = inspect.signature(function)
            takes_a_call = [*signature.parameters] == ["request"]
            public = not name.startswith("_") and function.__module__ == found.__name__
            if public and takes_a_call and signature.return_annotation is Response:
                assert function in declared, f"{module.name}.{name}"


def test_path_of_every_endpoint_has_a_parameter_for_each_variable() -> None:
    for each in all_endpoints():
        if not each.described:
            continue  # a page for people: its links are written by the server
        variables = set(re.findall(r"\{(\w+)", each.path))
        assert variables == {one.name for one in each.parameters if one.where == "path"}, each.path


def test_links_of_a_request_lead_to_endpoints(api: Api) -> None:
    accepted = api.upload(ONE_ROW).json()
    patterns = [re.sub(r"\{\w+\}", "[^/]+", each.path) for each in all_endpoints()]
    for link in accepted["links"].values():
        path = urlsplit(link).path
        assert any(re.fullmatch(pattern, path) for pattern in patterns), link
    status = api.get(f"/api/status/{accepted['request_id']}").json()
    assert accepted["links"] == status["links"] | {"status": status["links"]["self"]}


def test_every_code_is_raised_somewhere_and_explained_in_the_page(api: Api) -> None:
    source = "".join(module.read_text() for module in API_SOURCE.rglob("*.py"))
    page = api.get("/docs").text
    for code in ProblemCode:
        assert len(re.findall(rf'ProblemCode\.{code.name}\b|"{code}"', source)) > 1, code
        assert f'id="{code}"' in page
        assert code.status >= 400
        assert code.meaning.endswith(".")
        assert code.remedy.endswith(".")


def test_file_is_described_as_bytes_with_a_name(api: Api) -> None:
    """Otherwise openapi-python-client, like most generators, sends a text field, which the API
    refuses because it is no file.
    """
    file = api.get("/openapi.json").json()["components"]["schemas"]["Upload"]["properties"]["file"]
    assert (file["type"], file["format"]) == ("string", "binary")


def test_problem_leads_to_its_code_in_the_page(api: Api) -> None:
    problem = api.get("/api/status/none").json()
    path, _, anchor = problem["type"].partition("#")
    page = api.get(path)
    assert page.headers["content-type"].startswith("text/html")
    assert f'id="{anchor}"' in page.text


def test_page_loads_nothing_from_anywhere(api: Api) -> None:
    for path in ("/docs", "/"):
        page = api.get(path, headers={"Accept": "text/html"}).text
        assert not re.search(r"<iframe|url\(|@import", page)
        assert not re.search(r'(?:src|href)="(?:https?:)?//', page)


def test_accepted_upload_and_its_status_are_as_described(api: Api) -> None:
    schema = schemathesis.openapi.from_dict(api.get("/openapi.json").json())
    accepted = api.upload(
        ONE_ROW, fields={"webhook_url": "http://shop.example/hook", "mode": "scale"}
    )
    request_id = accepted.json()["request_id"]
    _validate(schema, "/api/upload", "POST", accepted)
    for query in ("", "?include=products"):
        answer = api.get(f"/api/status/{request_id}{query}")
        _validate(schema, "/api/status/{request_id}", "GET", answer)
    _validate(schema, "/api/details/{request_id}", "GET", api.get(f"/api/details/{request_id}"))
    _validate(schema, "/api/requests", "GET", api.get("/api/requests"))
    _validate(schema, "/api/webhooks/{request_id}", "GET", api.get(f"/api/webhooks/{request_id}"))
    _validate(
        schema, "/api/cancel/{request_id}", "POST", api.call("POST", f"/api/cancel/{request_id}")
    )
    _validate(schema, "/api/webhooks/{request_id}", "GET", api.get(f"/api/webhooks/{request_id}"))


def test_webhook_is_described_as_it_is_sent(api: Api, engine: Engine) -> None:
    document = api.get("/openapi.json").json()
    [sent] = document["webhooks"].values()
    assert sent["post"]["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Ending"
    }
    request_id = api.upload(ONE_ROW, fields={"webhook_url": "http://shop.example/hook"}).json()[
        "request_id"
    ]
    assert api.call("POST", f"/api/cancel/{request_id}").is_success
    with engine.connect() as connection:
        [event_id] = connection.scalars(select(webhook_events.c.id)).all()
        freeze_event(connection, event_id, "http://halftone.example")
    answer = api.get(f"/api/webhooks/{request_id}")
    body = answer.json()["events"][0]["body"]
    assert body["type"] in document["components"]["schemas"]["Ending"]["properties"]["type"]["enum"]
    assert body.keys() == document["components"]["schemas"]["Ending"]["properties"].keys()
    _validate(schemathesis.openapi.from_dict(document), "/api/webhooks/{request_id}", "GET", answer)
    page = api.get("/docs").text
    assert all(name in page for name in ("webhook-id", "request.completed", "output_csv_url"))


def test_every_member_of_an_answer_is_described(api: Api) -> None:
    schemas = api.get("/openapi.json").json()["components"]["schemas"]
    accepted = api.upload(ONE_ROW, fields={"webhook_url": "http://shop.example/hook"}).json()
    request_id = accepted["request_id"]
    assert api.call("POST", f"/api/cancel/{request_id}").is_success
    status = api.get(f"/api/status/{request_id}?include=products").json()
    [event] = api.get(f"/api/webhooks/{request_id}").json()["events"]
    for name, answered in (
        ("Accepted", accepted),
        ("StatusWithProducts", status),
        ("Product", status["products"][0]),
        ("Image", status["products"][0]["images"][0]),
        ("Event", event),
    ):
        assert set(answered) - set(schemas[name]["properties"]) == set(), name


@pytest.mark.parametrize("mode", Mode)
def test_defaults_that_a_client_fills_in_fit_every_mode(api: Api, mode: Mode) -> None:
    form = api.get("/openapi.json").json()["components"]["schemas"]["Upload"]["properties"]
    defaults = {
        name: json.dumps(field["default"]).strip('"')
        for name, field in form.items()
        if "default" in field
    }
    assert {"mode", "format", "strict", "effort", "background"} <= set(defaults)
    assert api.upload(ONE_ROW, fields={**defaults, "mode": mode}).status_code == 202


def _validate(schema: Any, path: str, method: str, response: Any) -> None:
    assert response.is_success, response.text
    response.request.read()
    schema[path][method].validate_response(response)


@pytest.fixture(scope="module")
def schema(postgres: TestPostgres, tmp_path_factory: pytest.TempPathFactory) -> Any:
    url = postgres.new_database()
    app = create_app(api_settings(url, tmp_path_factory.mktemp("storage")))
    return schemathesis.openapi.from_asgi("/openapi.json", app)


DOCUMENT = describe_api("", "")
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]


@pytest.mark.parametrize(
    ("path", "method"), OPERATIONS, ids=[f"{method} {path}" for path, method in OPERATIONS]
)
def test_no_call_gets_an_answer_that_is_not_described(schema: Any, path: str, method: str) -> None:
    operation = schema[path][method]

    @settings(
        max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(
        case=st.sampled_from(GenerationMode).flatmap(
            lambda mode: operation.as_strategy(generation_mode=mode)
        )
    )
    def call(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(checks=CHECKS)

    call()
