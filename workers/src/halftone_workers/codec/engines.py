"""Which optional engines this worker has: what its results, and their time, depend on."""

from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version


@dataclass(frozen=True)
class Engine:
    """An engine by its distribution, its version (None if it is not installed), and what it is for
    or what its absence costs.
    """

    name: str
    version: str | None
    meaning: str


_OPTIONAL = {
    "halftone-jpeg": (
        "JPEGs are requantised by a search for the fewest bytes, and mode=visual measures"
        " its score",
        "JPEGs are decoded and encoded by Pillow, in more bytes; mode=visual goes by the"
        " calibration, without a score",
    ),
}


def engines() -> list[Engine]:
    """Every optional engine of the codec, installed or not."""
    found = []
    for name, (use, cost) in _OPTIONAL.items():
        installed = None
        with suppress(PackageNotFoundError):
            installed = version(name)
        found.append(Engine(name, installed, use if installed else cost))
    return found
