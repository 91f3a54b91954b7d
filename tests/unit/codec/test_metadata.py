"""compress(): upright, with the right colours, and without private metadata."""

import io
import struct
import zlib
from typing import Any

import pytest
from PIL import Image, ImageOps, TiffImagePlugin

from halftone_shared.model.image_formats import Format
from halftone_shared.model.options import Mode
from halftone_shared.model.states import Action
from halftone_workers.codec.stripping import strip
from tests.support.codec import (
    COLOUR_TOLERANCE,
    COPYRIGHT,
    DESCRIPTION,
    FINE,
    GPS,
    HALF,
    ORIENTATION,
    RAW,
    SAMPLES,
    SIZE,
    Look,
    assert_alike,
    both_ways,
    cmyk_profile,
    colour_difference,
    colourful,
    compress_image,
    compressed_bytes,
    exif_of,
    film,
    four_frames,
    gray,
    gray_profile,
    in_srgb,
    look,
    on_ground,
    palette_with_alpha,
    sample,
    see_through,
    sixteen_bits,
    source_format,
    swapped_profile,
    wasteful,
)
from tests.support.images import encoded, moving_dot, opened, tiff_of

# --- upright, profiles, metadata ---

# How a camera stores a picture for each orientation value.
_STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
_WITH_EXIF = [Format.JPEG, Format.PNG, Format.WEBP, Format.AVIF, Format.TIFF]


def _turned(form: Format, orientation: int, image: Image.Image | None = None) -> bytes:
    upright = image or colourful()
    stored = upright.transpose(_STORED_AS[orientation]) if orientation in _STORED_AS else upright
    wasteful = RAW if form is Format.PNG else {} if form is Format.TIFF else FINE
    return encoded(stored, form, exif=exif_of(orientation=orientation), **wasteful)


@both_ways
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", _WITH_EXIF)
def test_orientation_is_applied(form: Format, orientation: int) -> None:
    source = _turned(form, orientation)
    data, result = compressed_bytes(source)
    assert (result.width, result.height) == SIZE
    assert opened(data).getexif().get(ORIENTATION, 1) == 1
    assert_alike(data, Look([in_srgb(colourful(), None)], [0]))
    assert_alike(data, look(source))


@pytest.mark.parametrize("orientation", [3, 6, 7])
@pytest.mark.parametrize("target", [Format.JPEG, Format.WEBP, Format.AVIF])
def test_orientation_is_applied_in_conversions_and_before_scaling(
    target: Format | None, orientation: int
) -> None:
    data, _ = compressed_bytes(
        _turned(Format.JPEG, orientation), mode=Mode.SCALE, format=target, quality=80
    )
    assert opened(data).getexif().get(ORIENTATION, 1) == 1
    assert_alike(data, Look([in_srgb(colourful(), None)], [0]), HALF)


@pytest.mark.parametrize(
    "image", [palette_with_alpha(), sixteen_bits(gray())], ids=["palette alpha", "16-bit gray"]
)
def test_orientation_is_applied_to_every_mode(image: Image.Image) -> None:
    data, _ = compressed_bytes(_turned(Format.PNG, 6, image))
    assert_alike(data, Look([in_srgb(image, None)], [0]))


@both_ways
@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientation_that_does_not_exist_changes_nothing(orientation: int) -> None:
    data, _ = compressed_bytes(_turned(Format.JPEG, orientation))
    assert_alike(data, Look([in_srgb(colourful(), None)], [0]))


@both_ways
@pytest.mark.parametrize("name", [name for name in SAMPLES if "profile" in name])
def test_profile_is_kept(name: str) -> None:
    data, _ = compressed_bytes(wasteful(name))
    assert opened(data).info.get("icc_profile") == opened(sample(name)).info["icc_profile"]


@both_ways
@pytest.mark.parametrize("name", ["JPEG rgb", "PNG rgb", "WEBP rgb", "AVIF rgb", "TIFF rgb"])
@pytest.mark.parametrize(
    "profile",
    [b"not a profile", gray_profile()[:200], gray_profile(), cmyk_profile(), b""],
    ids=["nonsense", "cut", "of gray", "of CMYK", "empty"],
)
@pytest.mark.parametrize("target", [None, Format.WEBP])
def test_profile_that_does_not_fit_is_looked_past(
    name: str, profile: bytes, target: Format | None
) -> None:
    source = encoded(opened(sample(name)), source_format(name), icc_profile=profile)
    result = compress_image(source, format=target)
    if result.data is not None:
        seen = opened(result.data).convert("RGBA")
        assert colour_difference(seen, in_srgb(colourful(), None)) < COLOUR_TOLERANCE


@pytest.mark.parametrize("target", [Format.JPEG, Format.WEBP])
def test_profile_of_gray_holds_for_its_transparent_image(target: Format | None) -> None:
    source = encoded(see_through(gray()).convert("LA"), "PNG", icc_profile=gray_profile(), **RAW)
    shown = look(source).frames[0]
    if target is Format.JPEG:
        shown = on_ground("white", shown).convert("RGBA")
    assert_alike(compressed_bytes(source, format=target)[0], Look([shown], []))


def test_profile_of_luma_and_chroma_is_kept() -> None:
    source = encoded(colourful().convert("YCbCr"), "TIFF", icc_profile=swapped_profile())
    data, _ = compressed_bytes(source)
    assert opened(data).info["icc_profile"] == opened(source).info["icc_profile"]
    assert_alike(data, Look([in_srgb(colourful(), swapped_profile())], []))


_PAGES: list[tuple[Image.Image, bytes | None]] = [
    (colourful(), None),
    (colourful(seed=3), swapped_profile()),
    (colourful(seed=5).convert("CMYK"), cmyk_profile()),
    (colourful(seed=7), swapped_profile()),
]


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (1, 3), (2, 0), (0, 2, 1)])
@pytest.mark.parametrize("target", [None, Format.WEBP])
def test_page_has_its_own_profile_and_no_other(
    order: tuple[int, ...], target: Format | None
) -> None:
    buffer = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(buffer) as pages:
        for number in order:
            image, icc = _PAGES[number]
            image.save(pages, "TIFF", **({"icc_profile": icc} if icc else {}))
            pages.newFrame()
    data, _ = compressed_bytes(buffer.getvalue(), format=target)
    assert_alike(data, Look([in_srgb(*_PAGES[number]) for number in order], []))


@pytest.mark.parametrize("form", [Format.JPEG, Format.PNG, Format.WEBP])
@pytest.mark.parametrize(
    "broken",
    [bytes(30), b"garbage", b"II*\0", b"II*\0\xff\xff\xff\x7f", b"II*\0\x08\0\0\0\x05\0\x12\x01"],
    ids=["zeros", "garbage", "head", "far away", "cut"],
)
def test_broken_exif_is_looked_past(form: Format, broken: bytes) -> None:
    how: dict[str, Any] = RAW if form is Format.PNG else FINE
    source = encoded(colourful(), form, exif=b"Exif\0\0" + broken, **how)
    assert broken in source
    assert_alike(compressed_bytes(source)[0], Look([in_srgb(colourful(), None)], []))


@pytest.mark.parametrize("form", [Format.JPEG, Format.WEBP, Format.AVIF])
def test_kept_original_has_the_sides_that_are_seen(form: Format) -> None:
    source = encoded(
        colourful(), form, exif=exif_of(orientation=6), quality=10, **_DENSE.get(form, {})
    )
    result = compress_image(source, quality=90)
    assert (result.action, result.width, result.height) == (Action.KEPT_ORIGINAL, *reversed(SIZE))
    assert ImageOps.exif_transpose(opened(result.data or source)).size == (
        result.width,
        result.height,
    )


_DENSE: dict[Format, dict[str, Any]] = {
    Format.JPEG: {"progressive": True},
    Format.WEBP: {"method": 6},
}
_PLACE = b"SECRET-PLACE 48.8583 2.2944"


