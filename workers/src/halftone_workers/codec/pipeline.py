"""The codec's one way in: `compress`, and the steps that it takes, in their order.

identify    which format, by its bytes; what is refused unread
open        the header alone: size and frames, and whether they may be decoded
plan        the output format, and what it cannot hold of this image
decode      every frame, upright, eight bits a channel
resize      mode=scale
encode      by quality, or by search for a share of the bytes
choose      the original, unless the result is smaller
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from PIL import Image, ImageFile, ImageSequence

from halftone_shared.states import ImageErrorCode, Mode, OutputFormat
from halftone_workers.codec.encoders import Frames, encode, fit
from halftone_workers.codec.formats import FACTS, Format, is_lossless_webp, is_text, sniff
from halftone_workers.codec.options import CodecLimits, CodecOptions, Compressed, ImageRefused
from halftone_workers.codec.pixels import Picture, eight_bits, flatten, resized, upright

# A progressive JPEG has about ten scans; thousands of them are a way to burn a processor (388 KB: 40 s).
MAX_JPEG_SCANS = 64
# All frames of an animation are in memory at once: together they may have this many times the pixels of one image.
ANIMATION_PIXELS_FACTOR = 3
MIN_QUALITY, MAX_QUALITY = 1, 95

_COPYRIGHT_TAG = 0x8298
_DEFAULT_FRAME_MILLISECONDS = 100

# An image that stops halfway is corrupt, not half an image.
ImageFile.LOAD_TRUNCATED_IMAGES = False
# Pixels are counted here, before anything is decoded; Pillow's own limit only warns until twice as many.
Image.MAX_IMAGE_PIXELS = None


def compress(data: bytes, options: CodecOptions, limits: CodecLimits) -> Compressed:
    """One image, compressed. The same bytes and options give the same result.

    Raises ImageRefused, with one of the public error codes. An image without copyright notice loses all its metadata
    but the colour profile; one with it keeps the notice.
    """
    source = _identify(data)
    with _opened(data, source) as image:
        _check_size(image, limits)
        output, warned = _plan(image, source, options)
        with _decoding():
            frames = _decode(image, source, output)
    if source is output is Format.WEBP:
        frames = replace(frames, lossless=is_lossless_webp(data))
    if options.mode is Mode.SCALE:
        frames = replace(frames, pictures=[resized(picture, options.scale) for picture in frames.pictures])
    frames = fit(frames, output)
    if options.mode is Mode.BYTES:
        encoded, search_warned = _encode_to_size(frames, output, int(len(data) * options.ratio))
        warned += search_warned
    else:
        encoded = encode(frames, output, options.quality)
    return _choose(data, source, encoded, output, image.size, frames, warned)


def _identify(data: bytes) -> Format:
    source = sniff(data)
    if source is None and is_text(data):
        raise ImageRefused(ImageErrorCode.NOT_AN_IMAGE, "The URL leads to a page or a text, not to an image.")
    if source is None:
        readable = ", ".join(Format)
        raise ImageRefused(ImageErrorCode.UNSUPPORTED_FORMAT, f"The image is in none of the formats {readable}.")
    if source is Format.JPEG and data.count(b"\xff\xda") > MAX_JPEG_SCANS:
        raise ImageRefused(ImageErrorCode.CORRUPT_IMAGE, f"The JPEG has more than {MAX_JPEG_SCANS} scans.")
    return source


@contextmanager
def _opened(data: bytes, source: Format) -> Iterator[Image.Image]:
    with _decoding():
        image = Image.open(io.BytesIO(data), formats=[source.value])
    with image:
        yield image


@contextmanager
def _decoding() -> Iterator[None]:
    """Pillow's decoders raise whatever the broken bytes lead them into: all of it means the same to the client."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ImageRefused, MemoryError):
        raise
    except Exception as error:
        raise ImageRefused(ImageErrorCode.CORRUPT_IMAGE, f"The image cannot be decoded: {error}.") from error


