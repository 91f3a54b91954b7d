"""Starlette's routes, made from the declared endpoints."""

import inspect
from collections.abc import Iterable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from halftone_api.endpoints import all_endpoints
from halftone_api.endpoints.declaration import Endpoint, Handler


def make_routes() -> list[Route]:
    """One route for each path and alias, with all its methods, so that a 405 can list them all."""
    by_path: dict[str, list[Endpoint]] = {}
    for endpoint in all_endpoints():
        for path in endpoint.paths:
            by_path.setdefault(path, []).append(endpoint)
    # Exact paths come first: {filename} would match them too.
    exact_first = sorted(by_path, key=lambda path: path.count("{"))
    return [_route(path, by_path[path]) for path in exact_first]


def _route(path: str, endpoints: Iterable[Endpoint]) -> Route:
    handlers = {endpoint.method: endpoint.handler for endpoint in endpoints}
    handler = next(iter(handlers.values())) if len(handlers) == 1 else _by_method(handlers)
    return Route(path, handler, methods=list(handlers))


def _by_method(handlers: dict[str, Handler]) -> Handler:
    async def answer(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        handler = handlers[method]
        if inspect.iscoroutinefunction(handler):
            answered: Response = await handler(request)
            return answered
        return await run_in_threadpool(handler, request)  # type: ignore[arg-type]

    return answer
