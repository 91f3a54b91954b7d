"""compress(): what browsers show can be read, and looks the same afterwards.

The expected values were compared with screenshots of Chromium.
"""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.image_formats import WRITTEN, Format
from halftone_shared.model.states import Action
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.sources.png import chunk
from tests.support.codec import (
    COPYRIGHT,
    assert_alike,
    both_ways,
    colourful,
    compress_image,
    compressed_bytes,
    exif_of,
    look,
    png_of,
    refusal,
    refused_message,
    see_through,
)
from tests.support.images import encoded, jpeg, opened, picture, tiff_of

PADDING = bytes(60_000)


def difference(one: Image.Image, other: Image.Image) -> float:
    pair = one.convert("RGB"), other.convert("RGB")
    return sum(ImageStat.Stat(ImageChops.difference(*pair)).mean) / 3


# --- JPEG without its end marker ---


@both_ways
@pytest.mark.parametrize(
    "how",
    [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}],
    ids=["baseline", "progressive", "4:4:4", "restarts"],
)
@pytest.mark.parametrize("trailer", [b"", b"SEFH\x6a\0\0\0SEFT", bytes(40)], ids=repr)
def test_jpeg_without_end_marker_is_compressed(how: dict[str, Any], trailer: bytes) -> None:
    data = encoded(picture((400, 300)), **how)
    assert data.endswith(b"\xff\xd9")
    result, _ = compressed_bytes(data[:-2] + trailer)
    assert difference(opened(result), opened(data)) < 6


@both_ways
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("missing", [40, 400, 2000])
def test_jpeg_that_lacks_pixels_too_is_corrupt(missing: int, *, progressive: bool) -> None:
    data = encoded(picture((400, 300)), progressive=progressive)
    assert refusal(data[:-missing]) is ImageErrorCode.CORRUPT_IMAGE


@both_ways
def test_progressive_jpeg_that_lacks_whole_scans_is_corrupt() -> None:
    data = encoded(picture((400, 300)), progressive=True)
    last_scan = data.rindex(b"\xff\xda")
    tables = data.rindex(b"\xff\xc4", 0, last_scan)
    assert refusal(data[:tables]) is ImageErrorCode.CORRUPT_IMAGE


# --- orientation ---


def _xmp(content: str = 'tiff:Orientation="6"') -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
        ' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description'
        ' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        f" {content}</rdf:Description></rdf:RDF></x:xmpmeta>"
        if content.count(">")
        else '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description'
        f' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" {content}/></x:xmpmeta>'
    ).encode()


def _png_with(*chunks: tuple[bytes, bytes], image: Image.Image | None = None) -> bytes:
    data = encoded(image or colourful(), "PNG", compress_level=0)
    return data[:33] + b"".join(chunk(*one) for one in chunks) + data[33:]


TURNED = exif_of(orientation=6).tobytes()


@pytest.mark.parametrize(
    "source",
    [
        encoded(colourful(), xmp=_xmp()),
        encoded(colourful(), xmp=_xmp(), quality=10),
        encoded(colourful(), "WEBP", xmp=_xmp()),
        encoded(colourful(), "AVIF", xmp=_xmp()),
        encoded(colourful(), "TIFF", tiffinfo={700: _xmp()}),
        _png_with((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _xmp())),
        _png_with(
            (
                b"tEXt",
                b"Raw profile type exif\0\nexif\n8\n"
                + exif_of(orientation=6).tobytes().hex().encode(),
            )
        ),
    ],
    ids=["JPEG", "kept JPEG", "WebP", "AVIF", "TIFF", "PNG", "PNG text"],
)
def test_orientation_outside_exif_does_not_turn_the_picture(source: bytes) -> None:
    result = compress_image(source)
    assert (result.width, result.height) == colourful().size
    seen = opened(result.data or source)
    assert seen.size == colourful().size
    assert seen.getexif().get(0x0112, 1) == 1
    assert difference(seen, colourful()) < 30


# --- colours that are declared without a profile ---


def _gamma(value: int) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", value)


P3 = (b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))
# What Chromium shows of this gray and of this red, in sRGB.
MIDDLE_GRAY = Image.new("RGB", (64, 64), (128, 128, 128))
RED = Image.new("RGB", (64, 64), (200, 60, 50))


