"""Registers functions as commands, with the options that every command has.

Every command has `--json` and `--quiet`. A function whose first parameter is
`client: halftone.Client` calls the service: its command also has `--url`, and passes a connected
client.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

import halftone
from halftone_cli.service import DEFAULT_URL, connected
from halftone_cli.terminal import set_mode

JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print JSON for programs; a list has one object in each line."),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only errors and what a script needs.")
]
UrlOption = Annotated[
    str, typer.Option("--url", envvar="HALFTONE_URL", help="The URL of the service.")
]


def command(
    app: typer.Typer,
    function: Callable[..., None],
    *,
    name: str | None = None,
    further: Sequence[inspect.Parameter] = (),
) -> None:
    """Add a command that calls a function. `further`: options given to it as keywords."""
    own = [*inspect.signature(function, eval_str=True).parameters.values()]
    calls_service = bool(own) and own[0].annotation is halftone.Client
    if calls_service:
        own = own[1:]
    own = [one for one in own if one.kind is not inspect.Parameter.VAR_KEYWORD]

    @functools.wraps(function)
    def run(*, as_json: bool, quiet: bool, **arguments: Any) -> None:
        set_mode(as_json=as_json, quiet=quiet)
        if not calls_service:
            function(**arguments)
            return
        with connected(arguments.pop("url")) as client:
            function(client, **arguments)

    common = [_option("as_json", JsonOption, False), _option("quiet", QuietOption, False)]
    if calls_service:
        common.insert(0, _option("url", UrlOption, DEFAULT_URL))
    keywords = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    parameters = [*keywords, *further, *common]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    documentation = _paragraphs(function.__doc__ or "")
    app.command(name or function.__name__.rstrip("_"), help=documentation)(run)


def _paragraphs(docstring: str) -> str:
    """A docstring with each paragraph on one line, for the terminal to wrap."""
    paragraphs = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )
