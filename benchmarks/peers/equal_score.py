"""Bytes at equal quality: a rate alone, or a size alone, rewards bad encoders."""

import io
import statistics
from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import exp, log
from pathlib import Path

from PIL import Image

import halftone_jpeg
from benchmarks.figures import Figure, at_most
from benchmarks.photos import originals, photos
from halftone_shared.model.options import Effort, ImageOptions
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.pipeline import compress

# Of the catalogue's first photographs.
PHOTOGRAPHS = 8
QUALITIES = (15, 30, 40, 50, 60, 70, 85)


@dataclass(frozen=True)
class _Point:
    score: float
    log_bytes: float


def bytes_at_equal_score(
    title: str, size: tuple[int, int], effort: Effort, outputs: Sequence[Path]
) -> Figure:
    """halftone's bytes at the SSIMULACRA2 score of each of these files, divided by the file's
    bytes; the median. The files are a peer's outputs of the photographs of this size, in order.
    """
    sources = list(zip(originals(size), photos(size), outputs, strict=False))[:PHOTOGRAPHS]
    with ProcessPoolExecutor() as pool:
        ratios = list(pool.map(partial(_ratio, effort), sources))
    return at_most(title, statistics.median(ratios), "×", 1)


def _ratio(effort: Effort, source: tuple[Path, Path, Path]) -> float:
    original, photo, output = source
    with Image.open(original) as opened:
        shown = opened.convert("RGB")
    theirs = _point(shown, output.read_bytes())
    curve = [_point(shown, _compressed(photo, quality, effort)) for quality in QUALITIES]
    return exp(_log_bytes_at(curve, theirs.score) - theirs.log_bytes)


def _compressed(photo: Path, quality: int, effort: Effort) -> bytes:
    source = photo.read_bytes()
    return (
        compress(source, ImageOptions(quality=quality, effort=effort), CodecLimits()).data or source
    )


def _point(original: Image.Image, encoded: bytes) -> _Point:
    with Image.open(io.BytesIO(encoded)) as opened:
        shown = opened.convert("RGB").tobytes()
    score = halftone_jpeg.ssimulacra2(original.tobytes(), shown, *original.size)
    return _Point(score, log(len(encoded)))


def _log_bytes_at(curve: Sequence[_Point], score: float) -> float:
    """Interpolates linearly between the points; beyond them it extends the outermost segment."""
    after = min(max(bisect_left([point.score for point in curve], score), 1), len(curve) - 1)
    low, high = curve[after - 1], curve[after]
    share = (score - low.score) / ((high.score - low.score) or 1)
    return low.log_bytes + (high.log_bytes - low.log_bytes) * share
