"""How an endpoint is declared: `@endpoint(...)` beside its handler.

Routing, OpenAPI, `/docs`, the index and the metrics' route label all follow from the declarations,
so there is no second list to keep. docs/how-to/add-a-route.md shows how to add one.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from halftone_api.errors import Problem, ProblemCode
from halftone_shared.model.option_kinds import JsonSchema

Handler = Callable[[Request], Response] | Callable[[Request], Awaitable[Response]]
HandlerT = TypeVar("HandlerT", bound=Handler)
T = TypeVar("T")


class Tag(StrEnum):
    """The groups of `/docs` and OpenAPI, in the order in which they are shown."""

    UPLOAD = "Upload"
    REQUESTS = "Requests"
    RESULTS = "Results"
    WEBHOOKS = "Webhooks"
    OPERATIONS = "Operations"
    SERVICE = "The service"


@dataclass(frozen=True)
class Answer:
    """An answer other than a problem. `type` describes a JSON body; other bodies have a media type.

    `type` may be any type that pydantic can describe: a TypedDict, a dataclass, `list[...]`.
    """

    description: str
    type: Any = None
    media_types: tuple[str, ...] = ("application/json",)


@dataclass(frozen=True)
class Body:
    """What a call sends. `schema` is computed when the document is made."""

    schema: Callable[[], JsonSchema]
    media_type: str = "application/json"
    component: str | None = None


@dataclass(frozen=True)
class Parameter(Generic[T]):
    """A parameter of the path, the query or the headers.

    `parse` turns its text into a value and raises ValueError if it cannot. The answer is then 400,
    and `expected` completes its sentence "expected …". `refuse` replaces that 400 by another
    problem, such as 404 for an ID in the path. `default` is the value if the caller omits the
    parameter.
    """

    name: str
    description: str
    schema: JsonSchema
    parse: Callable[[str], T]
    expected: str
    default: T
    where: Literal["path", "query", "header"] = "query"
    refuse: Callable[[str], Problem] | None = None

    def of(self, request: Request) -> T:
        """The value that the caller gave, or the default. Raises Problem."""
        text = self._text(request)
        if text is None:
            return self.default
        try:
            return self.parse(text)
        except ValueError:
            raise self._refused(text) from None

    def _text(self, request: Request) -> str | None:
        if self.where == "path":
            found: str = request.path_params[self.name]
            return found
        if self.where == "header":
            return request.headers.get(self.name)
        return request.query_params.get(self.name)

    def _refused(self, text: str) -> Problem:
        if self.refuse is not None:
            return self.refuse(text)
        return Problem(
            ProblemCode.INVALID_PARAMETER,
            f"{self.name}={text[:100]!r}: expected {self.expected}.",
            parameter=self.name,
        )


@dataclass(frozen=True)
class Endpoint:
    """One method of one path, with everything that routing and documentation need.

    `keyless`: the call needs no API key. `described=False` keeps an endpoint out of OpenAPI and
    `/docs`; only pages for people use it.
    """

    method: str
    path: str
    name: str
    summary: str
    handler: Handler
    tag: Tag = Tag.SERVICE
    aliases: tuple[str, ...] = ()
    description: str = ""
    parameters: tuple[Parameter[Any], ...] = ()
    body: Body | None = None
    answers: Mapping[int, Answer] = field(default_factory=dict)
    problems: tuple[ProblemCode, ...] = ()
    keyless: bool = False
    described: bool = True

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path, *self.aliases)


_DECLARED: list[Endpoint] = []


def endpoint(
    method: str,
    path: str,
    *,
    name: str,
    summary: str,
    answers: Mapping[int, Answer],
    tag: Tag = Tag.SERVICE,
    aliases: tuple[str, ...] = (),
    description: str = "",
    parameters: tuple[Parameter[Any], ...] = (),
    body: Body | None = None,
    problems: tuple[ProblemCode, ...] = (),
    keyless: bool = False,
) -> Callable[[HandlerT], HandlerT]:
    """Declare the decorated function as the handler of `method` and `path`.

    A plain function runs in a thread, an `async` one on the event loop. `name` is the operationId
    and the link's name in the index. `summary` has no full stop. Parameters in the path are
    `{name}`, and each has its Parameter.
    """

    def declare(handler: HandlerT) -> HandlerT:
        _DECLARED.append(
            Endpoint(
                method=method,
                path=path,
                name=name,
                summary=summary,
                handler=handler,
                tag=tag,
                aliases=aliases,
                description=description,
                parameters=parameters,
                body=body,
                answers=answers,
                problems=problems,
                keyless=keyless,
            )
        )
        return handler

    return declare


def page(
    method: str, path: str, *, parameters: tuple[Parameter[Any], ...] = ()
) -> Callable[[HandlerT], HandlerT]:
    """Declare the decorated function as a page for people: routed, but not part of the API."""

    def declare(handler: HandlerT) -> HandlerT:
        _DECLARED.append(
            Endpoint(
                method=method,
                path=path,
                name=handler.__name__,
                summary="",
                handler=handler,
                parameters=parameters,
                keyless=True,
                described=False,
            )
        )
        return handler

    return declare


def declared_endpoints() -> list[Endpoint]:
    """All declarations so far, in the order of `/docs`; see endpoints.all_endpoints()."""
    order = list(Tag)
    return sorted(_DECLARED, key=lambda each: order.index(each.tag))
