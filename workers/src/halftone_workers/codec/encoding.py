"""From frames to bytes, as the options ask: at a quality, or in few enough bytes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from halftone_shared.model.options import ImageOptions, Mode
from halftone_workers.codec.colour_profiles import MAX_PROFILE_BYTES, usable_profile
from halftone_workers.codec.encoders import GROWTH, Frames, encode, fit
from halftone_workers.codec.exif import read_exif
from halftone_workers.codec.formats import Format
from halftone_workers.codec.opening import Source, decoding
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.requantising import can_requantise, requantise
from halftone_workers.codec.search import best_that_fits
from halftone_workers.codec.stripping import strip, tells_place, with_metadata
from halftone_workers.errors import MustDecode


@dataclass(frozen=True)
class Encoded:
    """An encoded output, its size in pixels, and what does not meet the options."""

    data: bytes
    size: tuple[int, int]
    warnings: tuple[str, ...] = ()


def encode_frames(
    frames: Frames, output: Format, options: ImageOptions, source_bytes: int
) -> Encoded:
    """Encode frames that went through all steps. `source_bytes`: for `mode=bytes`."""
    limit = byte_limit(options, source_bytes)
    # Where bytes are limited, the search finds the quality.
    frames = replace(fit(frames, output), frugal=options.mode is not Mode.BYTES)
    if frames.lossless and limit is not None:
        # A limit asks for the smallest loss: none, if that is few enough bytes.
        lossless = len(encode(frames, output, options.quality)) <= limit
        frames = replace(frames, lossless=lossless)
    data, warnings = _as_asked(partial(encode, frames, output), output, options, limit)
    return Encoded(data, frames.first.size, warnings)


def requantise_jpeg(source: Source, options: ImageOptions, limits: CodecLimits) -> Encoded | None:
    """A JPEG that stays one at its size, without decoding it; None if it must be decoded."""
    image, data, metadata = source.image, source.prepared.data, source.kept
    with decoding():
        if not can_requantise(image):
            return None
        icc = usable_profile(image.info.get("icc_profile"), image.mode)
    if icc is not None and len(icc) > MAX_PROFILE_BYTES:
        return None

    def encode_at(quality: int) -> bytes:
        requantised = requantise(
            data, quality, max_pixels=limits.max_pixels, icc=icc, exif=metadata.exif()
        )
        if requantised is data:
            return data
        return with_metadata(requantised, Format.JPEG, metadata)

    try:
        limit = byte_limit(options, len(source.data))
        encoded, warnings = _as_asked(encode_at, Format.JPEG, options, limit)
    except MustDecode:
        return None
    # The original itself is the result. It is encoded if its metadata cannot be taken off.
    is_stuck = encoded is data and strip(data, Format.JPEG, read_exif(image), metadata) is None
    if is_stuck and tells_place(image):
        return None
    return Encoded(encoded, source.size, warnings)


def byte_limit(options: ImageOptions, source_bytes: int) -> int | None:
    """How many bytes an output may have; None if there is no limit."""
    limits = [] if options.max_bytes is None else [options.max_bytes]
    if options.mode is Mode.BYTES:
        limits.append(int(source_bytes * options.ratio))
    return min(limits, default=None)


def _as_asked(
    encode_at: Callable[[int], bytes], output: Format, options: ImageOptions, limit: int | None
) -> tuple[bytes, tuple[str, ...]]:
    """The output, and a warning if it is over the limit. `encode_at` takes a quality."""
    if options.mode is not Mode.BYTES:
        encoded = encode_at(options.quality)
        if limit is None or len(encoded) <= limit:
            return encoded, ()
    assert limit is not None  # noqa: S101 - mode=bytes has one
    encoded = best_that_fits(encode_at, GROWTH[output], limit)
    if len(encoded) <= limit:
        return encoded, ()
    return encoded, (f"No quality brings the image to {limit} bytes; this is the smallest.",)
