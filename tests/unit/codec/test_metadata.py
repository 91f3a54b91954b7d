"""compress(): upright, with the right colours, and without what nobody should read."""

import struct
import zlib
from typing import Any

import pytest
from PIL import Image

from halftone_shared.states import Mode, OutputFormat
from halftone_workers.codec.formats import Format
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
    gray,
    gray_profile,
    in_srgb,
    look,
    palette_with_alpha,
    sample,
    sixteen_bits,
    source_format,
    wasteful,
)
from tests.support.images import encoded, opened

# --- upright, profiles, metadata ---

# How a camera stores a picture that each orientation turns upright.
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
@pytest.mark.parametrize("target", [OutputFormat.JPEG, OutputFormat.WEBP, OutputFormat.AVIF])
def test_orientation_is_applied_in_conversions_and_before_scaling(target: OutputFormat, orientation: int) -> None:
    data, _ = compressed_bytes(_turned(Format.JPEG, orientation), mode=Mode.SCALE, format=target, quality=80)
    assert opened(data).getexif().get(ORIENTATION, 1) == 1
    assert_alike(data, Look([in_srgb(colourful(), None)], [0]), HALF)


@pytest.mark.parametrize("image", [palette_with_alpha(), sixteen_bits(gray())], ids=["palette alpha", "16-bit gray"])
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
@pytest.mark.parametrize("target", [OutputFormat.KEEP, OutputFormat.WEBP])
def test_profile_that_does_not_fit_is_looked_past(name: str, profile: bytes, target: OutputFormat) -> None:
    source = encoded(opened(sample(name)), source_format(name), icc_profile=profile)
    result = compress_image(source, format=target)
    if result.data is not None:
        seen = opened(result.data).convert("RGBA")
        assert colour_difference(seen, in_srgb(colourful(), None)) < COLOUR_TOLERANCE


_PLACE = b"SECRET-PLACE 48.8583 2.2944"


def _with_metadata(form: Format) -> bytes:
    exif = exif_of(description=_PLACE.decode(), copyright="(c) Anna Muster")
    exif[0x010F] = _PLACE.decode()
    place = exif.get_ifd(GPS)
    place.update({1: "N", 2: (48.0, 51.0, 29.9), 3: "E", 4: (2.0, 17.0, 40.2), 0x1D: _PLACE.decode()})
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><exif:GPSLatitude>" + _PLACE + b"</exif:GPSLatitude></x:xmpmeta>"
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
        chunks = [struct.pack(">I", len(t)) + k + t + struct.pack(">I", zlib.crc32(k + t)) for k, t in texts]
        data = data[:33] + b"".join(chunks) + data[33:]
    return data


@both_ways
@pytest.mark.parametrize("form", _WITH_EXIF)
@pytest.mark.parametrize("target", OutputFormat)
def test_place_is_gone_and_copyright_kept(form: Format, target: OutputFormat) -> None:
    source = _with_metadata(form)
    assert opened(source).getexif().get_ifd(GPS)
    assert source.count(_PLACE) >= 3
    data, _ = compressed_bytes(source, format=target)
    exif = opened(data).getexif()
    assert exif.get(COPYRIGHT) == "(c) Anna Muster"
    assert not exif.get_ifd(GPS)
    assert DESCRIPTION not in exif
    assert _PLACE not in data


def test_comment_of_a_gif_is_gone() -> None:
    source = encoded(colourful(), "GIF", comment=_PLACE) + bytes(100_000)
    assert _PLACE not in compressed_bytes(source)[0]


@both_ways
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("form", _WITH_EXIF)
def test_copyright_keeps_its_letters(form: Format, encoding: str) -> None:
    notice = "© 2024 Jürgen Groß".encode(encoding)
    source = encoded(colourful(), form, exif=exif_of(copyright=notice), **({} if form is Format.TIFF else FINE))
    assert notice in source
    assert notice in compressed_bytes(source + (bytes(100_000) if form is not Format.AVIF else b""))[0]


@pytest.mark.parametrize("target", [OutputFormat.JPEG, OutputFormat.WEBP, OutputFormat.AVIF])
def test_copyright_that_is_a_book_stops_nothing(target: OutputFormat) -> None:
    source = encoded(colourful(), "TIFF", exif=exif_of(copyright="word " * 20_000))
    assert_alike(compressed_bytes(source, format=target)[0], look(source))


@both_ways
@pytest.mark.parametrize("name", ["JPEG rgb", "PNG rgb", "GIF palette", "TIFF rgb", "WEBP rgb", "AVIF rgb"])
def test_script_behind_an_image_is_gone(name: str) -> None:
    assert b"<script>" in wasteful(name)
    assert b"<script>" not in compressed_bytes(wasteful(name))[0]
