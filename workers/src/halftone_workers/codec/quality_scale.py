"""One quality scale: the same number gives the same visible quality in every format.

A quality means the SSIMULACRA2 score that Pillow's JPEG has at that number, on average over real
photographs. `calibration.json` says which parameter of which encoder gives that score;
`python -m benchmarks.calibrate` measures and writes it.
"""

import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

MIN_QUALITY, MAX_QUALITY = 1, 95


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
_SCORES = Curve(_DATA["qualities"], _DATA["scores"])
_QUALITIES = Curve(_DATA["scores"], _DATA["qualities"])
_PARAMETERS = {
    name: Curve(_DATA["qualities"], parameters) for name, parameters in _DATA["parameters"].items()
}

# Quantisers of a JPEG at scale 1, of luma, blue and red chroma, in natural order.
JPEG_QUANTISERS: Sequence[Sequence[float]] = _DATA["jpeg_quantisers"]


def encoder_parameter(encoder: str, quality: float) -> float:
    """What to give an encoder for a quality of 1–95.

    A factor of JPEG_QUANTISERS for "JPEG plain" (Pillow's encoder) and for requantising with an
    effort ("JPEG balanced"); the library's own quality for "WEBP balanced" and "AVIF balanced".
    """
    return _PARAMETERS[encoder].at(quality)


def score_of(quality: float) -> float:
    """The SSIMULACRA2 score that a quality has, on average."""
    return _SCORES.at(quality)


def quality_of(score: float) -> float:
    """The quality that has this SSIMULACRA2 score, on average."""
    return _QUALITIES.at(score)
