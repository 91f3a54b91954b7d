"""Encodes prepared frames to bytes: one function per format. Every quality is 1–95."""

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import oxipng
from PIL import Image

from halftone_shared.model.image_formats import Format
from halftone_shared.model.options import Effort
from halftone_workers.codec import requantising
from halftone_workers.codec.containers import without_times
from halftone_workers.codec.content import content_of_jpeg, content_of_pixels
from halftone_workers.codec.metadata import Kept
from halftone_workers.codec.palettes import MAX_COLOURS, with_clear_colour, with_palette
from halftone_workers.codec.pixels import Picture, in_srgb, to_mode
from halftone_workers.codec.quality_scale import TYPICAL, encoder_parameter, scales_by_plain_share
from halftone_workers.codec.search import Growth
from halftone_workers.codec.stripping import with_metadata
from halftone_workers.errors import MustDecode

_XMP_TAG = 0x02BC
# The accelerator takes a JPEG, so pixels are first encoded at this quality. Its loss is negligible
# beside the result's, and it is hardly slower to read than a lower quality.
FINE_QUALITY = 97
# Methods of libwebp (0 fast to 6 small) and speeds of libavif (10 fast to 0 small). libavif's own
# default is 6: it takes 2.5 × the time of 8 for 0.88 × the bytes at an equal score.
_WEBP_METHODS = {Effort.FAST: 2, Effort.BALANCED: 4, Effort.BEST: 6}
_AVIF_SPEEDS = {Effort.FAST: 8, Effort.BALANCED: 6, Effort.BEST: 4}
# Above this many pixels in all frames, speed 6 could reach the encoder's time limit on a slow host.
_QUICK_AVIF_PIXELS = 20_000_000
# Compression levels for a PNG with a palette. libdeflate's level 10 saves 10 % over level 6, at
# 0.25 s instead of 0.04 s a megapixel; oxipng's own level 2, which also tries filters, takes 0.5 s
# and saves another 0.2 %.
_GREEDY, _NEAR_OPTIMAL, _OXIPNG_LEVEL = 6, 10, 2
_NEAR_OPTIMAL_PIXELS, _THOROUGH_PIXELS = 1_000_000, 4_000_000
_WEBP_ALPHA_FLAG = 0x10
# The largest values of the formats' fields: WebP has 16 bits for plays and 24 for milliseconds.
_MAX_WEBP_PLAYS = 2**16 - 1
_MAX_WEBP_MILLISECONDS = 2**24 - 1
_MAX_GIF_MILLISECONDS = (2**16 - 1) * 10
# In a TIFF with JPEG compression, each strip is a JPEG: it consists of whole blocks, and its height
# is limited like that of a JPEG. A strip of this many bytes has at most this many rows.
_JPEG_BLOCK = 8
_MAX_STRIP_SIDE = Format.JPEG.facts.max_side // _JPEG_BLOCK * _JPEG_BLOCK


@dataclass(frozen=True)
class Frames:
    """A decoded image: its frames, their durations in milliseconds, and the number of plays (0:
    endless).

    `full_size`: the source's size, if a JPEG was decoded smaller. `exact_size`: in that case, the
    size without the part of the last row and column that has no source pixels (37.5 of 38).
    `still_first`: the first picture is not a frame, but a fallback for viewers without animation
    (APNG's default image).
    """

    pictures: Sequence[Picture]
    durations: Sequence[int] = ()
    plays: int = 0
    still_first: bool = False
    full_size: tuple[int, int] | None = None
    exact_size: tuple[float, float] | None = None
    lossless: bool = False
    kept: Kept = field(default_factory=Kept)

    @property
    def first(self) -> Image.Image:
        return self.pictures[0].image

    @property
    def others(self) -> list[Image.Image]:
        return [picture.image for picture in self.pictures[1:]]


