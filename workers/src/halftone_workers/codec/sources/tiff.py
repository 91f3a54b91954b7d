"""TIFF input: selects the pages of the picture, and handles kinds that Pillow reads wrongly or not
at all.
"""

import struct
import zlib
from collections.abc import Callable

from halftone_workers.codec.metadata import photoshop_iptc
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.sources.prepared import (
    Prepared,
    check_pixels,
    corrupt,
    too_many_frames,
    unsupported,
)
from halftone_workers.codec.tiff_pages import (
    COMPRESSION,
    EXTENTS,
    Layout,
    Page,
    Value,
    has_more_pages,
    pages,
    with_stored_pixels,
)

# A page of 50,000 rows may have one strip per row. Pillow creates several objects per strip.
MAX_STRIPS = 200_000

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC = 254, 256, 257, 258, 262
_SAMPLES, _PLANAR, _EXTRA, _FORMAT = 277, 284, 338, 339
_STRIPS, _TILES, _SUB_IFDS, _XMP, _IPTC, _PHOTOSHOP = 273, 324, 330, 700, 33723, 34377
_DNG_VERSION = 50706
_READ = frozenset(tag for pair in EXTENTS for tag in pair) | {
    _SUBFILE, _WIDTH, _HEIGHT, _BITS, COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR, _EXTRA,
    _FORMAT, _SUB_IFDS, _XMP, _IPTC, _PHOTOSHOP, _DNG_VERSION,
}  # fmt: skip
_REDUCED, _CMYK, _SENSOR = 1, 5, frozenset({32803, 34892})
_UNCOMPRESSED, _DEFLATE, _SEPARATE, _FLOAT = 1, 8, 2, 3
_COMPRESSIONS = {
    1: "uncompressed", 2: "CCITT", 3: "CCITT", 4: "CCITT", 5: "LZW", 6: "old-style JPEG", 7: "JPEG",
    8: "Deflate", 32773: "PackBits", 32946: "Deflate", 33003: "JPEG 2000", 33004: "JPEG 2000",
    33005: "JPEG 2000", 34661: "JBIG", 34712: "JPEG 2000", 34887: "LERC", 34892: "lossy JPEG",
    34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
_COLOURS = {
    0: "gray", 1: "gray", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "Lab",
    9: "Lab", 10: "Lab", 32844: "LogL", 32845: "LogLuv",
}  # fmt: skip
_BROKEN = (ValueError, LookupError, OverflowError, struct.error)


def prepare(data: bytes, limits: CodecLimits) -> Prepared:
    """Raises ImageRefused for camera raw, and for more pages, pixels or strips than the limits."""
    if data[8:10] == b"CR" and data.startswith(b"II*\0"):
        raise _raw()
    if has_more_pages(data, limits.max_frames):
        raise too_many_frames(limits)
    layout = Layout.of(data)
    described: list[Page] = []
    try:
        for page in pages(data, layout, _READ):
            described.append(page)
            _check_page(page, layout, limits)
        if not described:
            return Prepared(data)
        whole = _whole_pages(described, layout)
        data, warnings = _readable(data, described, layout)
    except _BROKEN:
        # The parts that are used may still be intact: leave the decision to Pillow.
        return Prepared(data)
    first = described[whole[0]]
    iptc = first[_IPTC].stored if _IPTC in first else b""
    if not iptc and _PHOTOSHOP in first:
        iptc = photoshop_iptc(first[_PHOTOSHOP].stored)
    xmp = first[_XMP].stored if _XMP in first else b""
    return Prepared(
        data,
        xmp=xmp,
        iptc=iptc,
        pages=whole,
        frame_count=len(whole),
        warnings=warnings,
    )


def kind_of(data: bytes) -> str | None:
    """Describe an intact TIFF that Pillow cannot read; None if the file is broken."""
    layout = Layout.of(data)
    try:
        page = next(pages(data, layout, _READ))
        compression = _number(page, COMPRESSION, layout, 1)
        bits = _number(page, _BITS, layout, 1)
        colour = _COLOURS.get(_number(page, _PHOTOMETRIC, layout, -1), "unknown")
        if not _has_its_pixels(data, page, layout) or not _number(page, _WIDTH, layout, 0):
            return None
    except (*_BROKEN, StopIteration):
        return None
    what = f"{bits}-bit {colour}"
    if _number(page, _FORMAT, layout, 1) == _FLOAT:
        what = f"{bits}-bit floating-point {colour}"
    if _EXTRA in page:
        what += " with further channels"
    return f"{what}, {_COMPRESSIONS.get(compression, f'compression {compression}')}"


def _has_its_pixels(data: bytes, page: Page, layout: Layout) -> bool:
    places = [
        (layout.numbers(page[offsets]), layout.numbers(page[sizes]))
        for offsets, sizes in EXTENTS
        if offsets in page
    ]
    return bool(places) and all(
        start + size <= len(data)
        for starts, sizes in places
        for start, size in zip(starts, sizes, strict=True)
    )


def _check_page(page: Page, layout: Layout, limits: CodecLimits) -> None:
    size = _number(page, _WIDTH, layout, 0), _number(page, _HEIGHT, layout, 0)
    check_pixels(size, limits)
    strips = max((page[tag].length for tag in (_STRIPS, _TILES) if tag in page), default=0)
    if strips > MAX_STRIPS:
        raise unsupported(
            f"The TIFF has {strips} strips or tiles in a page; at most {MAX_STRIPS} are read."
        )
    if _DNG_VERSION in page or _number(page, _PHOTOMETRIC, layout, 0) in _SENSOR:
        raise _raw()


def _whole_pages(described: list[Page], layout: Layout) -> tuple[int, ...]:
    """The pages that are not reduced copies of others.

    Raises ImageRefused if the picture is not a page but in a sub-IFD, as in camera raw, where the
    pages are previews.
    """
    whole = tuple(
        at for at, page in enumerate(described) if not _number(page, _SUBFILE, layout, 0) & _REDUCED
    )
    if not whole and any(_SUB_IFDS in page for page in described):
        raise _raw()
    return whole or (0,)


def _readable(data: bytes, described: list[Page], layout: Layout) -> tuple[bytes, tuple[str, ...]]:
    """Change the file so that Pillow reads it correctly. Returns it with warnings of any loss."""
    warnings: tuple[str, ...] = ()
    if any(_is_cmyk_with_alpha(page, layout) for page in described):
        # Declare alpha as a spot colour: Pillow reads that, and the pixels are stored the same way.
        data = _changed_tag(data, layout, _EXTRA, lambda page: _is_cmyk_with_alpha(page, layout))
        warnings = ("The transparency of a CMYK TIFF cannot be read; the image has none.",)
    if any(_is_misread(page, layout) for page in described):
        # Pillow's own reader for uncompressed pixels mixes up the channels; libtiff's does not.
        try:
            data = with_stored_pixels(data, lambda part: zlib.compress(part, 0), _DEFLATE)
        except _BROKEN:
            raise corrupt("The TIFF's tags and its size do not fit together.") from None
    return data, warnings


def _is_cmyk_with_alpha(page: Page, layout: Layout) -> bool:
    return (
        _number(page, _PHOTOMETRIC, layout, 0) == _CMYK
        and _number(page, _SAMPLES, layout, 0) == 5
        and _number(page, _EXTRA, layout, 0) in (1, 2)
    )


def _is_misread(page: Page, layout: Layout) -> bool:
    bits = _number(page, _BITS, layout, 1)
    return (
        _number(page, _PLANAR, layout, 1) == _SEPARATE
        and _number(page, COMPRESSION, layout, 1) == _UNCOMPRESSED
        and _number(page, _SAMPLES, layout, 1) > 1
        and bits > 8
    )


def _changed_tag(data: bytes, layout: Layout, tag: int, changes: Callable[[Page], bool]) -> bytes:
    """Set a tag of type SHORT to 0 in the pages that `changes` selects."""
    result = bytearray(data)
    for page in pages(data, layout, _READ):
        if changes(page):
            at = page[tag].at
            result[at : at + 2] = bytes(2)
    return bytes(result)


def _number(page: Page, tag: int, layout: Layout, default: int) -> int:
    value: Value | None = page.get(tag)
    return layout.numbers(value)[0] if value is not None and value.length else default


def _raw() -> Exception:
    return unsupported(
        "The file is a camera raw, which is not read; export it as JPEG, PNG or TIFF first."
    )
