"""Recognising formats by their bytes, and telling pages and error messages from unsupported
images.
"""

import io
import json
import struct
from collections.abc import Callable

import pytest
from PIL import Image

from halftone_shared.model.image_formats import Format
from halftone_workers.codec.formats import is_text, sniff
from halftone_workers.codec.sources.webp import is_lossless
from tests.support.images import encoded, picture

_SIZE = (40, 30)


def _animated(name: str, **how: object) -> bytes:
    frames = [picture(_SIZE, seed=seed) for seed in (1, 2, 3)]
    return encoded(frames[0], name, save_all=True, append_images=frames[1:], duration=100, **how)


def _ftyp(major: bytes, *compatible: bytes, minor: bytes = b"\0\0\0\0") -> bytes:
    box = b"ftyp" + major + minor + b"".join(compatible)
    return struct.pack(">I", len(box) + 4) + box + b"\0\0\0\x20meta" + bytes(64)


_WRITTEN: list[tuple[str, Format, Callable[[], bytes]]] = [
    ("baseline JPEG", Format.JPEG, lambda: encoded(picture(_SIZE))),
    ("progressive JPEG", Format.JPEG, lambda: encoded(picture(_SIZE), progressive=True)),
    ("CMYK JPEG", Format.JPEG, lambda: encoded(picture(_SIZE).convert("CMYK"))),
    (
        "JPEG with EXIF first",
        Format.JPEG,
        lambda: encoded(picture(_SIZE), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"),
    ),
    ("PNG", Format.PNG, lambda: encoded(picture(_SIZE), "PNG")),
    ("animated PNG", Format.PNG, lambda: _animated("PNG")),
    ("lossy WebP", Format.WEBP, lambda: encoded(picture(_SIZE), "WEBP")),
    ("lossless WebP", Format.WEBP, lambda: encoded(picture(_SIZE), "WEBP", lossless=True)),
    ("animated WebP", Format.WEBP, lambda: _animated("WEBP")),
    ("GIF 89a", Format.GIF, lambda: _animated("GIF")),
    ("GIF 87a", Format.GIF, lambda: b"GIF87a" + encoded(picture(_SIZE).convert("P"), "GIF")[6:]),
    ("AVIF", Format.AVIF, lambda: encoded(picture(_SIZE), "AVIF")),
    ("animated AVIF", Format.AVIF, lambda: _animated("AVIF")),
    ("little-endian TIFF", Format.TIFF, lambda: encoded(picture(_SIZE), "TIFF")),
    ("BigTIFF", Format.TIFF, lambda: encoded(picture(_SIZE), "TIFF", big_tiff=True)),
]


@pytest.mark.parametrize(("what", "expected", "made"), _WRITTEN, ids=[row[0] for row in _WRITTEN])
def test_each_format_is_told_by_its_bytes(
    what: str, expected: Format, made: Callable[[], bytes]
) -> None:
    data = made()
    assert sniff(data) is expected, what
    assert not is_text(data)


@pytest.mark.parametrize(
    "head",
    [b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"],
    ids=["little-endian", "big-endian", "BigTIFF little-endian", "BigTIFF big-endian"],
)
def test_tiff_is_told_in_both_byte_orders_and_both_sizes(head: bytes) -> None:
    assert sniff(head + bytes(64)) is Format.TIFF


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (_ftyp(b"avif"), Format.AVIF),
        (_ftyp(b"avis"), Format.AVIF),
        (_ftyp(b"avif", b"mif1", b"miaf", b"MA1B"), Format.AVIF),
        (_ftyp(b"mif1", b"mif1", b"avif", b"miaf"), Format.AVIF),
        (_ftyp(b"msf1", b"msf1", b"avis"), Format.AVIF),
        (_ftyp(b"heic", b"mif1", b"heic"), Format.HEIC),
        (_ftyp(b"mif1", b"heic"), Format.HEIC),
        (_ftyp(b"isom", b"iso2", b"mp41"), None),
        (_ftyp(b"qt  "), None),
        # A minor version is a number even if it spells a brand, and bytes after the box are not
        # brands.
        (_ftyp(b"heic", b"mif1", minor=b"avif"), Format.HEIC),
        (_ftyp(b"heic", b"mif1") + b"avifavif", Format.HEIC),
        (b"\0\0\0\0ftypavif", None),
    ],
)
def test_avif_is_told_by_its_major_and_compatible_brands(
    box: bytes, expected: Format | None
) -> None:
    assert sniff(box) is expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\xff\xd8",
        b"\x89PNG",
        b"\x89PNG\n\x1a\n",
        b"RIFF",
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"RIFF\x24\0\0\0AVI LIST",
        b"GIF88a" + bytes(32),
        b"II*",
        b"\0\0\0\x1cftyp",
        b" \xff\xd8\xff\xe0" + bytes(32),
    ],
)
def test_what_only_resembles_a_format_is_none(data: bytes) -> None:
    assert sniff(data) is None


def test_names_and_extensions_play_no_part() -> None:
    png = encoded(picture(_SIZE), "PNG")
    assert sniff(b"photo.jpg\n" + png) is None