def _check_size(image: Image.Image, limits: CodecLimits) -> None:
    pixels = image.width * image.height
    if pixels > limits.max_pixels:
        raise ImageRefused(
            ImageErrorCode.TOO_MANY_PIXELS,
            f"The image has {image.width} × {image.height} pixels; {limits.max_pixels} are allowed.",
        )
    with _decoding():
        frames = _frame_count(image)
    if frames > limits.max_frames:
        raise ImageRefused(
            ImageErrorCode.TOO_MANY_FRAMES, f"The image has {frames} frames; {limits.max_frames} are allowed."
        )
    if frames * pixels > limits.max_pixels * ANIMATION_PIXELS_FACTOR:
        raise ImageRefused(
            ImageErrorCode.TOO_MANY_PIXELS,
            f"The image has {frames} frames of {image.width} × {image.height} pixels;"
            f" {limits.max_pixels * ANIMATION_PIXELS_FACTOR} pixels are allowed in all frames together.",
        )


def _frame_count(image: Image.Image) -> int:
    return int(getattr(image, "n_frames", 1))


def _plan(image: Image.Image, source: Format, options: CodecOptions) -> tuple[Format, tuple[str, ...]]:
    """The output format, and in words what it cannot hold of this image."""
    if options.format is OutputFormat.KEEP:
        return source, ()
    output = Format(options.format.value.upper())
    facts = FACTS[output]
    if max(image.size) > facts.max_side:
        return source, (f"{output} holds at most {facts.max_side} pixels a side; the image stays {source}.",)
    lost = []
    if image.has_transparency_data and not facts.alpha:
        lost.append(f"{output} has no transparency; the image was put on white.")
    if _frame_count(image) > 1 and not facts.animation:
        lost.append(f"{output} has no animation; the first of {_frame_count(image)} frames was kept.")
    return output, tuple(lost)


def _decode(image: Image.Image, source: Format, output: Format) -> Frames:
    facts = FACTS[output]
    icc = image.info.get("icc_profile")
    notice = image.getexif().get(_COPYRIGHT_TAG)
    loop = int(image.info.get("loop", 0 if source is not Format.GIF else 1))
    pictures, durations = [], []
    for frame in ImageSequence.Iterator(image):
        picture = eight_bits(upright(Picture(frame.copy(), icc)))
        pictures.append(flatten(picture) if picture.has_alpha and not facts.alpha else picture)
        durations.append(round(frame.info.get("duration", 0)) or _DEFAULT_FRAME_MILLISECONDS)
        if not facts.animation:
            break
    return Frames(
        pictures,
        durations,
        loop=loop,
        copyright=str(notice) if notice else None,
    )


def _encode_to_size(frames: Frames, output: Format, max_bytes: int) -> tuple[bytes, tuple[str, ...]]:
    """The best quality whose result has at most `max_bytes`; the smallest there is, and a warning, where none has."""
    best: bytes | None = None
    low, high = MIN_QUALITY, MAX_QUALITY
    while low <= high:
        quality = (low + high) // 2
        encoded = encode(frames, output, quality)
        if len(encoded) <= max_bytes:
            best, low = encoded, quality + 1
        else:
            high = quality - 1
    if best is not None:
        return best, ()
    smallest = encode(frames, output, MIN_QUALITY)
    return smallest, (f"No quality brings the image to {max_bytes} bytes; this is the smallest.",)


def _choose(
    data: bytes,
    source: Format,
    encoded: bytes,
    output: Format,
    source_size: tuple[int, int],
    frames: Frames,
    warned: tuple[str, ...],
) -> Compressed:
    if len(encoded) >= len(data):
        return Compressed(None, source, FACTS[source].extension, *source_size, warnings=warned)
    return Compressed(encoded, output, FACTS[output].extension, *frames.first.size, warnings=warned)
