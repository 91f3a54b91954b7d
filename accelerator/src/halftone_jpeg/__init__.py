"""A JPEG at another quality without decoding it: its DCT coefficients are divided anew and written
again.

Twice as fast as decoding and encoding, and nothing is rounded to pixels in between.
"""

from halftone_jpeg._native import ffi, lib

__all__ = ["NotPossible", "TooLarge", "requantise"]

# What a segment can hold (its length counts itself in 16 bits), and a profile in its at most 255
# segments.
_MAX_EXIF_BYTES = 65_533
_MAX_ICC_BYTES = 255 * 65_519


class NotPossible(Exception):
    """The JPEG is damaged, too large, or of a kind that is not handled here: decode it."""


class TooLarge(Exception):
    """The result would have more bytes than it may."""


def requantise(
    data: bytes,
    quality: int,
    *,
    max_pixels: int,
    max_bytes: int,
    icc: bytes = b"",
    exif: bytes = b"",
) -> bytes:
    """The JPEG at `quality` (1–95, the standard tables as libjpeg scales them), baseline, optimised
    Huffman tables.

    Where the source's quantiser is coarser than the one asked for, it stays: precision that is gone
    does not come back. Takes 8-bit gray and YCbCr 4:2:0. The result carries `icc` and `exif` (with
    its "Exif" head) unless they are empty, and no other metadata. Raises NotPossible and TooLarge.
    Other threads run in the meantime.
    """
    if not 1 <= quality <= 95:
        raise ValueError(f"quality is {quality}; expected 1–95")
    if len(exif) > _MAX_EXIF_BYTES or len(icc) > _MAX_ICC_BYTES:
        raise NotPossible
    result, result_bytes = ffi.new("unsigned char **"), ffi.new("size_t *")
    outcome = lib.requantise_jpeg(
        *(ffi.from_buffer(data), len(data), quality, max_pixels, max_bytes),
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
