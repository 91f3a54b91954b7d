"""Finds the best quality whose result fits a byte limit, in few encodes."""

import math
from collections.abc import Callable, Mapping

# How the size typically grows with quality: maps a quality to log(size / size at quality 50).
# Values in between are interpolated linearly. Its first and last keys are the lowest and highest
# quality.
Growth = Mapping[int, float]

# After this many estimates every second step bisects, for images that do not follow the curve.
_ESTIMATES = 5
# A result that uses this share of the limit is good enough: one quality step more is not visible,
# but costs another encode.
_USED_SHARE = 0.97


def best_that_fits(encode_at: Callable[[float], bytes], growth: Growth, max_bytes: int) -> bytes:
    """Return a result that uses nearly all of `max_bytes`, else that of the highest quality that
    fits. If none fits, return that of the lowest quality.

    Each attempt uses the highest quality that should fit, judging by the sizes so far.
    """
    best = encoded = b""
    fits, too_large = min(growth) - 1, max(growth) + 1
    room: dict[int, float] = {}
    while too_large - fits > 1:
        quality = _next(room, growth, fits, too_large)
        encoded = encode_at(quality)
        room[quality] = math.log(max(max_bytes, 1) / len(encoded))
        if len(encoded) <= max_bytes:
            best, fits = encoded, quality
            if len(encoded) >= _USED_SHARE * max_bytes:
                break
        else:
            too_large = quality
    return best or encoded


def _next(room: dict[int, float], growth: Growth, fits: int, too_large: int) -> int:
    """The next quality, between the two. `room`: log(limit / size) for each quality tried."""
    if not room:
        return min(50, too_large - 1)
    if len(room) > _ESTIMATES and len(room) % 2 == 0:
        return (fits + too_large) // 2
    if fits in room and too_large in room:
        share = room[fits] / (room[fits] - room[too_large])
        aim = _grown(growth, fits) + share * (_grown(growth, too_large) - _grown(growth, fits))
    else:
        known = fits if fits in room else too_large
        aim = _grown(growth, known) + room[known]
    quality = fits + 1
    while quality + 1 < too_large and _grown(growth, quality + 1) <= aim:
        quality += 1
    return quality


def _grown(growth: Growth, quality: int) -> float:
    below = max(known for known in growth if known <= quality)
    above = min(known for known in growth if known >= quality)
    if below == above:
        return growth[below]
    return growth[below] + (growth[above] - growth[below]) * (quality - below) / (above - below)
