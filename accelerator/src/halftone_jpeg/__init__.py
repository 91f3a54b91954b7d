"""Requantise a JPEG without decoding it to pixels: only its DCT coefficients change.

This is faster than decoding and encoding, and avoids rounding to pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from halftone_jpeg._native import ffi, lib

__all__ = ["NotPossible", "Recipe", "TooLarge", "requantise", "ssimulacra2"]

# A segment's length counts itself, in 16 bits; a profile takes at most 255 segments.
_MAX_EXIF_BYTES = 65_533
_MAX_ICC_BYTES = 255 * 65_519
_NO_MEMORY = -1000.0
_COEFFICIENTS, _EIGHTHS = 64, 8
if ffi.typeof("requantise_recipe").fields[0][1].type.length != _EIGHTHS:
    raise ModuleNotFoundError(
        "halftone_jpeg._native was compiled from older sources: run `make setup`."
    )
# The native code indexes the factors by a block's sum of squares, in quarter octaves from 2⁻¹.
_ACTIVITIES, _QUARTERS, _LEAST_SQUARES = 128, 4, 0.5
# The variance at which the price of a bit is unchanged, in squared 8-bit levels.
_PLAIN_VARIANCE = 100


Quantisers = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


class NotPossible(Exception):
    """The JPEG is damaged, too large or of an unsupported kind: decode it instead."""


class TooLarge(Exception):
    """The result would exceed its byte limit."""


@dataclass(frozen=True)
class Recipe:
    """How to requantise.

    `quantisers`: for luma, blue and red chroma, 64 each in natural order, 1–255. Coarser quantisers
    of the source are kept: lost precision cannot be restored.
    `plain_quantisers`: other quantisers for images of which at least 1, 2, … 7 eighths of the
    blocks have no details; empty: the same.
    `dead_zone`: how far beyond one half a coefficient must be to be rounded up, 0–0.45 steps.
    `bit_prices`: the squared error, in quantiser steps, accepted to save one bit, for luma and
    chroma; 0 rounds without a search, which is faster.
    `masking`: the price grows with this power of a block's variance (0: the same everywhere);
    `masking_floor`: a variance added to every block's, in squared 8-bit levels.
    `sampled_rows`: the search first counts symbols on every n-th row of blocks; 0: it assumes the
    standard's codes.
    `progressive_from`: images of at least this many pixels are written in progressive scans if at
    least `plain_share` of their blocks have no details; 0: none. In small or detailed images the
    scans' tables take more bytes than they save.
    """

    quantisers: Quantisers
    plain_quantisers: tuple[Quantisers, ...] = ()
    dead_zone: float = 0.0
    bit_prices: tuple[float, float] = (0.0, 0.0)
    masking: float = 0.0
    masking_floor: float = 1.0
    sampled_rows: int = 0
    progressive_from: int = 0
    plain_share: float = 0.0

    @cached_property
    def native(self) -> Any:
        """The struct that the C code takes. Raises ValueError for an invalid recipe."""
        by_eighths = [self.quantisers, *(self.plain_quantisers or [self.quantisers] * 7)]
        if any(len(table) != _COEFFICIENTS for tables in by_eighths for table in tables):
            raise ValueError("a table of quantisers has 64 numbers")
        if len(by_eighths) != _EIGHTHS:
            raise ValueError(f"{len(self.plain_quantisers)} sets of plain_quantisers; expected 7")
        if not 0 <= self.dead_zone <= 0.45:
            raise ValueError(f"dead_zone is {self.dead_zone}; expected 0 to 0.45")
        native = ffi.new("requantise_recipe *")
        native.quantisers = by_eighths
        native.dead_zone = self.dead_zone
        native.bit_price = self.bit_prices
        native.masking = self._masking_factors()
        native.sampled_rows = self.sampled_rows
        native.progressive_from = self.progressive_from
        native.plain_share = self.plain_share
        return native

    def _masking_factors(self) -> Sequence[float]:
        floor = self.masking_floor
        variances = (
            _LEAST_SQUARES * 2 ** (quarters / _QUARTERS) / _COEFFICIENTS
            for quarters in range(_ACTIVITIES)
        )
        return [
            ((variance + floor) / (_PLAIN_VARIANCE + floor)) ** self.masking
            for variance in variances
        ]


def requantise(
    data: bytes,
    recipe: Recipe,
    *,
    max_pixels: int,
    max_bytes: int,
    icc: bytes = b"",
    exif: bytes = b"",
) -> bytes:
    """Requantise a JPEG by this recipe, with optimised Huffman tables.

    Takes 8-bit gray and YCbCr 4:2:0. The result carries `icc` and `exif` (with its "Exif" head)
    unless they are empty, and no other metadata. Raises NotPossible and TooLarge. Releases the GIL.
    """
    if len(exif) > _MAX_EXIF_BYTES or len(icc) > _MAX_ICC_BYTES:
        raise NotPossible
    result, result_bytes = ffi.new("unsigned char **"), ffi.new("size_t *")
    outcome = lib.requantise_jpeg(
        *(ffi.from_buffer(data), len(data), recipe.native, max_pixels, max_bytes),
        *(ffi.from_buffer(icc), len(icc), ffi.from_buffer(exif), len(exif)),
        *(result, result_bytes),
    )
    if outcome == lib.TOO_LARGE:
        raise TooLarge
    if outcome != lib.REQUANTISED:
        raise NotPossible
    try:
        return bytes(ffi.buffer(result[0], result_bytes[0]))
    finally:
        lib.free(result[0])


def ssimulacra2(original: bytes, distorted: bytes, width: int, height: int) -> float:
    """The SSIMULACRA2 score of `distorted` beside `original`, both RGB without padding.

    100: identical, about 90: no visible difference, 70: high quality. Takes 0.2 s of CPU and 76
    bytes a pixel for a megapixel. Releases the GIL.
    """
    expected = width * height * 3
    if len(original) != expected or len(distorted) != expected:
        raise ValueError(f"{width} × {height} pixels of RGB have {expected} bytes")
    score: float = lib.ssimulacra2(
        ffi.from_buffer(original), ffi.from_buffer(distorted), width, height
    )
    if score == _NO_MEMORY:
        raise MemoryError
    return score
