"""Finds a quality whose result uses nearly all of a byte limit, in few encodes."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from halftone_workers.codec.quality_scale import Curve

# How the size typically grows with quality: maps a quality to log(size / size at quality 50).
# Values in between are interpolated linearly. Its first and last keys are the lowest and highest
# quality.
Growth = Mapping[int, float]

# After this many estimates every second step bisects, for images that do not follow the curve.
_ESTIMATES = 5
# A result that uses this share of the limit is good enough: more is not visible, but costs another
# encode. Estimates aim at the middle of what is good enough.
_USED_SHARE = 0.97
_SPARE = -math.log((1 + _USED_SHARE) / 2)
# Sizes grow between half and twice as fast as the curve says; a slope beyond that is an accident.
_LEAST_SLOPE, _MOST_SLOPE = 0.5, 2.0


def best_that_fits(
    encode_at: Callable[[float], bytes],
    growth: Growth,
    max_bytes: int,
    *,
    first: float = 50,
    step: float = 1,
) -> bytes:
    """Return a result that uses nearly all of `max_bytes`, else that of the highest quality that
    fits. If none fits, return that of the lowest quality.

    `first`: the quality to begin with. `step`: the smallest difference between two qualities.
    """
    search = _Search(growth, max_bytes, step)
    quality: float | None = search.on_grid(first)
    best = encoded = b""
    while quality is not None:
        encoded = encode_at(quality)
        if len(encoded) <= max_bytes:
            best = encoded
            if len(encoded) >= _USED_SHARE * max_bytes:
                break
        quality = search.next_after(quality, len(encoded))
    return best or encoded


def grown(growth: Growth, quality: float) -> float:
    """log(size / size at quality 50) at a quality."""
    return Curve(list(growth), list(growth.values())).at(quality)


def quality_at(growth: Growth, log_size: float) -> float:
    """The quality at which log(size / size at quality 50) has this value."""
    return Curve(list(growth.values()), list(growth)).at(log_size)


@dataclass
class _Search:
    """What is known of the sizes so far. `room`: log(limit / size) for each quality tried."""

    growth: Growth
    max_bytes: int
    step: float
    room: dict[float, float] = field(default_factory=dict)

    def on_grid(self, quality: float) -> float:
        steps = round(quality / self.step) * self.step
        return min(max(self.growth), max(min(self.growth), steps))

    def next_after(self, quality: float, size: int) -> float | None:
        """The next quality after one gave this size; None if no other can be better."""
        self.room[quality] = math.log(max(self.max_bytes, 1) / size)
        fits = max((each for each, room in self.room.items() if room >= 0), default=None)
        too_large = min((each for each, room in self.room.items() if room < 0), default=None)
        lowest = min(self.growth) if fits is None else fits + self.step
        highest = max(self.growth) if too_large is None else too_large - self.step
        if lowest > highest:
            return None
        if fits is None or too_large is None:
            aim = self._along_the_curve(quality)
        elif len(self.room) > _ESTIMATES and len(self.room) % 2 == 0:
            aim = (fits + too_large) / 2
        else:
            aim = self._between(fits, too_large)
        return min(highest, max(lowest, self.on_grid(aim)))

    def _along_the_curve(self, quality: float) -> float:
        """Where the curve reaches the limit, with the slope that the last two sizes have."""
        slope = 1.0
        if len(self.room) > 1:
            before = list(self.room)[-2]
            by_curve = grown(self.growth, quality) - grown(self.growth, before)
            measured = (self.room[before] - self.room[quality]) / by_curve
            slope = min(_MOST_SLOPE, max(_LEAST_SLOPE, measured))
        missing = self.room[quality] - _SPARE
        return quality_at(self.growth, grown(self.growth, quality) + missing / slope)

    def _between(self, fits: float, too_large: float) -> float:
        room, lack = self.room[fits] - _SPARE, self.room[too_large] - _SPARE
        low, high = grown(self.growth, fits), grown(self.growth, too_large)
        return quality_at(self.growth, low + (high - low) * room / (room - lack))