@pytest.mark.parametrize(
    ("chunks", "image", "shown"),
    [
        ([_gamma(100_000)], MIDDLE_GRAY, (188, 188, 188)),
        ([_gamma(55_100)], MIDDLE_GRAY, (147, 147, 147)),
        ([_gamma(45_455)], MIDDLE_GRAY, (128, 128, 128)),
        ([_gamma(100_000)], MIDDLE_GRAY.convert("L"), (188, 188, 188)),
        ([_gamma(45_455), P3], RED, (218, 40, 36)),
        ([P3], RED, (200, 60, 50)),
        ([_gamma(100_000), (b"sRGB", b"\0")], MIDDLE_GRAY, (128, 128, 128)),
        ([(b"cICP", bytes([12, 13, 0, 1]))], RED, (218, 40, 36)),
        ([_gamma(100_000), (b"cICP", bytes([1, 13, 0, 1]))], MIDDLE_GRAY, (128, 128, 128)),
        ([(b"cICP", bytes([1, 8, 0, 1]))], MIDDLE_GRAY, (188, 188, 188)),
    ],
    ids=[
        "gamma 1",
        "gamma 1.8",
        "gamma of sRGB",
        "gray",
        "cHRM and gAMA",
        "cHRM alone",
        "sRGB wins",
        "cICP P3",
        "cICP wins",
        "cICP linear",
    ],
)
@pytest.mark.parametrize("target", [None, Format.JPEG, Format.GIF])
def test_declared_colours_of_a_png_look_the_same(
    chunks: list[tuple[bytes, bytes]],
    image: Image.Image,
    shown: tuple[int, int, int],
    target: Format | None,
) -> None:
    data, _ = compressed_bytes(_png_with(*chunks, image=image) + PADDING, format=target, quality=90)
    seen = look(data).frames[0].convert("RGB").getpixel((32, 32))
    assert isinstance(seen, tuple)
    assert all(abs(a - b) <= 5 for a, b in zip(seen, shown, strict=True)), seen


@pytest.mark.parametrize(
    ("points", "shown"),
    [
        ((12, 13), (218, 40, 36)),
        ((12, 2), (218, 40, 36)),
        ((1, 1), (200, 60, 50)),
        ((2, 2), (200, 60, 50)),
        ((1, 8), (229, 133, 122)),
    ],
)
@pytest.mark.parametrize("target", [None, Format.JPEG, Format.PNG])
def test_declared_colours_of_an_avif_look_the_same(
    points: tuple[int, int], shown: tuple[int, int, int], target: Format | None
) -> None:
    data = encoded(RED, "AVIF", quality=98, speed=10)
    at = data.index(b"colrnclx") + 8
    data = data[:at] + struct.pack(">HH", *points) + data[at + 4 :]
    rest = struct.pack(">I", len(PADDING) + 8) + b"free" + PADDING
    result, _ = compressed_bytes(data + rest, format=target, quality=90)
    seen = look(result).frames[0].convert("RGB").getpixel((32, 32))
    assert isinstance(seen, tuple)
    assert all(abs(a - b) <= 5 for a, b in zip(seen, shown, strict=True)), seen


def test_colours_brighter_than_white_are_told() -> None:
    _, result = compressed_bytes(_png_with((b"cICP", bytes([9, 16, 0, 1]))) + PADDING)
    assert result.warnings == ("Colours brighter than white (HDR) were shown as white.",)


# --- GIF ---

YELLOW, BLUE = 0, 1


def _gif(screen: tuple[int, int], *frames: tuple[tuple[int, int, int, int], int, int]) -> bytes:
    """A GIF of yellow and blue. Each frame has a box, one colour and a disposal."""
    data = b"GIF89a" + struct.pack("<HH", *screen) + b"\x80\0\0" + b"\xff\xff\0\0\0\xff"
    for (left, top, right, bottom), colour, disposal in frames:
        image = Image.new("P", (right - left, bottom - top), colour)
        image.putpalette([255, 255, 0, 0, 0, 255])
        one = encoded(image, "GIF", optimize=False)
        at = one.index(b",")
        pixels = one[at + 10 : -1]
        assert one[at + 9] & 0x80 == 0
        palette_bits = one[10] & 7
        table = one[13 : 13 + (3 << (palette_bits + 1))]
        data += b"\x21\xf9\x04" + struct.pack("<BHB", disposal << 2, 10, 0) + b"\0"
        data += b"," + struct.pack("<HHHH", left, top, right - left, bottom - top)
        data += bytes([0x80 | palette_bits]) + table + pixels
    return data + b";"


