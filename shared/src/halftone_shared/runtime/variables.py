"""Finds environment variables that begin with HALFTONE_ but are no setting: typing errors.

API, workers and commands often share one environment, so each of them knows the variables of all.
"""

import difflib
import os
from collections.abc import Mapping
from importlib.resources import files

PREFIX = "HALFTONE_"
# Not a setting: the pipe by which a child notices the end of `halftone up`.
PARENT_PIPE = PREFIX + "PARENT_PIPE"
# `make generate` writes the file from the settings classes of API, workers and commands, which this
# package cannot import.
KNOWN = frozenset(files(__package__).joinpath("known_variables.txt").read_text().split())


def unknown_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Names that begin with HALFTONE_ but are not known."""
    return sorted(
        name
        for name in environment
        if name.upper().startswith(PREFIX) and name.upper() not in KNOWN | {PARENT_PIPE}
    )


def warning_about(name: str) -> str:
    """A sentence about an unknown variable, with the nearest known name."""
    names = [known.removeprefix(PREFIX) for known in KNOWN]
    nearest = difflib.get_close_matches(name.upper().removeprefix(PREFIX), names, n=1, cutoff=0.6)
    meant = f" Did you mean {PREFIX}{nearest[0]}?" if nearest else ""
    return f"{name} is not a halftone setting and is ignored.{meant}"
