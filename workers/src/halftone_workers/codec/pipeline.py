"""The codec's one way in: `compress`, and the steps that it takes, in their order.

identify    which format, by its bytes; what is refused unread
open        the headers alone: sizes and frames, and whether they may be decoded
plan        the output format, and what it cannot hold of this image
decode      every frame, upright, eight bits a channel, nothing but pixels
resize      mode=scale
encode      by quality, or by search for a share of the bytes
requantise  a JPEG that stays one, in place of the three steps before, where the accelerator is there and takes it
choose      the original, without its metadata, unless the result is smaller
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from PIL import Image, ImageFile, UnidentifiedImageError

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.options import ImageOptions, Mode, OutputFormat
from halftone_shared.model.states import Action
from halftone_workers.codec.containers import (
    gif_extent,
    is_lossless_webp,
    jpeg_has_more_scans,
    png_bits,
    webp_canvas,
)
from halftone_workers.codec.encoders import GROWTH, Frames, copyright_exif, encode, fit
from halftone_workers.codec.exif import COPYRIGHT_TAG, kept_exif, read_exif, upright_size
from halftone_workers.codec.formats import FACTS, Format, is_text, sniff
from halftone_workers.codec.options import CodecLimits, Compressed
from halftone_workers.codec.pixels import (
    bare,
    current_frame,
    eight_bits,
    flatten,
    resized,
    scale_key,
    scaled_size,
    upright,
)
from halftone_workers.codec.requantising import can_requantise, requantise
from halftone_workers.codec.search import best_that_fits
from halftone_workers.codec.stripping import strip, tells_place
from halftone_workers.errors import ImageRefused, MustDecode

# A progressive JPEG has about ten scans; thousands of them are a way to burn a processor (388 KB:
# 40 s).
MAX_JPEG_SCANS = 64
# All frames of an animation are in memory at once: together they may have this many times the
# pixels of one image.
ANIMATION_PIXELS_FACTOR = 3
_DEFAULT_FRAME_MILLISECONDS = 100

# An image that stops halfway is corrupt, not half an image.
ImageFile.LOAD_TRUNCATED_IMAGES = False
# Pixels are counted here, before anything is decoded; Pillow's own limit only warns until twice as
# many.
Image.MAX_IMAGE_PIXELS = None


def compress(data: bytes, options: ImageOptions, limits: CodecLimits) -> Compressed:
    """One image, compressed. The same bytes and options give the same result.

    Raises ImageRefused, with one of the public error codes. An image without copyright notice loses
    all its metadata but the colour profile; one with it keeps the notice.
    """
    with warnings.catch_warnings(action="ignore"):  # Pillow's, of odd metadata
        return _compress(data, options, limits)


def _compress(data: bytes, options: ImageOptions, limits: CodecLimits) -> Compressed:
    source = _identify(data, limits)
    with _opened(data, source) as image:
        count = _check_size(image, source, limits)
        output, warned, lost = _plan(image, source, options, count)
        stays_jpeg = source is output is Format.JPEG and options.mode is not Mode.SCALE
        requantised = _requantise(data, image, options, limits) if stays_jpeg else None
        if requantised is None:
            with _decoding():
                frames = _decode(image, source, output, count)
    if requantised is None:
        if source is output is Format.WEBP:
            frames = replace(frames, lossless=is_lossless_webp(data))
        if options.mode is Mode.SCALE:
            frames = replace(
                frames, pictures=[resized(picture, options.scale) for picture in frames.pictures]
            )
        if (
            output is not Format.TIFF
            and len({picture.image.size for picture in frames.pictures}) > 1
        ):
            lost += (
                f"The pages differ in size, which {output} cannot hold; the first of {count} was kept.",
            )
            frames = replace(frames, pictures=frames.pictures[:1])
        # Where the bytes are what is asked, the search sees to them.
        frames = replace(fit(frames, output), frugal=options.mode is not Mode.BYTES)
        if frames.lossless and options.mode is Mode.BYTES:
            # Only as long as that is few enough: a share of the bytes is asked for, by the smallest
            # loss.
            frames = replace(
                frames,
                lossless=len(encode(frames, output, options.quality))
                <= _max_bytes(options, len(data)),
            )
        encoded, search_warned = _encode(
            partial(encode, frames, output), output, options, len(data)
        )
        size = frames.first.size
    else:
        encoded, search_warned = requantised
        size = image.size
    warned += search_warned
    if len(encoded) >= len(data) and (kept := _keep(data, source)) is not None:
        if output is not source or (
            options.mode is Mode.SCALE and size != (kept.width, kept.height)
        ):
            asked = f"as {output} of {size[0]} × {size[1]} pixels"
            warned += (
                f"The image was kept: {asked} it would have {len(encoded)} bytes, and it had {len(data)}.",
            )
        return replace(kept, warnings=warned)
    return Compressed(
        encoded, Action.COMPRESSED, output, FACTS[output].extension, *size, warnings=warned + lost
    )


def _keep(data: bytes, source: Format) -> Compressed | None:
    """The original without its metadata; None where it cannot be handed on, as it may tell where it
    was taken.
    """
    with _opened(data, source) as image, _decoding():
        stripped = strip(data, source, read_exif(image))
        if stripped is None and tells_place(image):
            return None
        unchanged = stripped is None or stripped == data or len(stripped) > len(data)
        stored = None if unchanged else stripped
        return Compressed(
            stored, Action.KEPT_ORIGINAL, source, FACTS[source].extension, *upright_size(image)
        )


def _identify(data: bytes, limits: CodecLimits) -> Format:
    source = sniff(data)
    if source is None and is_text(data):
        raise ImageRefused(
            ImageErrorCode.NOT_AN_IMAGE, "The URL leads to a page or a text, not to an image."
        )
    if source is None:
        readable = ", ".join(Format)
        raise ImageRefused(
            ImageErrorCode.UNSUPPORTED_FORMAT, f"The image is in none of the formats {readable}."
        )
    if source is Format.JPEG and jpeg_has_more_scans(data, MAX_JPEG_SCANS):
        raise ImageRefused(
            ImageErrorCode.CORRUPT_IMAGE, f"The JPEG has more than {MAX_JPEG_SCANS} scans."
        )
    # These two are allocated for before Pillow tells a size.
    if source is Format.WEBP and (canvas := webp_canvas(data)) is not None:
        _check_pixels(canvas, limits)
    if source is Format.GIF:
        _check_pixels(gif_extent(data), limits)
    return source


@contextmanager
def _opened(data: bytes, source: Format) -> Iterator[Image.Image]:
    with _decoding():
        image = Image.open(io.BytesIO(data), formats=[source.value])
        if source is Format.PNG:
            scale_key(image, png_bits(data))
    with image:
        yield image


@contextmanager
def _decoding() -> Iterator[None]:
    """Pillow's decoders raise whatever the broken bytes lead them into: all of it means the same to
    the client.
    """
    try:
        yield
    except (ImageRefused, MemoryError):
        raise
    except (
        UnidentifiedImageError
    ):  # it names the object that was read, and where that lies in memory
        raise ImageRefused(
            ImageErrorCode.CORRUPT_IMAGE, "The image cannot be decoded: its head is broken."
        ) from None
    except Exception as error:
        raise ImageRefused(
            ImageErrorCode.CORRUPT_IMAGE, f"The image cannot be decoded: {error}."
        ) from error


def _check_pixels(size: tuple[int, int], limits: CodecLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise ImageRefused(
            ImageErrorCode.TOO_MANY_PIXELS,
            f"The image has {width} × {height} pixels; {limits.max_pixels} are allowed.",
        )


def _check_size(image: Image.Image, source: Format, limits: CodecLimits) -> int:
    """How many frames there are, after they have been judged by what their headers say."""
    _check_pixels(image.size, limits)
    with _decoding():
        frames = _frame_count(image, source)
    if frames > limits.max_frames:
        raise ImageRefused(
            ImageErrorCode.TOO_MANY_FRAMES,
            f"The image has {frames} frames; {limits.max_frames} are allowed.",
        )
    pixels = frames * image.width * image.height
    if source is Format.TIFF:
        with _decoding():
            sizes = list(_page_sizes(image, frames))
        for size in sizes:
            _check_pixels(size, limits)
        pixels = sum(width * height for width, height in sizes)
    if pixels > limits.max_pixels * ANIMATION_PIXELS_FACTOR:
        raise ImageRefused(
            ImageErrorCode.TOO_MANY_PIXELS,
            f"The image has {pixels} pixels in {frames} frames;"
            f" {limits.max_pixels * ANIMATION_PIXELS_FACTOR} are allowed in all frames together.",
        )
    return frames


def _frame_count(image: Image.Image, source: Format) -> int:
    # What phones and 3D cameras put behind a JPEG is a preview or a second view, and no frame.
    return 1 if source is Format.JPEG else int(getattr(image, "n_frames", 1))


def _page_sizes(image: Image.Image, pages: int) -> Iterator[tuple[int, int]]:
    """A TIFF's pages may each have a size of their own."""
    for page in range(pages):
        image.seek(page)
        yield image.size
    image.seek(0)


