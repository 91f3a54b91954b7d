"""compress() is tested with as much memory as a codec process has, with and without the
accelerator.
"""

import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from halftone_workers.codec import requantising
from halftone_workers.codec_processes.child import MEMORY_BYTES


@pytest.fixture(autouse=True, scope="module")
def bounded_memory() -> Iterator[None]:
    """As in a codec process, an image that needs too much memory raises MemoryError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture(params=["accelerated", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """JPEGs are tested with the accelerator, and as if it were not installed."""
    if request.param == "accelerated" and requantising.accelerator is None:
        pytest.skip("halftone-jpeg is not installed: scripts/setup.sh says what it takes")
    if request.param == "plain":
        monkeypatch.setattr(requantising, "accelerator", None)
