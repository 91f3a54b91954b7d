"""Lists this worker's image libraries, so that `halftone doctor` can compare workers."""

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version

# The image libraries of every worker, and the optional accelerator.
_ENGINES = ("pillow", "pyoxipng", "halftone-jpeg")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


@cache
def engine_versions() -> dict[str, str]:
    """The versions of the installed image libraries, by distribution.

    They include those of the optional extras.
    """
    names = [*_ENGINES, *_optional()]
    return {name: found for name in names if (found := _version(name)) is not None}


def _optional() -> list[str]:
    """The distributions of the image formats' extras; tracing is no image library."""
    return [
        match[0]
        for requirement in requires("halftone-workers") or ()
        if "extra ==" in requirement
        and "otel" not in requirement
        and (match := _NAME.match(requirement))
    ]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