def fit(frames: Frames, output: Format) -> Frames:
    """Convert the frames to modes that the format supports. Convert them to sRGB if the format
    holds no profile, or only one for frames with different profiles.
    """
    modes = OUTPUTS[output].modes
    if output is not Format.TIFF and len({picture.has_alpha for picture in frames.pictures}) > 1:
        # Encoders take an animation's transparency from its first frame.
        frames = _each(frames, lambda image: image.convert("RGBA"))
    pictures = [to_mode(picture, modes) for picture in frames.pictures]
    if not output.facts.icc or len({picture.icc for picture in pictures}) > 1:
        pictures = [to_mode(in_srgb(picture), modes) for picture in frames.pictures]
    return replace(frames, pictures=pictures)


def encode(
    frames: Frames, output: Format, quality: float, effort: Effort = Effort.BALANCED
) -> bytes:
    """Encode fitted frames in the output format. The same arguments give the same bytes."""
    return with_metadata(OUTPUTS[output].encode(frames, quality, effort), output, frames.kept)


def _jpeg(frames: Frames, quality: float, effort: Effort) -> bytes:
    if frames.first.mode == "CMYK":
        return _jpeg_by_pillow(frames, quality=round(quality))
    if requantising.accelerator is not None and effort is not Effort.FAST:
        with suppress(MustDecode):
            return _jpeg_by_requantising(frames, quality, effort)
    scale = encoder_parameter("JPEG plain", quality, content_of_pixels(frames.first))
    tables = requantising.quantisers(scale)
    bands = len(frames.first.getbands())
    return _jpeg_by_pillow(frames, qtables=[list(table) for table in tables[:bands]])


def _jpeg_by_requantising(frames: Frames, quality: float, effort: Effort) -> bytes:
    """Encode a JPEG without visible loss and requantise it: the accelerator needs coefficients."""
    fine = replace(frames, kept=Kept(), pictures=[replace(frames.pictures[0], icc=None)])
    fine_jpeg = _save(fine, Format.JPEG, quality=FINE_QUALITY)
    pixels = frames.first.width * frames.first.height
    content = content_of_jpeg(fine_jpeg, FINE_QUALITY, pixels)
    result = requantising.requantise(
        fine_jpeg,
        scales_by_plain_share(f"JPEG {effort}", quality, content),
        effort,
        max_pixels=pixels,
        icc=frames.pictures[0].icc,
        exif=frames.kept.exif(),
    )
    if result is fine_jpeg:
        raise MustDecode  # it is no smaller, and lacks the profile and the notice
    return result


def _jpeg_by_pillow(frames: Frames, **how: Any) -> bytes:
    try:
        return _save(frames, Format.JPEG, optimize=True, **how)
    except OSError:
        # Pillow's buffer is too small for some tiny images, whose blocks have more bytes than
        # pixels. Only `optimize` needs the buffer.
        return _save(frames, Format.JPEG, **how)


def _png(frames: Frames, quality: float, effort: Effort) -> bytes:
    if frames.others:
        durations = list(frames.durations[1:] if frames.still_first else frames.durations)
        return _save(
            frames,
            Format.PNG,
            duration=durations,
            loop=frames.plays,
            default_image=frames.still_first,
        )
    image = with_palette(frames.first, _colours(quality))
    unpacked = _save(_showing(frames, image), Format.PNG, compress_level=1)
    return _repacked(unpacked, image, effort)


def _repacked(png: bytes, image: Image.Image, effort: Effort) -> bytes:
    """Recompress a PNG without loss."""
    pixels = image.width * image.height
    if effort is Effort.BEST and pixels <= _THOROUGH_PIXELS:
        return oxipng.optimize_from_memory(png, level=_OXIPNG_LEVEL)
    is_thorough = effort is not Effort.FAST and pixels <= _NEAR_OPTIMAL_PIXELS
    return oxipng.optimize_from_memory(
        png,
        level=0,
        # Filters make images with a palette larger.
        filter=[oxipng.RowFilter.NoOp],
        deflate=oxipng.Deflaters.libdeflater(_NEAR_OPTIMAL if is_thorough else _GREEDY),
    )