_TEXTS = {
    "HTML": b"<!DOCTYPE html>\n<html><head><title>404</title></head><body>Not found</body></html>",
    "HTML in capitals": b"<HTML><BODY>Not found</BODY></HTML>",
    "HTML behind blank lines": b"\r\n\r\n   <html><body>x</body></html>",
    "HTML with a byte order mark": b"\xef\xbb\xbf<!doctype html><p>x",
    "HTML in another language": (
        "<!doctype html><title>Größe</title><p>Página não encontrada"
    ).encode(),
    "HTML in Latin-1": "<html><body>Größe</body></html>".encode("latin-1"),
    "HTML with an icon drawn in it": (
        b"<!doctype html><body><svg width='10'><path d='M0 0'/></svg>404</body>"
    ),
    "XML error": b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code></Error>',
    "JSON object": json.dumps({"error": "not found"}).encode(),
    "JSON array": b'[{"a": 1}]',
    "JSON in another language": '{"fehler": "Größe unbekannt"}'.encode(),
    "plain text": b"Not Found",
    "plain text with a tab and lines": b"404\tNot\r\nFound\r\n",
    "plain text in another language": (
        "Das Bild wurde gelöscht. Página não encontrada. 画像がありません"
    ).encode(),
    "CSV": b"a,b\r\n1,2\r\n",
}


@pytest.mark.parametrize("data", _TEXTS.values(), ids=_TEXTS.keys())
def test_page_or_message_is_text(data: bytes) -> None:
    assert sniff(data) is None
    assert is_text(data)


def _psd() -> bytes:
    return b"8BPS\0\x01" + bytes(6) + struct.pack(">HIIHH", 3, 30, 40, 8, 3) + bytes(100)


_DRAWING = (
    b"<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'>"
    b"<rect width='10' height='10'/></svg>"
)
_ILLUSTRATOR = (
    b'<?xml version="1.0" encoding="utf-8"?>\n<!-- Generator: Adobe Illustrator 27.0.0,'
    b" SVG Export Plug-In -->\n"
    b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN"'
    b' "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd" [\n'
    + b"".join(
        b'\t<!ENTITY ns_%d "http://ns.adobe.com/Extensibility/%d.0/">\n' % (at, at)
        for at in range(12)
    )
    + b"]>\n"
    + _DRAWING
)
_UNREAD_IMAGES = {
    "SVG": _DRAWING,
    "SVG with a declaration": b'<?xml version="1.0"?>\n<!-- drawn -->\n' + _DRAWING,
    "SVG behind a long preamble": _ILLUSTRATOR,
    "SVG with a prefix": b"<svg:svg xmlns:svg='http://www.w3.org/2000/svg'><svg:rect/></svg:svg>",
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
    "EPS with a preview": b"\xc5\xd0\xd3\xc6"
    + struct.pack("<7I", 32, 64, 0, 0, 0, 0, 0)
    + b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "PSD": _psd(),
    "ICO": b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0" + bytes(64),
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 " + bytes(32),
    "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n",
    "PPM": b"P6\n10 10\n255\n" + bytes(range(256)) + bytes(44),
}


@pytest.mark.parametrize("data", _UNREAD_IMAGES.values(), ids=_UNREAD_IMAGES.keys())
def test_image_of_a_format_that_is_not_read_is_no_text(data: bytes) -> None:
    assert sniff(data) is None
    assert not is_text(data)


def _webp(**how: object) -> bytes:
    return encoded(picture(_SIZE), "WEBP", **how)


def _rgba() -> Image.Image:
    image = picture(_SIZE).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(_SIZE))
    return image


_ICC_BEFORE = {
    "icc_profile": b"\0" * 128 + b"profile",
    "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0",
}


@pytest.mark.parametrize(
    ("data", "expected", "first_chunk"),
    [
        (_webp(lossless=True), True, b"VP8L"),
        (_webp(), False, b"VP8 "),
        (_webp(lossless=True, **_ICC_BEFORE), True, b"VP8X"),
        (_webp(**_ICC_BEFORE), False, b"VP8X"),
        (encoded(_rgba(), "WEBP", lossless=True), True, b"VP8L"),
        # Its alpha channel is a separate lossless chunk.
        (encoded(_rgba(), "WEBP"), False, b"VP8X"),
        (_animated("WEBP", lossless=True), True, b"VP8X"),
        (_animated("WEBP", quality=80), False, b"VP8X"),
        (_animated("WEBP", lossless=True, **_ICC_BEFORE), True, b"VP8X"),
    ],
    ids=[
        "plain",
        "plain lossy",
        "VP8X",
        "VP8X lossy",
        "alpha",
        "alpha lossy",
        "animated",
        "animated lossy",
        "all",
    ],
)
def test_lossless_webp_is_told_by_its_first_picture(
    data: bytes, expected: bool, first_chunk: bytes
) -> None:
    assert data[12:16] == first_chunk
    assert is_lossless(data) is expected


def test_odd_chunk_before_the_picture_is_padded() -> None:
    picture_chunk = _webp(lossless=True)[12:]
    chunks = (
        b"VP8X"
        + struct.pack("<I", 10)
        + bytes(10)
        + b"ICCP"
        + struct.pack("<I", 3)
        + b"abc\0"
        + picture_chunk
    )
    data = b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks
    assert is_lossless(data)


@pytest.mark.parametrize("cut", [0, 11, 12, 16, 20, 30, 60])
def test_cut_webp_is_not_called_lossless_without_its_picture(cut: int) -> None:
    assert not is_lossless(_webp(lossless=True, **_ICC_BEFORE)[:cut])


def test_chunk_that_lies_about_its_length_ends_the_search() -> None:
    data = b"RIFF\xff\xff\xff\xffWEBPVP8X\xff\xff\xff\xff" + bytes(20) + _webp(lossless=True)[12:]
    assert not is_lossless(data)


def test_avif_that_pillow_writes_opens_as_what_it_was_told_to_be() -> None:
    data = encoded(picture(_SIZE), "AVIF")
    found = sniff(data)
    assert found is not None
    assert Image.open(io.BytesIO(data), formats=[found.value]).size == _SIZE