def _plan(
    image: Image.Image, source: Format, options: ImageOptions, frames: int
) -> tuple[Format, tuple[str, ...], tuple[str, ...]]:
    """The output format; in words, why it is another than asked for; and what it cannot hold of
    this image.
    """
    if options.format is OutputFormat.KEEP:
        return source, (), ()
    output = Format(options.format.value.upper())
    facts = FACTS[output]
    size = scaled_size(image.size, options.scale) if options.mode is Mode.SCALE else image.size
    if max(size) > facts.max_side:
        return (
            source,
            (f"{output} holds at most {facts.max_side} pixels a side; the image stays {source}.",),
            (),
        )
    lost = []
    if image.has_transparency_data and not facts.alpha:
        lost.append(f"{output} has no transparency; the image was put on white.")
    if frames > 1 and not facts.animation:
        lost.append(f"{output} has no animation; the first of {frames} frames was kept.")
    return output, (), tuple(lost)


def _decode(image: Image.Image, source: Format, output: Format, count: int) -> Frames:
    facts = FACTS[output]
    notice = _copyright_notice(image)
    pictures, durations = [], []
    for number in range(count if facts.animation else 1):
        image.seek(number)
        picture = eight_bits(bare(upright(current_frame(image))))
        pictures.append(flatten(picture) if picture.has_alpha and not facts.alpha else picture)
        durations.append(round(image.info.get("duration", 0)) or _DEFAULT_FRAME_MILLISECONDS)
    return Frames(
        pictures,
        durations,
        plays=_plays(image, source),
        still_first=bool(image.info.get("default_image")),
        copyright=notice,
    )