def _showing(frames: Frames, image: Image.Image) -> Frames:
    """A still of this image, with the profile and the notice of these frames."""
    return replace(frames, pictures=[replace(frames.pictures[0], image=image)])


def _webp(frames: Frames, quality: float, effort: Effort) -> bytes:
    content = TYPICAL if frames.lossless else content_of_pixels(frames.first)
    return webp(frames, encoder_parameter(f"WEBP {effort}", quality, content), effort)


def webp(frames: Frames, library_quality: float, effort: Effort) -> bytes:
    """Encode losslessly if the source was lossless, otherwise at this quality of libwebp."""
    how: dict[str, Any] = {"quality": library_quality}
    if frames.lossless:
        how = {"lossless": True}
    if frames.others:
        durations = [min(duration, _MAX_WEBP_MILLISECONDS) for duration in frames.durations]
        how |= {"duration": durations, "loop": min(frames.plays, _MAX_WEBP_PLAYS)}
    encoded = _save(frames, Format.WEBP, method=_WEBP_METHODS[effort], **how)
    if frames.others and any(picture.has_alpha for picture in frames.pictures):
        # libwebp does not set the flag if only areas outside all frames are transparent.
        return encoded[:20] + bytes([encoded[20] | _WEBP_ALPHA_FLAG]) + encoded[21:]
    return encoded


def _gif(frames: Frames, quality: float, effort: Effort) -> bytes:
    # A GIF has at most 256 colours; only a smaller palette saves bytes.
    colours = max(2, int(MAX_COLOURS * quality / 100))
    reduced = _each(frames, lambda image: with_clear_colour(image, colours))
    if not frames.others:
        return _save(reduced, Format.GIF, optimize=True)
    # A GIF without a loop count plays once; with a count n it plays n + 1 times.
    how: dict[str, Any] = {} if frames.plays == 1 else {"loop": max(frames.plays - 1, 0)}
    durations = _durations_that_add_up(reduced)
    return _save(reduced, Format.GIF, optimize=True, duration=durations, disposal=2, **how)


def _durations_that_add_up(frames: Frames) -> list[int]:
    """Shorten durations where Pillow would merge equal consecutive frames into one whose duration
    exceeds the GIF maximum.
    """
    if sum(frames.durations) <= _MAX_GIF_MILLISECONDS:
        return list(frames.durations)
    durations: list[int] = []
    run, before = 0, b""
    for picture, duration in zip(frames.pictures, frames.durations, strict=True):
        shown = picture.image.convert("RGBA").tobytes()
        if shown != before:
            run, before = 0, shown
        durations.append(min(duration, _MAX_GIF_MILLISECONDS - run))
        run += durations[-1]
    return durations


def _avif(frames: Frames, quality: float, effort: Effort) -> bytes:
    pixels = frames.first.width * frames.first.height * len(frames.pictures)
    if effort is Effort.BALANCED and pixels > _QUICK_AVIF_PIXELS:
        effort = Effort.FAST
    content = content_of_pixels(frames.first)
    return avif(frames, encoder_parameter(f"AVIF {effort}", quality, content), effort)


def avif(frames: Frames, library_quality: float, effort: Effort) -> bytes:
    """Encode at this quality, rounded: libavif only accepts whole numbers."""
    how: dict[str, Any] = {"duration": list(frames.durations)} if frames.others else {}
    how |= {"quality": round(library_quality), "speed": _AVIF_SPEEDS[effort]}
    # Tiles let several threads work, and there is only one: they would cost a sixth more time.
    encoded = _save(frames, Format.AVIF, max_threads=1, autotiling=False, **how)
    return without_times(encoded) if frames.others else encoded


