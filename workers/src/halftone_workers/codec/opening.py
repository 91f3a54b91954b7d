"""Opens an image: detects its format, checks its structure against limits, and reads its metadata.

Nothing is decoded here.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image, ImageFile, UnidentifiedImageError

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.image_formats import READABLE, Format
from halftone_workers.codec.exif import COPYRIGHT_TAG, read_exif, upright_size
from halftone_workers.codec.formats import is_text, other_kind, sniff
from halftone_workers.codec.memory import is_out_of_memory
from halftone_workers.codec.metadata import Kept, kept
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.pixels import scale_key
from halftone_workers.codec.sources import avif, bmp, gif, heic, jpeg, jxl, png, tiff, webp
from halftone_workers.codec.sources.prepared import Prepared, check_pixels, unsupported
from halftone_workers.errors import ImageRefused

# All frames of an animation are in memory at once. Together they may have this many times the pixel
# limit of one image.
ANIMATION_PIXELS_FACTOR = 3

# libwebp allocates 200 MB at once for a canvas of 25 million pixels.
_LARGE_CANVAS_PIXELS = 25_000_000

# Treat a truncated image as corrupt.
ImageFile.LOAD_TRUNCATED_IMAGES = False
# Pixels are counted here, before decoding. Pillow's own limit only warns below twice its value.
Image.MAX_IMAGE_PIXELS = None

_PREPARE: dict[Format, Callable[[bytes, CodecLimits], Prepared]] = {
    Format.JPEG: jpeg.prepare,
    Format.PNG: png.prepare,
    Format.WEBP: webp.prepare,
    Format.GIF: gif.prepare,
    Format.AVIF: avif.prepare,
    Format.TIFF: tiff.prepare,
    Format.BMP: bmp.prepare,
    Format.HEIC: heic.prepare,
    Format.JXL: jxl.prepare,
}


@dataclass(frozen=True)
class Source:
    """An image whose headers were read and are within the limits.

    `data`: the fetched file. `size`: the displayed size, upright. `image`: Pillow's, not decoded
    yet.
    """

    data: bytes
    format: Format
    prepared: Prepared
    image: Image.Image
    frame_count: int
    size: tuple[int, int]
    kept: Kept
    has_xmp: bool = False


@contextmanager
def opened(data: bytes, limits: CodecLimits) -> Iterator[Source]:
    """Open an image. Raises ImageRefused if it is no image, unsupported, or over a limit."""
    form = identify(data)
    prepared = _PREPARE[form](data, limits)
    with _image_of(prepared, form) as image:
        count = _check_size(image, prepared, form, limits)
        # Read metadata before XMP is hidden from Pillow.
        xmp = prepared.xmp or image.info.get("xmp") or b""
        with decoding():
            notice = read_exif(image).get(COPYRIGHT_TAG)
            size = prepared.canvas or upright_size(image)
        metadata = kept(notice, xmp, prepared.iptc, prepared.text)
        yield Source(data, form, prepared, image, count, size, metadata, has_xmp=bool(xmp))


def identify(data: bytes) -> Format:
    """Detect the format from the bytes. Raises ImageRefused, which names an unsupported kind."""
    form = sniff(data)
    if form is not None:
        return form
    if is_text(data):
        raise ImageRefused(
            ImageErrorCode.NOT_AN_IMAGE, "The URL leads to a page or a text, not to an image."
        )
    kind = other_kind(data)
    what = f"The file is {kind}" if kind else "The file's kind is not known"
    raise unsupported(f"{what}, which is not read. These are: {READABLE}.")


@contextmanager
def decoding() -> Iterator[None]:
    """Turn any exception of Pillow's decoders for broken bytes into the same public error."""
    try:
        yield
    except (ImageRefused, MemoryError):
        raise
    except UnidentifiedImageError:
        raise ImageRefused(
            ImageErrorCode.CORRUPT_IMAGE, "The image cannot be decoded: its head is broken."
        ) from None
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryError from error
        # Pillow's message names classes and objects: log it, but do not show it.
        is_cut = isinstance(error, EOFError) or "truncated" in str(error).lower()
        reason = "it ends too early" if is_cut else "its data are damaged"
        raise ImageRefused(
            ImageErrorCode.CORRUPT_IMAGE, f"The image cannot be decoded: {reason}."
        ) from error


def frame_numbers(source: Source) -> Sequence[int]:
    """The indices of Pillow's frames that belong to the picture."""
    if source.format is Format.HEIC:
        return (source.image.tell(),)  # the primary image of a series
    return source.prepared.pages or range(source.frame_count)


@contextmanager
def _image_of(prepared: Prepared, form: Format) -> Iterator[Image.Image]:
    with decoding():
        try:
            if form is Format.JXL:
                image = jxl.decoded(prepared.data)
            else:
                plugin = heic.PLUGIN if form is Format.HEIC else form.value
                image = Image.open(io.BytesIO(prepared.data), formats=[plugin])
        except UnidentifiedImageError:
            if form is Format.TIFF and (kind := tiff.kind_of(prepared.data)) is not None:
                raise unsupported(f"The TIFF is {kind}, which is not read.") from None
            raise
        except OSError:
            # libwebp gives no reason. With a large canvas, it is memory.
            canvas = webp.canvas(prepared.data) if form is Format.WEBP else None
            if canvas is not None and canvas[0] * canvas[1] >= _LARGE_CANVAS_PIXELS:
                raise MemoryError from None
            raise
        if form is Format.PNG:
            scale_key(image, png.bits_a_channel(prepared.data))
        if prepared.own_icc:
            image.info["icc_profile"] = prepared.icc
    with image:
        yield image


def _check_size(image: Image.Image, prepared: Prepared, form: Format, limits: CodecLimits) -> int:
    """The number of frames, checked against the limits by the headers."""
    size = prepared.canvas or image.size
    check_pixels(size, limits)
    with decoding():
        frames = prepared.frame_count or _frame_count(image, form)
    if frames > limits.max_frames:
        raise ImageRefused(
            ImageErrorCode.TOO_MANY_FRAMES,
            f"The image has {frames} frames; {limits.max_frames} are allowed.",
        )
    pixels = frames * size[0] * size[1]
    if form is Format.TIFF:
        with decoding():
            sizes = list(_page_sizes(image, prepared.pages or range(frames)))
        for page_size in sizes:
            check_pixels(page_size, limits)
        pixels = sum(width * height for width, height in sizes)
    most = limits.max_pixels * ANIMATION_PIXELS_FACTOR
    if pixels > most:
        raise ImageRefused(
            ImageErrorCode.TOO_MANY_PIXELS,
            f"The image has {pixels} pixels in {frames} frames;"
            f" {most} are allowed in all frames together.",
        )
    return frames


def _frame_count(image: Image.Image, form: Format) -> int:
    # Images that phones and 3D cameras append to a JPEG are previews or second views, not frames.
    if form in (Format.JPEG, Format.HEIC):
        return 1
    return int(getattr(image, "n_frames", 1))


def _page_sizes(image: Image.Image, pages: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The size of each page: the pages of a TIFF may differ in size."""
    for page in pages:
        image.seek(page)
        yield image.size
    image.seek(pages[0])