def _with_metadata(form: Format) -> bytes:
    exif = exif_of(description=_PLACE.decode(), copyright="(c) Anna Muster")
    exif[0x010F] = _PLACE.decode()
    place = exif.get_ifd(GPS)
    place.update(
        {1: "N", 2: (48.0, 51.0, 29.9), 3: "E", 4: (2.0, 17.0, 40.2), 0x1D: _PLACE.decode()}
    )
    xmp = (
        b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><exif:GPSLatitude>"
        + _PLACE
        + b"</exif:GPSLatitude></x:xmpmeta>"
    )
    if form is Format.TIFF:
        exif[700] = xmp
    how: dict[Format, dict[str, Any]] = {
        Format.JPEG: {"xmp": xmp, "comment": _PLACE, **FINE},
        Format.WEBP: {"xmp": xmp, **FINE},
        Format.AVIF: {"xmp": xmp, **FINE},
        Format.TIFF: {},
        Format.PNG: RAW,
    }
    data = encoded(colourful(), form, exif=exif.tobytes(), **how[form])
    if form is Format.PNG:
        texts = [(b"tEXt", b"Comment\0" + _PLACE), (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)]
        chunks = [
            struct.pack(">I", len(t)) + k + t + struct.pack(">I", zlib.crc32(k + t))
            for k, t in texts
        ]
        data = data[:33] + b"".join(chunks) + data[33:]
    return data


@both_ways
@pytest.mark.parametrize("form", _WITH_EXIF)
@pytest.mark.parametrize("target", [None, Format.JPEG, Format.WEBP, Format.AVIF])
def test_place_is_gone_and_copyright_kept(form: Format, target: Format | None) -> None:
    source = _with_metadata(form)
    assert opened(source).getexif().get_ifd(GPS)
    assert source.count(_PLACE) >= 3
    data, _ = compressed_bytes(source, format=target)
    exif = opened(data).getexif()
    assert exif.get(COPYRIGHT) == "(c) Anna Muster"
    assert not exif.get_ifd(GPS)
    assert DESCRIPTION not in exif
    assert _PLACE not in data


@both_ways
def test_place_beside_a_copyright_that_no_segment_holds_is_gone() -> None:
    exif = exif_of(copyright="c" * 70_000)
    exif.get_ifd(GPS).update({1: "N", 2: (48.0, 51.0, 29.9), 0x1D: _PLACE.decode()})
    told = exif.tobytes().removeprefix(b"Exif\0\0")
    parts = [b"Exif\0\0" + told[at : at + 60_000] for at in range(0, len(told), 60_000)]
    noise = Image.merge("RGB", [Image.effect_noise((2000, 1500), sigma) for sigma in (60, 61, 62)])
    plain = encoded(noise, quality=40, progressive=True, subsampling=2)
    source = (
        plain[:2]
        + b"".join(b"\xff\xe1" + struct.pack(">H", 2 + len(part)) + part for part in parts)
        + plain[2:]
    )
    assert opened(source).getexif().get_ifd(GPS)
    result = compress_image(source, quality=95)
    assert result.data is not None
    assert _PLACE not in result.data


def test_comment_of_a_gif_is_gone() -> None:
    source = encoded(colourful(), "GIF", comment=_PLACE) + bytes(100_000)
    assert _PLACE not in compressed_bytes(source)[0]


@pytest.mark.parametrize("end", [b"", b";"], ids=["cut", "whole"])
def test_comment_of_a_kept_gif_is_gone(end: bytes) -> None:
    source = film("GIF", moving_dot(), comment=_PLACE).removesuffix(b";") + end
    result = compress_image(source, quality=95)
    assert result.action is Action.KEPT_ORIGINAL
    assert result.data is not None
    assert _PLACE not in result.data
    assert [frame.tobytes() for frame in look(result.data).frames] == [
        frame.tobytes() for frame in look(source).frames
    ]


_NORTH = struct.pack("<HHHI4sI", 1, 1, 2, 2, b"N\0\0\0", 0)  # "N" without a position


def test_kept_tiff_tells_nothing_on_any_page_and_is_smaller() -> None:
    look_alike: dict[int, int | bytes] = {256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 277: 1, 278: 64}
    told = look_alike | dict.fromkeys((270, 271, 315, 700, 33723, 34377, 65000), _PLACE)
    told |= {GPS: _NORTH, COPYRIGHT: b"(c) Anna Muster\0"}
    pixels = zlib.compress(Image.linear_gradient("L").resize((64, 64)).tobytes(), 9)
    source = tiff_of((look_alike, pixels), (told, pixels))
    result = compress_image(source + _PLACE, quality=95)
    assert result.action is Action.KEPT_ORIGINAL
    assert result.data is not None
    assert len(result.data) < len(source)
    assert _PLACE not in result.data
    assert [frame.tobytes() for frame in look(result.data).frames] == [
        frame.tobytes() for frame in look(source).frames
    ]
    page = opened(result.data)
    page.seek(1)
    exif = page.getexif()
    assert exif.get(COPYRIGHT) in ("(c) Anna Muster", b"(c) Anna Muster\0")
    assert not exif.get_ifd(GPS)


