"""Encodes frames as the options ask: at a quality, for a visual score, or within a byte limit."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import log

from PIL import Image

from halftone_shared.model.image_formats import Format
from halftone_shared.model.options import ImageOptions, Mode
from halftone_workers.codec.colour_profiles import MAX_PROFILE_BYTES, usable_profile
from halftone_workers.codec.content import content_of_jpeg
from halftone_workers.codec.encoders import JPEG_GROWTH, OUTPUTS, Frames, encode, fit
from halftone_workers.codec.exif import read_exif
from halftone_workers.codec.jpeg_tables import coding_quality, jpeg_quality
from halftone_workers.codec.opening import Source, decoding
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.quality_scale import finest_scale, scales_by_plain_share
from halftone_workers.codec.requantising import can_requantise, is_as_coarse, requantise
from halftone_workers.codec.search import best_that_fits, grown, quality_at
from halftone_workers.codec.stripping import strip, tells_place, with_metadata
from halftone_workers.codec.visual import Scored, reach_score
from halftone_workers.errors import MustDecode

# How much larger, as a logarithm, a shop's JPEG is than halftone's of the same quality number.
_TYPICAL_SURPLUS = 0.33


@dataclass(frozen=True)
class Encoded:
    """An encoded output, its size in pixels, and warnings about unmet options.

    `score`: the SSIMULACRA2 score that `mode=visual` measured.
    """

    data: bytes
    size: tuple[int, int]
    warnings: tuple[str, ...] = ()
    score: float | None = None


def encode_frames(
    frames: Frames, output: Format, options: ImageOptions, source_bytes: int
) -> Encoded:
    """Encode frames that went through all steps. `source_bytes`: for `mode=bytes`."""
    limit = byte_limit(options, source_bytes)
    frames = fit(frames, output)
    if frames.lossless and (limit is not None or options.mode is Mode.VISUAL):
        # `mode=bytes` asks for the smallest loss: lossless, if that fits.
        is_small = limit is not None and len(encode(frames, output, options.quality)) <= limit
        frames = replace(frames, lossless=is_small)
    encode_at = partial(encode, frames, output, effort=options.effort)
    return _as_asked(encode_at, frames.first, output, options, limit)


def requantise_jpeg(source: Source, options: ImageOptions, limits: CodecLimits) -> Encoded | None:
    """Encode a JPEG that keeps format and size without decoding it; None if it must be decoded."""
    image, data, metadata = source.image, source.prepared.data, source.kept
    with decoding():
        if not can_requantise(image):
            return None
        icc = usable_profile(image.info.get("icc_profile"), image.mode)
    if icc is not None and len(icc) > MAX_PROFILE_BYTES:
        return None
    content = content_of_jpeg(data, coding_quality(image), image.width * image.height)

    def scales_at(quality: float) -> tuple[float, ...]:
        encoder = f"JPEG {options.effort}"
        finest = finest_scale(encoder, quality)
        # A result of this quality that comes again stays: its content, estimated from fewer bytes,
        # would ask for a coarser scale.
        if is_as_coarse(image, finest):
            return (finest,)
        return scales_by_plain_share(encoder, quality, content)

    def encode_at(quality: float) -> bytes:
        requantised = requantise(
            data,
            scales_at(quality),
            options.effort,
            max_pixels=limits.max_pixels,
            icc=icc,
            exif=metadata.exif(),
        )
        if requantised is data:
            return data
        return with_metadata(requantised, Format.JPEG, metadata)

    try:
        limit = byte_limit(options, len(source.data))
        first = (
            50.0 if limit is None else _quality_for(limit, len(source.data), jpeg_quality(image))
        )
        encoded = _as_asked(encode_at, image, Format.JPEG, options, limit, first)
    except MustDecode:
        return None
    # The result is the original. It is encoded if its metadata cannot be removed.
    is_stuck = encoded.data is data and strip(data, Format.JPEG, read_exif(image), metadata) is None
    return None if is_stuck and tells_place(image, has_xmp=source.has_xmp) else encoded


def byte_limit(options: ImageOptions, source_bytes: int) -> int | None:
    """The limit for the output in bytes; None without a limit."""
    limits = [] if options.max_bytes is None else [options.max_bytes]
    if options.mode is Mode.BYTES:
        limits.append(int(source_bytes * options.ratio))
    return min(limits, default=None)


def _quality_for(limit: int, source_bytes: int, source_quality: int) -> float:
    """The quality at which a JPEG of this quality and size typically has so many bytes."""
    source_growth = grown(JPEG_GROWTH, source_quality) + _TYPICAL_SURPLUS
    return quality_at(JPEG_GROWTH, log(max(limit, 1) / source_bytes) + source_growth)


def _as_asked(
    encode_at: Callable[[float], bytes],
    original: Image.Image,
    output: Format,
    options: ImageOptions,
    limit: int | None,
    first: float = 50,
) -> Encoded:
    """The output, with a warning if it is over the limit. `encode_at` takes a quality. `first`: the
    quality that the search for the limit begins with.
    """
    found = Scored(b"")
    if options.mode is Mode.VISUAL:
        with decoding():
            original.load()
        found = reach_score(encode_at, original, options.target)
    elif options.mode is not Mode.BYTES:
        found = Scored(encode_at(options.quality))
    if limit is not None and (not found.data or len(found.data) > limit):
        spec = OUTPUTS[output]
        found = Scored(best_that_fits(encode_at, spec.growth, limit, first=first, step=spec.step))
        if len(found.data) > limit:
            warning = f"No quality brings the image to {limit} bytes; this is the smallest."
            return Encoded(found.data, original.size, (warning,))
    return Encoded(found.data, original.size, score=found.score)
