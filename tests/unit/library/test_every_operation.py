"""The library and the command can do everything that the API can do.

OPERATIONS is the only list. Add each new route to it. A new upload option needs no entry: every
side takes it from its declaration.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import typer

import halftone
from halftone import _calls as calls
from halftone_api.openapi.document import describe_api
from halftone_cli.main import app

ID = "ID"
DOCUMENT = describe_api("0", "http://127.0.0.1:8000")


@dataclass(frozen=True)
class Offered:
    """How to call an operation: the library's call and method, and the command.

    `reason` says why the library or the command leaves out an operation. `internal` lists
    parameters that the library fills in itself.
    """

    call: Callable[[], calls.Call[Any]] | None = None
    method: str | None = None
    command: str | None = None
    internal: frozenset[str] = frozenset()
    reason: str | None = None


PAGES = frozenset({"limit", "cursor"})
OPERATIONS = {
    "upload": Offered(lambda: calls.upload("key"), "upload", "submit"),
    "check": Offered(calls.check, "check", "check"),
    "status": Offered(lambda: calls.status(ID), "status", "status", frozenset({"include"})),
    "details": Offered(
        lambda: calls.products(ID, cursor=None, limit=1, status=None, error_code=None),
        "products",
        "details",
        PAGES,
    ),
    "requests": Offered(
        lambda: calls.requests(cursor=None, limit=1, status=None, error_code=None, search=None),
        "requests",
        "requests --totals",
        PAGES | {"include"},  # `request_totals` sends it
    ),
    "download": Offered(lambda: calls.download(ID), "download", "download", frozenset({"report"})),
    "archive": Offered(lambda: calls.archive(ID, variant=None), "archive", "download --zip"),
    "events": Offered(
        lambda: calls.events(ID, None), "events", "status --watch", frozenset({"Last-Event-ID"})
    ),
    "cancel": Offered(lambda: calls.cancel(ID), "cancel", "cancel"),
    "retry": Offered(lambda: calls.retry(ID), "retry", "retry"),
    "retry_all": Offered(
        lambda: calls.retry_all(error_code=None, since_seconds=None), "retry_all", "retry --all"
    ),
    "delete": Offered(lambda: calls.delete(ID), "delete", "delete"),
    "webhooks": Offered(lambda: calls.webhooks(ID), "webhooks", "webhooks"),
    "replay": Offered(lambda: calls.replay(ID), "replay", "webhooks --replay"),
    "presets": Offered(calls.presets, "presets", "presets"),
    "origins": Offered(calls.origins, "origins", "origins list"),
    "origin": Offered(lambda: calls.origin(ID), "origin", "origins list"),
    "set_origin": Offered(lambda: calls.set_origin(ID), "set_origin", "origins set"),
    "remove_origin": Offered(lambda: calls.remove_origin(ID), "remove_origin", "origins remove"),
    "paused_hosts": Offered(calls.paused_hosts, "paused_hosts", "hosts list"),
    "pause_host": Offered(lambda: calls.pause_host(ID), "pause_host", "hosts pause"),
    "resume_host": Offered(lambda: calls.resume_host(ID), "resume_host", "hosts resume"),
    "index": Offered(calls.service, "service", "doctor"),
    "ready": Offered(calls.ready, "ready", "doctor"),
    "image": Offered(
        lambda: calls.image("/api/image/ID"), "image", "download --zip", frozenset({"filename"})
    ),
    "named_image": Offered(
        lambda: calls.image("/api/image/ID/ID"), "image", "download --zip", frozenset({"name"})
    ),
    "failures": Offered(lambda: calls.failures(ID), "failures", "status"),
    "operations": Offered(calls.operations, "operations", "queues"),
    "openapi": Offered(reason="a description for generators, which read it themselves"),
    "docs": Offered(reason="a page for browsers"),
    "health": Offered(reason="a probe for load balancers; `ready` says more"),
    "metrics": Offered(reason="for Prometheus"),
    "callback": Offered(reason="called by an external image processor, not by clients"),
}


def described() -> Iterator[tuple[str, str, str, list[dict[str, Any]]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            parameters = operation.get("parameters", [])
            yield operation["operationId"], method.upper(), path, parameters


def test_every_operation_is_in_the_list() -> None:
    names = {name for name, *_ in described()}
    assert names == OPERATIONS.keys()


@pytest.mark.parametrize(("name", "method", "path", "parameters"), list(described()))
def test_operation_is_in_the_library_and_the_command(
    name: str, method: str, path: str, parameters: list[dict[str, Any]]
) -> None:
    offered = OPERATIONS[name]
    if offered.reason is not None:
        return
    assert offered.call is not None
    assert offered.method is not None
    assert offered.command is not None
    call = offered.call()
    in_path = [each["name"] for each in parameters if each["in"] == "path"]
    assert (call.method, call.path) == (method, path.format(**dict.fromkeys(in_path, ID)))
    wanted = {each["name"] for each in parameters} - offered.internal
    for client in (halftone.Client, halftone.AsyncClient):
        known = set(inspect.signature(getattr(client, offered.method)).parameters)
        lacking = {each for each in wanted if not _spellings(each) & known}
        assert lacking <= {"id"}, f"{client.__name__}.{offered.method} lacks {lacking}"
    _check_command(offered.command)


def _spellings(parameter: str) -> set[str]:
    """A parameter's names in Python: `as` is a keyword, and headers contain dashes."""
    if parameter == "q":
        return {"search"}
    snake = parameter.lower().replace("-", "_")
    return {snake, f"{snake}_"}


def _check_command(line: str) -> None:
    """Whether a command exists and takes the flags after it."""
    found: Any = typer.main.get_command(app)
    for word in line.split():
        if word.startswith("--"):
            assert word in {flag for option in found.params for flag in option.opts}, line
        else:
            assert word in found.commands, line
            found = found.commands[word]


def test_every_option_of_an_upload_is_in_the_library_and_the_commands() -> None:
    declared = set(DOCUMENT["components"]["schemas"]["Upload"]["properties"]) - {"file"}
    assert {option.name for option in halftone.UPLOAD_OPTIONS} == declared
    assert set(halftone.UploadOptions.__annotations__) == declared
    commands: Any = typer.main.get_command(app)
    for command in ("submit", "check"):
        options = {option.name for option in commands.commands[command].params}
        assert declared <= options, command


def test_every_setting_of_an_origin_is_in_the_library_and_the_command() -> None:
    operation = DOCUMENT["paths"]["/api/origins/{host}"]["put"]
    (body,) = operation["requestBody"]["content"].values()
    settings = set(body["schema"]["properties"])
    assert settings <= set(inspect.signature(halftone.Client.set_origin).parameters)
    commands: Any = typer.main.get_command(app)
    options = {option.name for option in commands.commands["origins"].commands["set"].params}
    assert settings <= options


@pytest.mark.parametrize("name", sorted(vars(halftone.Request).keys() - vars(object).keys()))
def test_request_offers_the_calls_of_its_client(name: str) -> None:
    member = getattr(halftone.Request, name)
    if not name.startswith("_") and callable(member):
        assert callable(getattr(halftone.Client, name))
        assert inspect.signature(member).parameters.keys() - {"self"} <= (
            inspect.signature(getattr(halftone.Client, name)).parameters.keys()
        )
