"""Requantises a JPEG without decoding it to pixels, if halftone-jpeg is installed and supports it.

This is faster than decoding and encoding, and gives fewer bytes: the accelerator chooses each
coefficient by its cost in bits and its visible effect.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from typing import Any

from PIL import Image

from halftone_shared.model.options import Effort
from halftone_workers.codec.exif import ORIENTATION_TAG, kept_exif
from halftone_workers.codec.jpeg_tables import luma_table
from halftone_workers.codec.quality_scale import JPEG_QUANTISERS
from halftone_workers.errors import MustDecode

accelerator: Any = None
with suppress(ImportError):
    accelerator = import_module("halftone_jpeg")

# How the accelerator chooses coefficients, by effort. The figures are the best of a search over
# real photographs (docs/decisions/0006-an-optional-jpeg-accelerator.md).
_SEARCH: dict[str, Any] = {
    "bit_prices": (0.11, 0.12),
    "masking": 0.2,
    "masking_floor": 45.0,
    "progressive_from": 40_000,
    "plain_share": 0.5,
}
_CHOICES: dict[Effort, dict[str, Any]] = {
    Effort.FAST: {"dead_zone": 0.15},
    Effort.BALANCED: _SEARCH,
    Effort.BEST: _SEARCH | {"sampled_rows": 1, "plain_share": 0.0},
}
Quantisers = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


@lru_cache(maxsize=1024)
def quantisers(scale: float) -> Quantisers:
    """The tables of luma, blue and red chroma at this scale, in natural order."""
    luma, blue, red = (
        tuple(max(1, min(255, round(step * scale))) for step in table) for table in JPEG_QUANTISERS
    )
    return luma, blue, red


@lru_cache(maxsize=1024)
def _recipe(scales: Sequence[float], effort: Effort) -> Any:
    usual, *plain = (quantisers(scale) for scale in scales)
    return accelerator.Recipe(usual, tuple(plain), **_CHOICES[effort])


def is_as_coarse(image: Image.Image, scale: float) -> bool:
    """Whether requantising at this scale would change no luma of this JPEG."""
    steps = luma_table(image)
    return all(step >= asked for step, asked in zip(steps, quantisers(scale)[0], strict=True))


def can_requantise(image: Image.Image) -> bool:
    """Whether this JPEG, opened and not decoded, may be requantised: the accelerator is installed,
    and the image is upright.

    Only `requantise` detects CMYK, or chroma subsampling other than 4:2:0.
    """
    return accelerator is not None and ORIENTATION_TAG not in kept_exif(image)


def requantise(
    data: bytes,
    scales: Sequence[float],
    effort: Effort,
    *,
    max_pixels: int,
    icc: bytes | None,
    exif: bytes,
) -> bytes:
    """Requantise the JPEG, with this profile and EXIF and no other metadata. Returns `data` itself
    if that is no larger.

    `scales`: one, or eight by how many eighths of the image are plain, rounded down; a tuple.
    Raises MustDecode.
    """
    try:
        result: bytes = accelerator.requantise(
            data,
            _recipe(scales, effort),
            max_pixels=max_pixels,
            max_bytes=len(data),
            icc=icc or b"",
            exif=exif,
        )
    except accelerator.TooLarge:
        return data
    except accelerator.NotPossible:
        raise MustDecode from None
    return result
