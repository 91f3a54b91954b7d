"""Compares the quantisation tables of a JPEG with those that libjpeg writes at each quality."""

from collections.abc import Callable, Sequence
from functools import cache
from math import log

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

# The luma table of the JPEG standard (ITU-T T.81, table K.1), which libjpeg scales by quality.
_LUMA_TABLE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
# The first details in the order in which they are written, as places in a table.
_FIRST_DETAILS = (1, 8, 16, 9, 2, 3, 10, 17, 24)

Table = Sequence[int]


def jpeg_quality(image: Image.Image) -> int:
    """The quality, 1–100, at which libjpeg's luma table comes closest to that of this JPEG."""
    return _nearest(image, sum)


def coding_quality(image: Image.Image) -> int:
    """The quality, 1–100, at which libjpeg's first details are as coarse as those of this JPEG.

    These take most bytes. Other encoders have flatter tables, which are coarse there.
    """
    return _nearest(image, _coarseness_of_first_details)


def luma_table(image: Image.Image) -> Table:
    """64 steps of at least 1, in natural order; the standard's if a damaged JPEG has none."""
    assert isinstance(image, JpegImageFile)  # noqa: S101 - the caller knows its format
    tables = image.quantization
    luma = tables.get(0) or next(iter(tables.values()), _LUMA_TABLE)
    return [max(1, step) for step in luma]


def _nearest(image: Image.Image, measure: Callable[[Table], float]) -> int:
    wanted = measure(luma_table(image))
    distances = [abs(standard - wanted) for standard in _of_standard(measure)]
    return 1 + distances.index(min(distances))


@cache
def _of_standard(measure: Callable[[Table], float]) -> Sequence[float]:
    """The measure of libjpeg's luma table at each quality, 1–100."""
    percents = (5000 // quality if quality < 50 else 200 - 2 * quality for quality in range(1, 101))
    return [
        measure([max(1, min(255, (step * percent + 50) // 100)) for step in _LUMA_TABLE])
        for percent in percents
    ]


def _coarseness_of_first_details(table: Table) -> float:
    return sum(log(table[place]) for place in _FIRST_DETAILS)