def _copyright_notice(image: Image.Image) -> bytes | None:
    notice: bytes | None = kept_exif(image).get(COPYRIGHT_TAG)
    return notice


def _plays(image: Image.Image, source: Format) -> int:
    loop = image.info.get("loop")
    if source is not Format.GIF:
        return int(loop or 0)
    return 1 if loop is None else loop and int(loop) + 1


def _requantise(
    data: bytes, image: Image.Image, options: ImageOptions, limits: CodecLimits
) -> tuple[bytes, tuple[str, ...]] | None:
    """What `_encode` gives, of a JPEG that is not decoded; None where it must be."""
    with _decoding():
        if not can_requantise(image):
            return None
        icc, exif = image.info.get("icc_profile"), copyright_exif(_copyright_notice(image))
    encode_at = partial(requantise, data, max_pixels=limits.max_pixels, icc=icc, exif=exif)
    try:
        encoded, warned = _encode(encode_at, Format.JPEG, options, len(data))
    except MustDecode:
        return None
    # What is no smaller that way is the original itself, which may have to be encoded for what it
    # tells.
    return None if encoded is data and _keep(data, Format.JPEG) is None else (encoded, warned)


def _encode(
    encode_at: Callable[[int], bytes], output: Format, options: ImageOptions, source_bytes: int
) -> tuple[bytes, tuple[str, ...]]:
    """The image as it is asked for, and what is to be said of that. `encode_at` writes it at a
    quality.
    """
    if options.mode is not Mode.BYTES:
        return encode_at(options.quality), ()
    max_bytes = _max_bytes(options, source_bytes)
    encoded = best_that_fits(encode_at, GROWTH[output], max_bytes)
    if len(encoded) <= max_bytes:
        return encoded, ()
    return encoded, (f"No quality brings the image to {max_bytes} bytes; this is the smallest.",)


def _max_bytes(options: ImageOptions, source_bytes: int) -> int:
    """With mode=bytes."""
    return int(source_bytes * options.ratio)
