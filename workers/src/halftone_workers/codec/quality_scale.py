"""One quality scale: the same number gives the same visible quality in every format.

A quality means the SSIMULACRA2 score that Pillow's JPEG of the same image has at that number. Which
parameter of an encoder gives that score depends on the image, mostly on how much detail it has.
`calibration.json` has this relation for each encoder, fitted over real photographs;
`python -m benchmarks.calibrate` measures and writes it.
"""

import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import accumulate
from math import ceil, exp, floor, log
from operator import mul
from typing import Any

MIN_QUALITY, MAX_QUALITY = 1, 95
# The middle of each eighth; less than one eighth counts as none.
_PLAIN_SHARES = (0.0, *(eighths / 8 + 1 / 16 for eighths in range(1, 8)))


@dataclass(frozen=True)
class Curve:
    """Linear interpolation between points with ascending `xs`, constant beyond both ends."""

    xs: Sequence[float]
    ys: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.xs) != len(self.ys):
            raise ValueError(f"a curve of {len(self.xs)} places has {len(self.ys)} values")

    def at(self, x: float) -> float:
        above = bisect_left(self.xs, x)
        if above == 0:
            return self.ys[0]
        if above == len(self.xs):
            return self.ys[-1]
        x0, x1, y0, y1 = *self.xs[above - 1 : above + 1], *self.ys[above - 1 : above + 1]
        return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


_DATA: dict[str, Any] = json.loads(files(__package__).joinpath("calibration.json").read_text())
_QUALITIES: Sequence[float] = _DATA["qualities"]
_SCORE_BY_QUALITY = Curve(_QUALITIES, _DATA["scores"])
_QUALITY_BY_SCORE = Curve(_DATA["scores"], _QUALITIES)

# Quantisers of a JPEG at scale 1, of luma, blue and red chroma, in natural order.
JPEG_QUANTISERS: Sequence[Sequence[float]] = _DATA["jpeg_quantisers"]


@dataclass(frozen=True)
class Content:
    """What the scale needs to know of an image; content.py measures it.

    `detail`: ln(bits per pixel) as Pillow's JPEG of quality 75: −1.5 for a soft background, 0.5 for
    leaves. `saturation`: of its colours, 0–1. `structure` and `texture`: ln(1 + variance of the
    Laplacian) at an eighth and at half of the size. A JPEG that is not decoded has only its detail.
    """

    detail: float
    saturation: float | None = None
    structure: float | None = None
    texture: float | None = None


@dataclass(frozen=True)
class Range:
    """A number over the photographs of the calibration: least, median, most."""

    least: float
    typical: float
    most: float

    def beyond_typical(self, value: float | None) -> float:
        """The value minus the typical one, after the value is limited to the range; 0 if the value
        is unknown.
        """
        return 0.0 if value is None else min(self.most, max(self.least, value)) - self.typical


@dataclass(frozen=True)
class ContentRange:
    """The range of each number of Content."""

    detail: Range
    saturation: Range
    structure: Range
    texture: Range

    @property
    def typical(self) -> Content:
        ranges = self.detail, self.saturation, self.structure, self.texture
        return Content(*(each.typical for each in ranges))

    def terms_of(self, content: Content) -> tuple[float, ...]:
        """What an encoder's coefficients are multiplied by: 1, the detail and its square,
        saturation, structure and texture, each without the typical value.
        """
        detail = self.detail.beyond_typical(content.detail)
        others = (
            self.saturation.beyond_typical(content.saturation),
            self.structure.beyond_typical(content.structure),
            self.texture.beyond_typical(content.texture),
        )
        return 1.0, detail, detail * detail, *others


_RANGE = ContentRange(**{name: Range(*limits) for name, limits in _DATA["content"].items()})
TYPICAL = _RANGE.typical
# The detail as a linear function of a JPEG's ln(bits per pixel), by the JPEG's quality.
_INTERCEPTS, _SLOPES = (
    Curve(_DATA["jpeg_detail"]["qualities"], _DATA["jpeg_detail"][name])
    for name in ("intercepts", "slopes")
)


@dataclass(frozen=True)
class _Encoder:
    """An encoder's parameter by quality and content.

    `rows`: for each of _QUALITIES, coefficients of the terms; JPEG has only those of the detail.
    They give the library's quality; for JPEG, -ln(scale).
    """

    rows: Sequence[Sequence[float]]
    is_scale: bool

    def parameter(self, quality: float, content: Content) -> float:
        terms = _RANGE.terms_of(content)
        below, above, share = _place_of(quality)
        rows = (sum(map(mul, row, terms)) for row in self.rows[: above + 1])
        # For contents unlike any photograph's, a higher quality could have a worse parameter.
        values = list(accumulate(rows, max))
        value: float = values[below] + (values[above] - values[below]) * share
        if not self.is_scale:
            return min(_BEST_LIBRARY_QUALITY, max(0.0, value))
        # In steps of 2 %, so that images share tables. That changes a score by 0.1 points.
        return min(_COARSEST, max(_FINEST, exp(-round(value * _STEPS) / _STEPS)))


@lru_cache
def _place_of(quality: float) -> tuple[int, int, float]:
    """The indices of _QUALITIES that a quality is between, and how far it is from the first to the
    second, 0–1.
    """
    index = Curve(_QUALITIES, range(len(_QUALITIES))).at(quality)
    return floor(index), ceil(index), index - floor(index)


_FINEST, _COARSEST, _STEPS, _BEST_LIBRARY_QUALITY = 0.15, 30.0, 50, 100.0
_ENCODERS = {
    name: _Encoder(rows, is_scale=name.startswith("JPEG"))
    for name, rows in _DATA["parameters"].items()
}


def encoder_parameter(encoder: str, quality: float, content: Content = TYPICAL) -> float:
    """What to give an encoder for a quality of 1–95 and an image with this content.

    A factor of JPEG_QUANTISERS for "JPEG plain" (Pillow's encoder) and for requantising with an
    effort ("JPEG balanced"); the library's own quality for "WEBP balanced" and "AVIF balanced".
    """
    return _ENCODERS[encoder].parameter(quality, content)


def scales_by_plain_share(encoder: str, quality: float, content: Content) -> tuple[float, ...]:
    """Scales of a JPEG by how many eighths of it are plain: the rest has more detail."""
    return tuple(
        encoder_parameter(encoder, quality, Content(without_plain(content.detail, share)))
        for share in _PLAIN_SHARES
    )


def without_plain(detail: float, share: float) -> float:
    """The detail of the rest of an image of which this share is plain: it has all the bytes."""
    return detail - log(1 - share)


@lru_cache
def finest_scale(encoder: str, quality: float) -> float:
    """The least factor of JPEG_QUANTISERS that this quality has for any image."""
    least, most = _RANGE.detail.least, _RANGE.detail.most
    details = (least + (most - least) * part / 16 for part in range(17))
    return min(encoder_parameter(encoder, quality, Content(detail)) for detail in details)


def detail_at(log_bits: float, jpeg_quality: float) -> float:
    """The detail of an image whose JPEG of this quality has exp(log_bits) bits per pixel."""
    return _INTERCEPTS.at(jpeg_quality) + _SLOPES.at(jpeg_quality) * log_bits


def score_of(quality: float) -> float:
    """The SSIMULACRA2 score that a quality has, on average."""
    return _SCORE_BY_QUALITY.at(quality)


def quality_of(score: float) -> float:
    """The quality that has this SSIMULACRA2 score, on average."""
    return _QUALITY_BY_SCORE.at(score)
