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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from PIL import Image, ImageFile, UnidentifiedImageError

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.options import ImageOptions, Mode, OutputFormat
from halftone_shared.model.states import Action
from halftone_workers.codec.colour_profiles import MAX_PROFILE_BYTES, usable_profile
from halftone_workers.codec.encoders import GROWTH, Frames, encode, fit
from halftone_workers.codec.exif import COPYRIGHT_TAG, read_exif, upright_size
from halftone_workers.codec.formats import FACTS, Format, is_text, other_kind, sniff
from halftone_workers.codec.metadata import Kept, kept
from halftone_workers.codec.options import CodecLimits, Compressed
from halftone_workers.codec.pixels import (
    Picture,
    bare,
    current_frame,
    eight_bits,
    flatten,
    in_srgb,
    resized,
    scale_key,
    scaled_size,
    upright,
)
from halftone_workers.codec.requantising import can_requantise, requantise
from halftone_workers.codec.search import best_that_fits
from halftone_workers.codec.sources import avif, gif, jpeg, png, tiff, webp
from halftone_workers.codec.sources.prepared import Prepared, check_pixels
from halftone_workers.codec.sources.webp import is_lossless
from halftone_workers.codec.stripping import strip, tells_place, with_metadata
from halftone_workers.errors import ImageRefused, MustDecode

_PREPARE: dict[Format, Callable[[bytes, CodecLimits], Prepared]] = {
    Format.JPEG: jpeg.prepare,
    Format.PNG: png.prepare,
    Format.WEBP: webp.prepare,
    Format.GIF: gif.prepare,
    Format.AVIF: avif.prepare,
    Format.TIFF: tiff.prepare,
}
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
    source = _identify(data)
    prepared = _PREPARE[source](data, limits)
    with _opened(prepared, source) as image:
        count = _check_size(image, prepared, source, limits)
        output, warned, lost = _plan(image, source, options, count)
        stays_jpeg = source is output is Format.JPEG and options.mode is not Mode.SCALE
        kept = _kept(image, prepared)
        requantised = (
            _requantise(prepared.data, image, kept, options, limits) if stays_jpeg else None
        )
        if requantised is None:
            with _decoding():
                frames = _decode(image, prepared, source, output, kept)
    if requantised is None:
        if source is output is Format.WEBP:
            frames = replace(frames, lossless=is_lossless(data))
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
    if len(encoded) >= len(data) and (original := _keep(data, prepared, source)) is not None:
        if output is not source or (
            options.mode is Mode.SCALE and size != (original.width, original.height)
        ):
            asked = f"as {output} of {size[0]} × {size[1]} pixels"
            warned += (
                f"The image was kept: {asked} it would have {len(encoded)} bytes, and it had {len(data)}.",
            )
        return replace(original, warnings=warned)
    return Compressed(
        encoded,
        Action.COMPRESSED,
        output,
        FACTS[output].extension,
        *size,
        warnings=warned + lost + prepared.warnings,
    )


def _keep(data: bytes, prepared: Prepared, source: Format) -> Compressed | None:
    """The original without its metadata; None if it cannot be kept, as it may tell where it was
    taken.
    """
    with _opened(prepared, source) as image, _decoding():
        kept = _kept(image, prepared)
        # A PNG's colours may be declared in chunks that Pillow was not given.
        readable = data if source is Format.PNG else prepared.data
        exif = read_exif(image)
        stripped = strip(readable, source, exif, kept)
        if stripped is not None and len(stripped) > len(data):
            # The notice in one place is enough.
            in_exif = replace(kept, in_xmp=False, in_iptc=False, in_text=False)
            stripped = strip(readable, source, exif, in_exif)
        if stripped is None or len(stripped) > len(data):
            if tells_place(image):
                return None
            stripped = data
        stored = None if stripped == data else stripped
        return Compressed(
            stored,
            Action.KEPT_ORIGINAL,
            source,
            FACTS[source].extension,
            *(prepared.canvas or upright_size(image)),
        )


def _identify(data: bytes) -> Format:
    source = sniff(data)
    if source is not None:
        return source
    if is_text(data):
        raise ImageRefused(
            ImageErrorCode.NOT_AN_IMAGE, "The URL leads to a page or a text, not to an image."
        )
    kind, readable = other_kind(data), ", ".join(Format)
    what = f"The file is {kind}" if kind else "The file's kind is not known"
    raise ImageRefused(
        ImageErrorCode.UNSUPPORTED_FORMAT, f"{what}, which is not read. These are: {readable}."
    )


@contextmanager
def _opened(prepared: Prepared, source: Format) -> Iterator[Image.Image]:
    with _decoding():
        try:
            image = Image.open(io.BytesIO(prepared.data), formats=[source.value])
        except UnidentifiedImageError:
            if source is Format.TIFF and (kind := tiff.kind_of(prepared.data)) is not None:
                raise ImageRefused(
                    ImageErrorCode.UNSUPPORTED_FORMAT, f"The TIFF is {kind}, which is not read."
                ) from None
            raise
        if source is Format.PNG:
            scale_key(image, png.bits_a_channel(prepared.data))
        if prepared.own_icc:
            image.info["icc_profile"] = prepared.icc
    with image:
        yield image