ALL = (0, 0, 40, 30)
PART = (10, 10, 30, 20)


@pytest.mark.parametrize("target", [None, Format.WEBP, Format.PNG])
@pytest.mark.parametrize(
    ("frames", "last_corner"),
    [
        ([(PART, BLUE, 0)], (0, 0, 0, 0)),
        ([(PART, BLUE, 0), ((12, 12, 20, 18), YELLOW, 0)], (0, 0, 0, 0)),
        ([(ALL, BLUE, 2), (PART, YELLOW, 0)], (0, 0, 0, 0)),
        ([(ALL, BLUE, 3), (PART, YELLOW, 0)], (0, 0, 0, 0)),
        ([(ALL, BLUE, 1), (PART, YELLOW, 2), (PART, BLUE, 0)], (0, 0, 255, 255)),
        ([(ALL, BLUE, 1), (PART, YELLOW, 3), ((0, 0, 2, 2), YELLOW, 0)], (255, 255, 0, 255)),
    ],
    ids=["still", "first small", "to background", "first to previous", "covered", "to previous"],
)
def test_gif_is_transparent_where_no_frame_is(
    frames: list[tuple[tuple[int, int, int, int], int, int]],
    last_corner: tuple[int, int, int, int],
    target: Format | None,
) -> None:
    data, result = compressed_bytes(_gif((40, 30), *frames) + PADDING, format=target, quality=90)
    seen = look(data).frames
    assert len(seen) == len(frames)
    assert (result.width, result.height) == (40, 30)
    corner = seen[-1].convert("RGBA").getpixel((0, 0))
    assert isinstance(corner, tuple)
    assert corner[3] == last_corner[3]
    assert corner[3] == 0 or all(abs(a - b) < 12 for a, b in zip(corner, last_corner, strict=True))


@pytest.mark.parametrize(
    "beyond", [(30, 20, 60, 50), (50, 40, 60, 50), (0, 0, 80, 60)], ids=["partly", "wholly", "over"]
)
def test_gif_frame_beyond_the_screen_is_cut_off(beyond: tuple[int, int, int, int]) -> None:
    data, result = compressed_bytes(_gif((40, 30), (ALL, BLUE, 1), (beyond, YELLOW, 1)) + PADDING)
    assert (result.width, result.height) == (40, 30)
    assert result.warnings == ()
    assert len(look(data).frames) == (1 if beyond[0] == 50 else 2)


def test_gif_screen_grows_to_its_first_frame() -> None:
    _, result = compressed_bytes(_gif((40, 30), ((0, 0, 60, 50), BLUE, 1)) + PADDING)
    assert (result.width, result.height) == (60, 50)


# --- PNG ---


def _wrong(kind: bytes, content: bytes) -> bytes:
    return chunk(kind, content)[:-4] + b"\0\1\2\3"


@pytest.mark.parametrize(
    "extra",
    [
        _wrong(b"tEXt", b"Comment\0hello"),
        _wrong(b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
        _wrong(b"tIME", bytes(7)),
        _wrong(b"prVt", b"private"),
        _wrong(b"gAMA", struct.pack(">I", 100_000)),
        _wrong(b"iCCP", b"name\0\0broken"),
        chunk(b"iCCP", b"name\0\0broken"),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"tEXt", b"Copyright\0" + b"c" * 100_000),
        chunk(b"zTXt", b"Copyright\0\0not zlib"),
        chunk(b"eXIf", b"no EXIF"),
    ],
    ids=lambda extra: f"{extra[4:8].decode()}-{len(extra)}",
)
def test_png_with_harmless_damage_is_compressed(extra: bytes) -> None:
    data = encoded(colourful(), "PNG", compress_level=0)
    result, _ = compressed_bytes(data[:33] + extra + data[33:])
    assert_alike(result, look(data))


@pytest.mark.parametrize("cut", [12, 16, 20], ids=["no IEND", "half a checksum", "no checksum"])
def test_png_that_ends_behind_its_pixels_is_compressed(cut: int) -> None:
    data = encoded(colourful(), "PNG", compress_level=0)
    result, _ = compressed_bytes(data[:-cut])
    assert_alike(result, look(data))


def test_png_with_wrong_checksum_of_its_pixels_is_compressed() -> None:
    data = encoded(colourful(), "PNG", compress_level=0)
    at = data.index(b"IEND") - 8
    result, _ = compressed_bytes(data[:at] + b"\0\1\2\3" + data[at + 4 :])
    assert_alike(result, look(data))


