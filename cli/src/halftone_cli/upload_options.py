"""The options of `submit` and `check`: one for each option that the service declares."""

import inspect
from typing import Annotated, Any, Literal

import typer

import halftone

IMAGE_PANEL, FILE_PANEL = "Options of the images", "Options of the file and the request"

# Short, so that the help has room for the meaning.
METAVARS = {
    "text": "TEXT",
    "choice": "WORD",
    "integer": "N",
    "number": "X",
    "list": "TEXT",
    "json": "JSON",
}


def upload_parameters() -> list[inspect.Parameter]:
    """A parameter for each option of the upload form, in the order of its declaration."""
    return [_parameter(option) for option in halftone.UPLOAD_OPTIONS]


def _parameter(option: halftone.UploadOption) -> inspect.Parameter:
    flag = f"--{option.name.replace('_', '-')}"
    declared = typer.Option(
        f"{flag}/--no-{flag[2:]}" if option.kind == "boolean" else flag,
        help=_help(option),
        metavar=METAVARS.get(option.kind),
        show_default=False,
        rich_help_panel=IMAGE_PANEL if option.of_images else FILE_PANEL,
        **_bounds(option),
    )
    kind = _python_type(option)
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, declared],
    )


def _python_type(option: halftone.UploadOption) -> Any:
    match option.kind:
        case "choice":
            return Literal[option.choices]
        case "integer":
            return int
        case "number":
            return float
        case "boolean":
            return bool
    return str


def _bounds(option: halftone.UploadOption) -> dict[str, Any]:
    """What typer checks. It has no bound that leaves out the bound itself, so the service checks
    the lower bound of numbers.
    """
    if option.kind == "integer":
        return {"min": option.minimum, "max": option.maximum}
    return {}


def _help(option: halftone.UploadOption) -> str:
    """The meaning, then the values and the default."""
    notes = []
    if option.choices:
        notes.append(f"One of {', '.join(option.choices)}.")
    if option.kind == "number" and option.minimum is not None and option.maximum is not None:
        notes.append(f"{option.minimum:g} to {option.maximum:g}.")
    if option.kind == "list":
        notes.append("Separate several by commas.")
    if option.default not in (None, False, ""):
        notes.append(f"Default: {option.default}.")
    return " ".join([option.description.rstrip(), *notes])