@pytest.mark.parametrize("name", [name for name in SAMPLES if name.startswith("TIFF")])
def test_tiff_without_what_it_tells_looks_the_same(name: str) -> None:
    source = sample(name)
    stripped = strip(source + _PLACE, Format.TIFF, Image.Exif())
    assert stripped is not None
    assert len(stripped) <= len(source)
    assert _PLACE not in stripped
    assert [frame.tobytes() for frame in look(stripped).frames] == [
        frame.tobytes() for frame in look(source).frames
    ]
    assert opened(stripped).info.get("icc_profile") == opened(source).info.get("icc_profile")


@pytest.mark.parametrize("far", [100_000, 2**63, 2**64 - 1])
def test_page_behind_the_end_of_a_tiff_is_no_error(far: int) -> None:
    broken = bytearray(sample("TIFF BigTIFF"))
    broken[8:16] = struct.pack("<Q", far)
    assert strip(bytes(broken), Format.TIFF, Image.Exif()) is None


@pytest.mark.parametrize("moving", [False, True], ids=["still", "animated"])
@pytest.mark.parametrize("notice", ["", "(c) Anna Muster"])
@pytest.mark.parametrize(
    "behind", [struct.pack(">I4s", 8 + len(_PLACE), b"free"), b""], ids=["box", "no box"]
)
def test_kept_avif_tells_nothing_and_is_no_larger(moving: bool, notice: str, behind: bytes) -> None:
    exif = exif_of(description=_PLACE.decode(), **({"copyright": notice} if notice else {}))
    exif.get_ifd(GPS).update({1: "N", 2: (48.0, 51.0, 29.9), 0x1D: _PLACE.decode()})
    how = {"quality": 20, "exif": exif, "xmp": b"<x:xmpmeta>" + _PLACE + b"</x:xmpmeta>"}
    source = film("AVIF", four_frames(), **how) if moving else encoded(colourful(), "AVIF", **how)
    source += behind + _PLACE
    result = compress_image(source, quality=95)
    assert result.action is Action.KEPT_ORIGINAL
    assert result.data is not None
    assert len(result.data) == len(source)
    assert _PLACE not in result.data
    assert [frame.tobytes() for frame in look(result.data).frames] == [
        frame.tobytes() for frame in look(source).frames
    ]
    kept = opened(result.data).getexif()
    assert dict(kept) == ({COPYRIGHT: notice} if notice else {})


@both_ways
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("form", _WITH_EXIF)
def test_copyright_keeps_its_letters(form: Format, encoding: str) -> None:
    notice = "© 2024 Jürgen Groß".encode(encoding)
    source = encoded(
        colourful(), form, exif=exif_of(copyright=notice), **({} if form is Format.TIFF else FINE)
    )
    assert notice in source
    assert (
        notice in compressed_bytes(source + (bytes(100_000) if form is not Format.AVIF else b""))[0]
    )


@pytest.mark.parametrize("target", [Format.JPEG, Format.WEBP, Format.AVIF])
def test_copyright_that_is_a_book_stops_nothing(target: Format | None) -> None:
    source = encoded(colourful(), "TIFF", exif=exif_of(copyright="word " * 20_000))
    assert_alike(compressed_bytes(source, format=target)[0], look(source))


@both_ways
@pytest.mark.parametrize(
    "name", ["JPEG rgb", "PNG rgb", "GIF palette", "TIFF rgb", "WEBP rgb", "AVIF rgb"]
)
def test_script_behind_an_image_is_gone(name: str) -> None:
    assert b"<script>" in wasteful(name)
    assert b"<script>" not in compressed_bytes(wasteful(name))[0]