def _tiff(frames: Frames, quality: float, effort: Effort) -> bytes:
    images = [frames.first, *frames.others]
    row_bytes = [image.width * len(image.getbands()) for image in images]
    # By default, Pillow's strips of wide images have fewer rows than a block.
    strip_bytes = max(_MAX_STRIP_SIDE, _JPEG_BLOCK * max(row_bytes))
    longest = max(*(image.width for image in images), strip_bytes // min(row_bytes))
    if longest <= _MAX_STRIP_SIDE and all(image.mode in ("RGB", "L", "CMYK") for image in images):
        return _save(
            frames, Format.TIFF, compression="jpeg", quality=round(quality), strip_size=strip_bytes
        )
    return _save(frames, Format.TIFF, compression="tiff_adobe_deflate")


def _each(frames: Frames, change: Callable[[Image.Image], Image.Image]) -> Frames:
    return replace(
        frames,
        pictures=[replace(picture, image=change(picture.image)) for picture in frames.pictures],
    )


@dataclass(frozen=True)
class OutputSpec:
    """How a format is written.

    `modes`: Pillow's modes that `encode` writes directly; to_mode() converts others to one of
    these. `growth`: size by quality, measured on photographs. `step`: the smallest difference of
    two qualities that changes the result.
    """

    encode: Callable[[Frames, float, Effort], bytes]
    modes: tuple[str, ...]
    growth: Growth
    step: float = 1


# From this quality on, the full palette is used.
_WHOLE_PALETTE = 50
# Of 21 photographs requantised at every quality.
JPEG_GROWTH = {
    1: -1.99, 5: -1.83, 10: -1.41, 20: -0.78, 30: -0.43, 40: -0.18, 50: 0.0,
    60: 0.16, 70: 0.38, 80: 0.69, 85: 0.89, 90: 1.11, 95: 1.33,
}  # fmt: skip
_TIFF_GROWTH = {1: -1.53, 10: -1.08, 50: 0.0, 70: 0.5, 80: 0.75, 90: 1.42, 95: 1.6}
_PALETTE_GROWTH = {1: -2.0, 10: -1.0, _WHOLE_PALETTE: 0.0}
OUTPUTS: dict[Format, OutputSpec] = {
    Format.JPEG: OutputSpec(_jpeg, ("RGB", "L", "CMYK"), JPEG_GROWTH, step=0.25),
    Format.PNG: OutputSpec(_png, ("RGB", "RGBA", "L", "1", "P"), _PALETTE_GROWTH),
    Format.WEBP: OutputSpec(
        _webp,
        ("RGB", "RGBA"),
        {1: -0.93, 10: -0.63, 50: 0.0, 70: 0.25, 80: 0.64, 90: 1.37, 95: 1.67},
        step=0.25,
    ),
    Format.GIF: OutputSpec(_gif, ("RGB", "RGBA", "L", "P"), _PALETTE_GROWTH),
    Format.AVIF: OutputSpec(
        _avif,
        ("RGB", "RGBA"),
        {1: -1.24, 10: -1.04, 50: 0.0, 70: 0.57, 80: 1.1, 90: 1.48, 95: 1.73},
    ),
    Format.TIFF: OutputSpec(_tiff, ("RGB", "RGBA", "L", "1", "P", "CMYK"), _TIFF_GROWTH),
}


def _save(frames: Frames, output: Format, **how: Any) -> bytes:
    buffer = io.BytesIO()
    if frames.others:
        how |= {"save_all": True, "append_images": frames.others}
    icc = frames.pictures[0].icc if output.facts.icc else None
    # Pass it even if empty: otherwise Pillow copies it from the source image.
    how["icc_profile"] = icc
    if output is Format.TIFF:
        how["exif"] = frames.kept.exif_tags()
        if xmp := frames.kept.xmp():
            how["exif"][_XMP_TAG] = xmp
    elif output is not Format.GIF:
        how["exif"] = b"" if output is Format.PNG else frames.kept.exif()
        how["xmp"] = b"" if output in (Format.JPEG, Format.PNG) else frames.kept.xmp()
    frames.first.save(buffer, output.value, **how)
    return buffer.getvalue()


def _colours(quality: float) -> int:
    """The palette size: all colours from quality 50 on, fewer below."""
    return max(2, int(MAX_COLOURS * min(quality, _WHOLE_PALETTE) / _WHOLE_PALETTE))
