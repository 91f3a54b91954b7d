"""Decodes an opened image to frames: upright, 8 bits a channel, without metadata."""

from collections.abc import Iterator

from halftone_shared.model.image_formats import Format
from halftone_workers.codec.colour_profiles import MAX_PROFILE_BYTES
from halftone_workers.codec.encoders import Frames
from halftone_workers.codec.exif import ORIENTATION_TAG, kept_exif
from halftone_workers.codec.opening import Source, decoding, frame_numbers
from halftone_workers.codec.pixels import (
    Picture,
    bare,
    current_frame,
    eight_bits,
    in_srgb,
    upright,
)
from halftone_workers.codec.sources.webp import is_lossless

_DEFAULT_FRAME_MILLISECONDS = 100


def decode(source: Source, *, all_frames: bool, needed: tuple[int, int] | None = None) -> Frames:
    """Decode all frames, or the first.

    `needed`: the upright size that is needed. A JPEG is decoded at 1/2, 1/4 or 1/8 if the result is
    not smaller than that. Raises ImageRefused.
    """
    exact_size: tuple[float, float] | None = None
    with decoding():
        if needed is not None and source.format is Format.JPEG:
            is_turned = source.size != source.image.size
            smaller = source.image.draft(None, needed[::-1] if is_turned else needed)
            # The last row and column of a smaller decoding may cover only part of a pixel.
            # Resizing allows for that unless the image is turned, which moves them to other sides.
            if smaller is not None and kept_exif(source.image).get(ORIENTATION_TAG, 1) == 1:
                exact_size = smaller[1][2:]
        pictures, durations = [], []
        for picture, duration in _frames(source):
            pictures.append(_prepared(picture))
            durations.append(duration or _DEFAULT_FRAME_MILLISECONDS)
            if not all_frames:
                break
    return Frames(
        pictures,
        durations,
        full_size=_full_size(source, pictures[0]),
        exact_size=exact_size,
        plays=_plays(source),
        still_first=bool(source.image.info.get("default_image")),
        lossless=source.format is Format.WEBP and is_lossless(source.data),
        kept=source.kept,
    )


def _full_size(source: Source, first: Picture) -> tuple[int, int] | None:
    """The source's size, if a JPEG was decoded smaller."""
    is_smaller = source.format is Format.JPEG and first.image.size != source.size
    return source.size if is_smaller else None


def _prepared(picture: Picture) -> Picture:
    picture = eight_bits(bare(picture))
    is_huge = picture.icc is not None and len(picture.icc) > MAX_PROFILE_BYTES
    return in_srgb(picture) if is_huge else picture


def _frames(source: Source) -> Iterator[tuple[Picture, int]]:
    if source.prepared.frames is not None:
        for frame, milliseconds in source.prepared.frames():
            yield Picture(frame, None), milliseconds
        return
    image = source.image
    for number in frame_numbers(source):
        image.seek(number)
        yield upright(current_frame(image)), round(image.info.get("duration", 0))


def _plays(source: Source) -> int:
    """How often an animation plays; 0: endless. A GIF states its repetitions after the first."""
    loop = source.image.info.get("loop")
    if source.format is not Format.GIF:
        return int(loop or 0)
    return 1 if loop is None else loop and int(loop) + 1
