"""Writes docs/reference/commands.md from the commands themselves.

    make generate

A test fails while the page is not current.
"""

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from textwrap import fill
from typing import Any, get_args

import typer

from halftone_cli.main import app

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "commands.md"
# Given to every command, and explained once.
COMMON = ("--json", "--quiet", "--help", "--url", "--home")
INTRODUCTION = """\
# Commands

`make generate` writes this page from the commands themselves.

Every command takes `--help`, `--json` (JSON for programs; a list is one object a line) and
`--quiet` (errors, and what a script needs). Commands that call the service take `--url` or
`HALFTONE_URL`, and the API key from `HALFTONE_API_KEY`. Commands that work with the database take
`HALFTONE_DATABASE_URL`, or `--home`, the folder of `halftone up`; they say first which database and
storage they use. If the output is not a terminal, it has no colours and no progress bars;
`NO_COLOR` turns colours off everywhere. `halftone --install-completion` sets up completion for your
shell.

| exit code | meaning |
| --- | --- |
| 0 | success |
| 1 | failed: the request failed, the service refused the call, something is broken |
| 2 | refused before anything was done: wrong options, or a file that is not accepted |
| 3 | `submit`: the request ended, and some images failed |
| 4 | the service cannot be reached |
| 130 | Ctrl-C; the request goes on |
"""


def commands_page() -> str:
    """The page's text."""
    return "\n".join([INTRODUCTION, *_sections(typer.main.get_command(app), "halftone")])


def _sections(group: Any, prefix: str) -> Iterator[str]:
    for name, command in group.commands.items():
        line = f"{prefix} {name}"
        if hasattr(command, "commands"):
            yield from _sections(command, line)
        else:
            yield from _section(command, line)


def _section(command: Any, line: str) -> Iterator[str]:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    usage = " ".join([line, *(_argument(each) for each in arguments), "[OPTIONS]"])
    yield f"## `{usage}`\n"
    for paragraph in (command.help or "").split("\n\n"):
        yield fill(paragraph, 100, break_long_words=False, break_on_hyphens=False) + "\n"
    if line == "halftone check":
        options = []
        yield "Takes the options of `submit`, as far as they concern the file and the images.\n"
    rows = [each for each in options if not set(each.opts) & set(COMMON)]
    if rows:
        yield "| option | meaning |"
        yield "| --- | --- |"
        yield from map(_row, rows)
        yield ""


def _argument(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _row(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    if not option.is_flag:
        names += f" {_value(option)}"
    meaning = option.help or ""
    default = option.default
    if not option.is_flag and default not in (None, ()) and "Default:" not in meaning:
        shown = f"{default:g}" if isinstance(default, float) else default
        meaning += f" Default: {shown}."
    return f"| {names} | {meaning} |".replace("\\|", "|")


_WORDS = {str: "TEXT", int: "N", float: "X", Path: "FILE"}


def _value(option: Any) -> str:
    """What the option takes: its words, or a name for what is free."""
    if option.metavar:
        return str(option.metavar)
    kinds = [kind for kind in _flat(option.type_descriptor.annotation) if kind is not type(None)]
    words = [
        f"`{word}`"
        for kind in kinds
        for word in (kind if isinstance(kind, type) and issubclass(kind, Enum) else [kind])
        if isinstance(word, str)
    ]
    return " or ".join(words) or _WORDS.get(kinds[0], "TEXT")


def _flat(annotation: Any) -> list[Any]:
    """The kinds and words of a union, a list or a Literal."""
    parts = get_args(annotation)
    return [each for part in parts for each in _flat(part)] if parts else [annotation]


def main() -> None:
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(commands_page())


if __name__ == "__main__":
    main()
