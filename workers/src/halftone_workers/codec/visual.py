"""`mode=visual`: finds the quality at which an image reaches the requested SSIMULACRA2 score.

The calibration gives the first estimate; halftone-jpeg's metric corrects it. Without halftone-jpeg,
the estimate is the result, and no score is reported.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from halftone_workers.codec import requantising
from halftone_workers.codec.quality_scale import MAX_QUALITY, MIN_QUALITY, quality_of, score_of

# A score this close to the target is good enough: another encode is not worth its time.
_NEAR, _MAX_ENCODES = 1.0, 4
# Of larger images, only tiles with this many pixels in total are scored: the metric takes 0.2 s of
# CPU and 76 MB a megapixel.
_MAX_SCORED_PIXELS, _TILE = 2_500_000, 256


@dataclass(frozen=True)
class Scored:
    """An encoded image and its SSIMULACRA2 score, if that was measured."""

    data: bytes
    score: float | None = None


def reach_score(
    encode_at: Callable[[float], bytes], original: Image.Image, target: float
) -> Scored:
    """The encoded image whose score is nearest to the target, in at most 4 encodes.

    `encode_at` takes a quality of 1–95 and may return the original's own bytes.
    """
    quality = quality_of(target)
    if requantising.accelerator is None:
        return Scored(encode_at(quality))
    reference = _seen(original)
    tried: dict[float, Scored] = {}
    while quality not in tried and len(tried) < _MAX_ENCODES:
        data = encode_at(quality)
        tried[quality] = Scored(data, _score(reference, data))
        if abs(_distance(tried[quality], target)) <= _NEAR:
            break
        quality = _next_quality(tried, target)
    return min(tried.values(), key=lambda scored: abs(_distance(scored, target)))


def _distance(scored: Scored, target: float) -> float:
    return (scored.score or 0.0) - target


def _next_quality(tried: dict[float, Scored], target: float) -> float:
    """Interpolate between the nearest scores above and below the target. If one side is missing,
    move along the mean curve by the missing score.
    """
    below = [quality for quality, each in tried.items() if _distance(each, target) < 0]
    above = [quality for quality, each in tried.items() if _distance(each, target) >= 0]
    if below and above:
        low, high = max(below), min(above)
        missing, spare = -_distance(tried[low], target), _distance(tried[high], target)
        return round(low + (high - low) * missing / (missing + spare), 1)
    nearest = min(tried, key=lambda quality: abs(_distance(tried[quality], target)))
    wanted = score_of(nearest) - _distance(tried[nearest], target)
    return round(min(MAX_QUALITY, max(MIN_QUALITY, quality_of(wanted))), 1)


def _score(reference: Image.Image, data: bytes) -> float:
    with Image.open(io.BytesIO(data)) as image:
        shown = _seen(image)
    score: float = requantising.accelerator.ssimulacra2(
        reference.tobytes(), shown.tobytes(), *reference.size
    )
    return round(score, 2)


def _seen(image: Image.Image) -> Image.Image:
    """The first frame in RGB on white; for a large image, tiles of it side by side."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image)
        image = ground
    rgb = image.convert("RGB")
    return rgb if rgb.width * rgb.height <= _MAX_SCORED_PIXELS else _tiles(rgb)


def _tiles(image: Image.Image) -> Image.Image:
    """Tiles at even distances, side by side. Their seams are the same in every encoded image."""
    share = (_MAX_SCORED_PIXELS / (image.width * image.height)) ** 0.5
    columns, rows = (max(1, int(side * share) // _TILE) for side in image.size)
    sampled = Image.new("RGB", (columns * _TILE, rows * _TILE))
    for row in range(rows):
        for column in range(columns):
            left = (image.width - _TILE) * column // max(1, columns - 1)
            top = (image.height - _TILE) * row // max(1, rows - 1)
            tile = image.crop((left, top, left + _TILE, top + _TILE))
            sampled.paste(tile, (column * _TILE, row * _TILE))
    return sampled