def test_png_with_a_wrong_head_is_corrupt() -> None:
    data = bytearray(encoded(colourful(), "PNG"))
    data[29:33] = b"\0\1\2\3"
    assert refusal(bytes(data)) is ImageErrorCode.CORRUPT_IMAGE


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF"])
def test_messages_name_nothing_of_ours(form: str) -> None:
    data = encoded(colourful(), form)
    for at in range(12, len(data), max(len(data) // 40, 1)):
        broken = data[:at] + bytes(value ^ 0x5A for value in data[at : at + 9]) + data[at + 9 :]
        for message in filter(None, (refused_message(data[:at]), refused_message(broken))):
            assert not any(word in message for word in ("Plugin", "object", "0x", "<", "_"))


# --- WebP ---


@pytest.mark.parametrize(
    "how", [{}, {"lossless": True}, {"exif": exif_of(copyright="c").tobytes()}]
)
@pytest.mark.parametrize("excess", [2, 1000, 2**31])
def test_webp_that_says_more_than_its_length_is_compressed(how: Any, excess: int) -> None:
    data = encoded(picture((300, 200)), "WEBP", **how)
    size = int.from_bytes(data[4:8], "little")
    longer = data[:4] + (size + excess).to_bytes(4, "little") + data[8:]
    result = compress_image(longer)
    assert difference(opened(result.data or longer), opened(data)) < 8


def test_webp_that_says_more_than_its_length_is_corrected_where_it_is_kept() -> None:
    whole = encoded(colourful((24, 18)), "WEBP", quality=30)
    head = struct.pack("<4sI", b"RIFF", len(whole) + 80)
    result = compress_image(head + whole[8:], format=Format.AVIF)
    assert result.action is Action.KEPT_ORIGINAL
    assert result.data == whole


# --- TIFF ---


def _planar(image: Image.Image, *, tiled: bool, order: str) -> bytes:
    """A TIFF of 16 bits a channel, uncompressed, whose channels follow each other."""
    bands = image.getbands()
    planes = []
    for band in image.split():
        deep = band.convert("I").point(lambda value: value * 257).convert("I;16")
        if tiled:
            tile = Image.new("I;16", (64, 64))
            tile.paste(deep)
            deep = tile
        planes.append(deep.tobytes("raw", "I;16" if order == "<" else "I;16B"))
    count = len(bands)
    values: dict[int, tuple[int, list[int]]] = {
        256: (4, [image.width]), 257: (4, [image.height]), 258: (3, [16] * count), 259: (3, [1]),
        262: (3, [{"CMYK": 5}.get(image.mode, 2)]), 277: (3, [count]), 284: (3, [2]),
    }  # fmt: skip
    if image.mode == "RGBA":
        values[338] = (3, [2])
    sizes = [len(plane) for plane in planes]
    offsets = [8 + sum(sizes[:at]) for at in range(count)]
    if tiled:
        values |= {322: (4, [64]), 323: (4, [64]), 324: (4, offsets), 325: (4, sizes)}
    else:
        values |= {273: (4, offsets), 278: (4, [image.height]), 279: (4, sizes)}
    body = b"".join(planes)
    at = 8 + len(body)
    extra, entries = b"", b""
    extra_at = at + 2 + 12 * len(values) + 4
    for tag, (kind, numbers) in sorted(values.items()):
        packed = struct.pack(f"{order}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(packed) > 4:
            place = struct.pack(order + "I", extra_at + len(extra))
            extra += packed
            packed = place
        entries += struct.pack(order + "HHI", tag, kind, len(numbers)) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at)
    return head + body + struct.pack(order + "H", len(values)) + entries + bytes(4) + extra


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("tiled", [False, True], ids=["strips", "tiles"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK"])
def test_planar_tiff_of_16_bits_is_the_right_picture(mode: str, order: str, *, tiled: bool) -> None:
    image = colourful((60, 50)).convert(mode)
    source = _planar(image, tiled=tiled, order=order)
    data, _ = compressed_bytes(source + bytes(50_000), format=Format.PNG, quality=95)
    assert difference(opened(data), image.convert("RGB")) < 9


def _entries(image: Image.Image, **more: int) -> dict[int, int | bytes]:
    tags: dict[int, int | bytes] = {
        256: image.width, 257: image.height, 258: 8, 259: 1, 262: 1, 277: 1, 278: image.height,
    }  # fmt: skip
    return tags | {int(name[1:]): value for name, value in more.items()}


@pytest.mark.parametrize(
    "data",
    [
        tiff_of((_entries(picture((16, 12), "L"), t254=1, t330=500), bytes(192))) + bytes(9000),
        tiff_of((_entries(picture((16, 12), "L"), t50706=0x01040000), bytes(192))) + bytes(9000),
        tiff_of((_entries(picture((16, 12), "L"), t262=32803), bytes(192))) + bytes(9000),
        b"II*\0\x10\0\0\0CR\2\0" + bytes(9000),
        b"FUJIFILMCCD-RAW 0201FF" + bytes(9000),
        b"IIU\0\x18\0\0\0" + bytes(9000),
        b"\0\0\0\x18ftypcrx \0\0\0\1" + bytes(9000),
    ],
    ids=["preview and SubIFD", "DNG", "sensor", "CR2", "RAF", "RW2", "CR3"],
)
def test_camera_raw_is_unsupported(data: bytes) -> None:
    assert refusal(data) is ImageErrorCode.UNSUPPORTED_FORMAT
    assert "camera raw" in (refused_message(data) or "")


def test_smaller_copies_in_a_tiff_are_no_pages() -> None:
    large, small = picture((64, 48), "L"), picture((16, 12), "L")
    source = tiff_of((_entries(small, t254=1), small.tobytes()), (_entries(large), large.tobytes()))
    data, result = compressed_bytes(source + bytes(9000), format=Format.PNG)
    assert (result.width, result.height) == (64, 48)
    assert difference(opened(data), large) < 6
    assert result.warnings == ()


def test_cmyk_tiff_with_alpha_is_read_and_says_so() -> None:
    ink = colourful((60, 50)).convert("CMYK")
    rows = b"".join(
        bytes(channel)
        for pixel in zip(*(band.tobytes() for band in ink.split()), strict=True)
        for channel in ((*pixel, 255),)
    )
    tags = _entries(ink, t262=5, t277=5, t338=2)
    # Pillow requires the five sample tags as shorts, which tiff_of does not write.
    source = tiff_of((tags | {258: struct.pack("<5H", 8, 8, 8, 8, 8)}, rows))
    source = source.replace(struct.pack("<HHI", 258, 7, 10), struct.pack("<HHI", 258, 3, 5))
    data, result = compressed_bytes(source + bytes(50_000), format=Format.PNG, quality=90)
    assert difference(opened(data), ink.convert("RGB")) < 9
    assert result.warnings == (
        "The transparency of a CMYK TIFF cannot be read; the image has none.",
    )


@pytest.mark.parametrize(
    ("tags", "named"),
    [
        ({"t339": 3, "t258": 32, "t262": 2, "t277": 3}, "floating-point"),
        ({"t258": 16, "t262": 8, "t277": 3}, "Lab"),
        ({"t259": 50002, "t262": 2, "t277": 3}, "JPEG XL"),
        ({"t259": 34712, "t262": 2, "t277": 3}, "JPEG 2000"),
        ({"t258": 16, "t277": 2, "t338": 2}, "gray with further channels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_intact_tiff_that_is_not_read_is_unsupported(tags: dict[str, int], named: str) -> None:
    data = tiff_of((_entries(picture((16, 12), "L"), **tags), bytes(2304)))
    assert refusal(data) is ImageErrorCode.UNSUPPORTED_FORMAT
    assert named in (refused_message(data) or "")


@pytest.mark.parametrize(
    ("marker", "bits", "named"),
    [(0xC1, 12, "12 bits"), (0xC3, 8, "lossless"), (0xC9, 8, "arithmetic"), (0xC5, 8, "hierarch")],
)
def test_jpeg_of_a_kind_that_is_not_read_is_unsupported(marker: int, bits: int, named: str) -> None:
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = marker, bits
    assert refusal(bytes(data)) is ImageErrorCode.UNSUPPORTED_FORMAT
    assert named in (refused_message(bytes(data)) or "")


# --- copyright, and the mark of AI pictures ---

NOTICE = "© 2026 Jana Nováková 写真"
AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
RIGHTS = (
    f'><dc:rights><rdf:Alt><rdf:li xml:lang="x-default">{NOTICE}</rdf:li></rdf:Alt></dc:rights>'
)
MADE_BY_AI = f'Iptc4xmpExt:DigitalSourceType="{AI}" photoshop:City="Prague">'


def _iptc() -> bytes:
    notice = NOTICE.encode()
    record = b"\x1c\x02\x5a\0\6Prague\x1c\x02\x74" + struct.pack(">H", len(notice)) + notice
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(record)) + record
    return b"Photoshop 3.0\0" + resource


def _jpeg_with(marker: int, content: bytes, image: Image.Image | None = None) -> bytes:
    data = encoded(image or colourful())
    segment = struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content
    return data[:2] + segment + data[2:]


WITH_NOTICE: dict[str, Callable[[], bytes]] = {
    "JPEG XMP": lambda: encoded(colourful(), xmp=_xmp(RIGHTS)),
    "JPEG IPTC": lambda: _jpeg_with(0xED, _iptc()),
    "WebP XMP": lambda: encoded(colourful(), "WEBP", xmp=_xmp(RIGHTS)),
    "AVIF XMP": lambda: encoded(colourful(), "AVIF", xmp=_xmp(RIGHTS)),
    "TIFF XMP": lambda: encoded(colourful(), "TIFF", tiffinfo={700: _xmp(RIGHTS)}),
    "TIFF IPTC": lambda: encoded(colourful(), "TIFF", tiffinfo={34377: _iptc()[14:]}),
    "PNG text": lambda: _png_with((b"iTXt", b"Copyright\0\0\0\0\0" + NOTICE.encode())),
    "PNG packed text": lambda: _png_with(
        (b"iTXt", b"Copyright\0\1\0\0\0" + zlib.compress(NOTICE.encode()))
    ),
    "PNG XMP": lambda: _png_with((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _xmp(RIGHTS))),
}


@both_ways
@pytest.mark.parametrize("target", [None, *WRITTEN])
@pytest.mark.parametrize("name", WITH_NOTICE)
def test_copyright_notice_is_kept_wherever_it_is(name: str, target: Format | None) -> None:
    source = WITH_NOTICE[name]()
    result = compress_image(source, format=target)
    data = result.data or source
    assert NOTICE.encode() in data
    if result.data is not None and result.format != "GIF":
        kept = opened(data).getexif().get(COPYRIGHT)
        assert str(kept).encode("latin-1").decode() == NOTICE


@both_ways
@pytest.mark.parametrize("name", WITH_NOTICE)
def test_copyright_notice_is_kept_with_an_image_that_is_kept(name: str) -> None:
    # At quality 95 nothing gets smaller. Files that cannot be stripped are encoded anyway.
    source = WITH_NOTICE[name]()
    result = compress_image(source, quality=95)
    assert NOTICE.encode() in (result.data or source)


def test_notice_stays_where_it_was() -> None:
    xmp, _ = compressed_bytes(encoded(colourful(), xmp=_xmp(RIGHTS)))
    assert b"dc:rights" in xmp
    iptc, _ = compressed_bytes(_jpeg_with(0xED, _iptc()))
    assert b"\x1c\x02\x74" + struct.pack(">H", len(NOTICE.encode())) + NOTICE.encode() in iptc
    assert b"Prague" not in iptc
    text, _ = compressed_bytes(_png_with((b"tEXt", b"Copyright\0Jane Doe")))
    assert Image.open(io.BytesIO(text)).info["Copyright"] == "Jane Doe"


@both_ways
@pytest.mark.parametrize("form", ["JPEG", "WEBP", "AVIF", "TIFF"])
def test_mark_of_pictures_made_by_ai_is_kept_and_nothing_beside_it(form: str) -> None:
    packet = _xmp(MADE_BY_AI)
    how: dict[str, Any] = {"tiffinfo": {700: packet}} if form == "TIFF" else {"xmp": packet}
    data, _ = compressed_bytes(encoded(colourful(), form, **how))
    assert AI.encode() in data
    assert b"Prague" not in data


def test_source_type_that_is_none_is_dropped() -> None:
    packet = _xmp('Iptc4xmpExt:DigitalSourceType="I live at 5 Main Street">')
    data, _ = compressed_bytes(encoded(colourful(), xmp=packet))
    assert b"Main Street" not in data


def test_long_notice_is_shortened() -> None:
    data, _ = compressed_bytes(
        encoded(picture((600, 400)), exif=exif_of(copyright="c" * 50_000).tobytes())
    )
    assert opened(data).getexif()[COPYRIGHT] == "c" * 4096


# --- limits that are checked before decoding ---


def test_limits_are_judged_before_the_rest_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images over a limit are refused without decoding the rest: each of these took 14–40 s or 1.6
    GB.
    """
    pages = b"".join(
        struct.pack("<H", 1) + struct.pack("<HHII", 256, 4, 1, 8) + struct.pack("<I", 8 + 18 * at)
        for at in range(1, 100_001)
    )
    assert refusal(b"II*\0\x08\0\0\0" + pages) is ImageErrorCode.TOO_MANY_FRAMES

    def not_reached(*_: Any, **__: Any) -> None:
        raise AssertionError("Pillow reads it")

    monkeypatch.setattr(Image, "open", not_reached)
    head = encoded(colourful())
    comments = b"\xff\xfe\0\2" * 12_000_000
    assert refusal(head[:2] + comments + head[2:]) is ImageErrorCode.CORRUPT_IMAGE
    gif = encoded(colourful(), "GIF")
    at = gif.index(b"\x2c") if b"\x21" not in gif else gif.index(b"\x21")
    extensions = b"\x21\xfe\1x\0" * 9_000_000
    assert refusal(gif[:at] + extensions + gif[at:]) is ImageErrorCode.CORRUPT_IMAGE
    chunks = chunk(b"prVt", b"") * 1_000_000
    png = encoded(colourful(), "PNG")
    assert refusal(png[:33] + chunks + png[33:]) is ImageErrorCode.CORRUPT_IMAGE
    frames = (b"," + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\2\2\x4c\1\0") * 1_000_000
    small = CodecLimits(max_frames=3)
    assert refusal(gif[: gif.index(b",")] + frames, small) is ImageErrorCode.TOO_MANY_FRAMES


def test_tiff_of_a_million_strips_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 1_000_000
    tags = _entries(Image.new("L", (8, 8)), t257=count, t278=1)
    data = bytearray(tiff_of((tags, b"")))
    at = len(data)
    data += bytes(4 * count)
    for tag in (273, 279):
        place = data.index(struct.pack("<HHI", tag, 4, 1))
        data[place : place + 12] = struct.pack("<HHII", tag, 4, count, at)
    monkeypatch.setattr(Image, "open", None)
    assert refusal(bytes(data + bytes(4 * count))) is ImageErrorCode.UNSUPPORTED_FORMAT


# --- profiles ---


@pytest.mark.parametrize(
    "profile",
    [
        b"<script>alert(1)</script>" * 1000,
        bytes(36) + b"acsp" + bytes(1000),
        struct.pack(">I", 500) + bytes(8) + b"mntrCMYKXYZ " + bytes(12) + b"acsp" + bytes(460),
    ],
    ids=["any bytes", "signature alone", "of other channels"],
)
@both_ways
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_profile_that_is_none_is_dropped(form: str, profile: bytes) -> None:
    data, _ = compressed_bytes(encoded(picture((300, 200)), form, icc_profile=profile))
    assert "icc_profile" not in opened(data).info
    assert profile[:200] not in data


def test_bytes_behind_a_profile_are_dropped() -> None:
    profile = _srgb_bytes()
    source = encoded(picture((300, 200)), icc_profile=profile + b"48.85N 2.35E" * 100)
    data, _ = compressed_bytes(source)
    assert opened(data).info["icc_profile"] == profile


def test_huge_profile_is_used_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("halftone_workers.codec.decoding.MAX_PROFILE_BYTES", 100)
    from tests.support.codec import swapped_profile

    source = encoded(RED, "PNG", icc_profile=swapped_profile()) + PADDING
    data, _ = compressed_bytes(source, quality=90)
    assert "icc_profile" not in opened(data).info
    seen = opened(data).convert("RGB").getpixel((32, 32))
    assert isinstance(seen, tuple)
    assert seen[2] > 150 > seen[0]


def _srgb_bytes() -> bytes:
    from PIL import ImageCms

    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def test_transparent_png_with_declared_colours_keeps_its_transparency() -> None:
    data, result = compressed_bytes(_png_with(_gamma(100_000), image=see_through(colourful())))
    assert result.action is Action.COMPRESSED
    assert opened(data).has_transparency_data


def test_png_without_pixels_is_corrupt() -> None:
    assert refusal(png_of((8, 8), b"\x08\x02")) is ImageErrorCode.CORRUPT_IMAGE
