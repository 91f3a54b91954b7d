"""Which image libraries this worker has, for `halftone doctor` to compare between workers."""

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version

# What reads and writes images in every worker, and the optional accelerator.
_ENGINES = ("pillow", "pyoxipng", "halftone-jpeg")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


@cache
def engine_versions() -> dict[str, str]:
    """The image libraries that are installed, by distribution: their versions.

    Beside those of every worker, what the optional extras bring.
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
