"""Write docs/reference/settings.md from the settings classes and the comments of .env.example, and
the list of known variables from the settings classes.

`python -m scripts.settings_reference`, or `make generate`. A test compares the files with both.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from halftone_api.settings import ApiSettings
from halftone_shared.runtime.variables import PREFIX
from halftone_workers.settings import WorkerSettings
from scripts.markdown_lines import wrap

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / ".env.example"
PAGE = ROOT / "docs" / "reference" / "settings.md"
KNOWN_VARIABLES = ROOT / "shared/src/halftone_shared/runtime/known_variables.txt"
# Variables of the commands that call a running service.
_OF_COMMANDS = ("URL", "API_KEY")
_CODE = re.compile(r"(HALFTONE_[A-Z_]+(?:=[a-z]+)?|AWS_\*|[a-z0-9]+://[^\s,;()]*[^\s,;().])")
_INTRODUCTION = """\
# Settings

<!-- Written by `make generate` from the settings classes and .env.example: change those. -->

Every setting is an environment variable. A bad value stops the start, and the message names the
variable, the value and the expected form. A variable that begins with `HALFTONE_` and is not on
this page is named in a warning at start. A value may also be in a file under `/run/secrets` that
has the variable's name in lower case; the environment has precedence.
"""


@dataclass(frozen=True)
class Variable:
    """One setting as .env.example lists it; `comment` is the text above it."""

    name: str
    default: str
    comment: str
    section: str


def variables() -> Iterator[Variable]:
    section, comment = "", list[str]()
    for line in EXAMPLE.read_text().splitlines():
        if heading := re.fullmatch(r"# --- (.*) ---", line):
            section, comment = heading[1], []
        elif line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
        elif "=" in line:
            name, _, default = line.partition("=")
            yield Variable(name, default, " ".join(comment), section)
            comment = []


def known_variables() -> str:
    """The names of all settings, one per line."""
    fields = {*ApiSettings.model_fields, *WorkerSettings.model_fields}
    names = {PREFIX + name.upper() for name in (*fields, *_OF_COMMANDS)}
    return "".join(f"{name}\n" for name in sorted(names))


def page() -> str:
    lines = _INTRODUCTION.splitlines()
    section = ""
    for variable in variables():
        if variable.section != section:
            section = variable.section
            lines += ["", f"## For {section}"]
        lines += ["", f"### `{variable.name}`", ""]
        lines += [_code_in(variable.comment), "", *_facts(variable)]
    return "".join(f"{line}\n" for line in wrap(lines))


def _facts(variable: Variable) -> list[str]:
    facts = []
    for settings in (ApiSettings, WorkerSettings):
        field = settings.model_fields.get(variable.name.removeprefix(PREFIX).lower())
        if field is not None and field.description:
            facts = [f"- Expected: {_code_in(field.description)}"]
    if "Default: " not in variable.comment:
        default = f"`{variable.default}`" if variable.default else "none"
        facts.append(f"- Default: {default}")
    return facts


def _code_in(text: str) -> str:
    """Format names of variables and URLs as code: Markdown would interpret some of their
    characters.
    """
    parts = text.split("`")
    for at in range(0, len(parts), 2):  # parts that are not code already
        parts[at] = _CODE.sub(r"`\1`", parts[at])
    return "`".join(parts)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
    KNOWN_VARIABLES.write_text(known_variables())
