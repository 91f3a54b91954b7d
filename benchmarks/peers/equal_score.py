"""Bytes at equal quality: a rate alone, or a size alone, rewards bad encoders."""

import io
import statistics
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from math import exp, log
from pathlib import Path

from PIL import Image

import halftone_jpeg
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
    size: tuple[int, int], peers: Mapping[str, tuple[Effort, Sequence[Path]]]
) -> dict[str, float]:
    """halftone's bytes at the SSIMULACRA2 scores of each peer's outputs, divided by their bytes;
    medians. A peer has the effort that it is compared with, and its outputs of the photographs of
    this size, in order.
    """
    sources = list(zip(originals(size), photos(size), strict=True))[:PHOTOGRAPHS]
    wanted = [
        (*source, {name: (effort, outputs[at]) for name, (effort, outputs) in peers.items()})
        for at, source in enumerate(sources)
    ]
    with ProcessPoolExecutor() as pool:
        ratios = list(pool.map(_ratios, wanted))
    return {name: statistics.median(one[name] for one in ratios) for name in peers}


def _ratios(wanted: tuple[Path, Path, Mapping[str, tuple[Effort, Path]]]) -> dict[str, float]:
    original, photo, outputs = wanted
    with Image.open(original) as opened:
        shown = opened.convert("RGB")
    curves = {
        effort: [_point(shown, _compressed(photo, quality, effort)) for quality in QUALITIES]
        for effort in {effort for effort, _ in outputs.values()}
    }
    theirs = {name: _point(shown, output.read_bytes()) for name, (_, output) in outputs.items()}
    return {
        name: exp(_log_bytes_at(curves[effort], theirs[name].score) - theirs[name].log_bytes)
        for name, (effort, _) in outputs.items()
    }


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