def _kept(image: Image.Image, prepared: Prepared) -> Kept:
    """What results keep of the metadata."""
    xmp = prepared.xmp or image.info.get("xmp") or b""
    with _decoding():
        notice = read_exif(image).get(COPYRIGHT_TAG)
    return kept(notice, xmp, prepared.iptc, prepared.text)


@contextmanager
def _decoding() -> Iterator[None]:
    """Pillow's decoders raise whatever the broken bytes lead them into: all of it means the same to
    the client.
    """
    try:
        yield
    except (ImageRefused, MemoryError):
        raise
    except UnidentifiedImageError:
        raise ImageRefused(
            ImageErrorCode.CORRUPT_IMAGE, "The image cannot be decoded: its head is broken."
        ) from None
    except Exception as error:
        # Pillow's own words name classes and objects. They are for the log.
        is_cut = isinstance(error, EOFError) or "truncated" in str(error).lower()
        reason = "it ends too early" if is_cut else "its data are damaged"
        raise ImageRefused(
            ImageErrorCode.CORRUPT_IMAGE, f"The image cannot be decoded: {reason}."
        ) from error


def _check_size(image: Image.Image, prepared: Prepared, source: Format, limits: CodecLimits) -> int:
    """How many frames there are, after they have been judged by what their headers say."""
    size = prepared.canvas or image.size
    check_pixels(size, limits)
    with _decoding():
        frames = prepared.frame_count or _frame_count(image, source)
    if frames > limits.max_frames:
        raise ImageRefused(
            ImageErrorCode.TOO_MANY_FRAMES,
            f"The image has {frames} frames; {limits.max_frames} are allowed.",
        )
    pixels = frames * size[0] * size[1]
    if source is Format.TIFF:
        with _decoding():
            sizes = list(_page_sizes(image, prepared.pages or range(frames)))
        for size in sizes:
            check_pixels(size, limits)
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


def _page_sizes(image: Image.Image, pages: Sequence[int]) -> Iterator[tuple[int, int]]:
    """A TIFF's pages may each have a size of their own."""
    for page in pages:
        image.seek(page)
        yield image.size
    image.seek(pages[0])


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


def _decode(
    image: Image.Image, prepared: Prepared, source: Format, output: Format, kept: Kept
) -> Frames:
    facts = FACTS[output]
    pictures, durations = [], []
    for picture, duration in _frames(image, prepared, source):
        picture = eight_bits(bare(picture))
        if picture.icc is not None and len(picture.icc) > MAX_PROFILE_BYTES:
            picture = in_srgb(picture)
        pictures.append(flatten(picture) if picture.has_alpha and not facts.alpha else picture)
        durations.append(duration or _DEFAULT_FRAME_MILLISECONDS)
        if not facts.animation:
            break
    return Frames(
        pictures,
        durations,
        plays=_plays(image, source),
        still_first=bool(image.info.get("default_image")),
        kept=kept,
    )


def _frames(
    image: Image.Image, prepared: Prepared, source: Format
) -> Iterator[tuple[Picture, int]]:
    if prepared.frames is not None:
        for frame, milliseconds in prepared.frames():
            yield Picture(frame, None), milliseconds
        return
    for number in prepared.pages or range(_frame_count(image, source)):
        image.seek(number)
        yield upright(current_frame(image)), round(image.info.get("duration", 0))


def _plays(image: Image.Image, source: Format) -> int:
    loop = image.info.get("loop")
    if source is not Format.GIF:
        return int(loop or 0)
    return 1 if loop is None else loop and int(loop) + 1


def _requantise(
    data: bytes, image: Image.Image, kept: Kept, options: ImageOptions, limits: CodecLimits
) -> tuple[bytes, tuple[str, ...]] | None:
    """What `_encode` gives, of a JPEG that is not decoded; None where it must be."""
    with _decoding():
        if not can_requantise(image):
            return None
        icc = usable_profile(image.info.get("icc_profile"), image.mode)
    if icc is not None and len(icc) > MAX_PROFILE_BYTES:
        return None
    requantise_at = partial(
        requantise, data, max_pixels=limits.max_pixels, icc=icc, exif=kept.exif()
    )

    def encode_at(quality: int) -> bytes:
        encoded = requantise_at(quality)
        return data if encoded is data else with_metadata(encoded, Format.JPEG, kept)

    try:
        encoded, warned = _encode(encode_at, Format.JPEG, options, len(data))
    except MustDecode:
        return None
    # What is no smaller that way is the original itself. It is encoded if it cannot be stripped.
    must_encode = encoded is data and strip(data, Format.JPEG, read_exif(image), kept) is None
    return None if must_encode and tells_place(image) else (encoded, warned)


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
