"""BMP, HEIC and JPEG XL: formats that are read but not written."""

import base64
import io
import random
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.image_formats import Format
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.sources import heic, jxl
from tests.support.codec import (
    SIZE,
    colourful,
    compress_image,
    exif_of,
    is_explained,
    look,
    refusal,
    refused_message,
    see_through,
)
from tests.support.images import encoded

needs_heic = pytest.mark.skipif(not heic.is_installed(), reason="pi-heif is not installed")
needs_jxl = pytest.mark.skipif(jxl._library() is None, reason="pyjpegxl is not installed")

# 64 × 48 pixels: red grows to the right, green downwards, blue to the left. By Debian's heif-enc.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAa1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAA"
    "AAAAAAAAAA5waXRtAAAAAAACAAAAEGlkYXQAAAAAAEAAMAAAADhpbG9jAQAAAERAAAIAAQAAAAAAAAHRAAEAAAAAAAAA"
    "nQACAAEAAAAAAAAAAQAAAAAAAAAIAAAAOGlpbmYAAAAAAAIAAAAVaW5mZQIAAAEAAQAAaHZjMQAAAAAVaW5mZQIAAAAA"
    "AgAAZ3JpZAAAAADYaXBycAAAALZpcGNvAAAAdmh2Y0MBA3AAAAAAAAAAAAAe8AD8/fj4AAAPAyAAAQAYQAEMAf//A3AA"
    "AAMAkAAAAwAAAwAeugJAIQABACpCAQEDcAAAAwCQAAADAAADAB6gIIEFlurkprm4EBAwIAAAAwAgAAADACEiAAEABkQB"
    "wXPAiQAAABRpc3BlAAAAAAAAAEAAAABAAAAAFGlzcGUAAAAAAAAAQAAAADAAAAAQcGl4aQAAAAADCAgIAAAAGmlwbWEA"
    "AAAAAAAAAgABAoECAAICA4QAAAAaaXJlZgAAAAAAAAAOZGltZwACAAEAAQAAAKVtZGF0AAAAmSgBrwngPg6bnk4QdLDG"
    "LT7BfoBkW8ROdVc3R0U3je9RSmCK+YzNnopmcbkX6hrcOQKm5Qc5QaJ+hUXBVJYO/qLowGjSDLZ70pbmwssqxfR66DmO"
    "weV16Uoteg/sogeE9SYVLH5wxQcVIL1Yo/dehjTSuxAjfjiFQYC8+O6LewyM2jKJJMw7ypd3CJhRE+MXaV0D+cn1bWo7"
    "wA=="
)


def jpeg_xl(image: Image.Image, **how: Any) -> bytes:
    library = jxl._library()
    bands = len(image.getbands())
    made: bytes = library.encode(
        image.tobytes(), *image.size, num_channels=bands, lossless=True, **how
    )
    return made


def difference(one: Image.Image, other: Image.Image) -> float:
    pair = one.convert("RGB"), other.convert("RGB")
    return sum(ImageStat.Stat(ImageChops.difference(*pair)).mean) / 3


# --- BMP ---


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA"])
def test_bmp_becomes_jpeg(mode: str) -> None:
    image = colourful().quantize(64) if mode == "P" else colourful().convert(mode)
    result = compress_image(encoded(image, "BMP"), quality=90)
    assert (result.format, result.extension) == ("JPEG", "jpg")
    assert (result.width, result.height) == SIZE
    assert difference(look(result.data or b"").frames[0], image.convert("RGB")) < 12


@pytest.mark.parametrize("target", [Format.PNG, Format.WEBP, Format.TIFF])
def test_bmp_becomes_what_is_asked(target: Format) -> None:
    result = compress_image(encoded(colourful(), "BMP"), format=target, quality=90)
    assert result.format == target
    assert difference(look(result.data or b"").frames[0], colourful()) < 9


def test_tiny_bmp_becomes_jpeg_even_if_it_grows() -> None:
    result = compress_image(encoded(colourful((4, 4)), "BMP"))
    assert (result.format, result.action) == ("JPEG", "compressed")


def test_bmp_of_too_many_pixels_is_refused_undecoded() -> None:
    data = bytearray(encoded(colourful((8, 8)), "BMP"))
    data[18:26] = (20_000).to_bytes(4, "little") * 2
    assert refusal(bytes(data)) is ImageErrorCode.TOO_MANY_PIXELS


def test_bmp_that_stops_halfway_is_corrupt() -> None:
    data = encoded(colourful(), "BMP")
    assert refusal(data[: len(data) // 2]) is ImageErrorCode.CORRUPT_IMAGE


def test_text_that_begins_like_a_bmp_is_none() -> None:
    assert refusal(b"BMW sells cars, and this is a text.") is ImageErrorCode.NOT_AN_IMAGE


# --- HEIC ---


@needs_heic
@pytest.mark.parametrize("target", [None, Format.PNG, Format.AVIF])
def test_heic_is_read(target: Format | None) -> None:
    result = compress_image(HEIC, format=target, quality=90)
    assert result.format == (target or "JPEG")
    assert (result.width, result.height) == (64, 48)
    seen = look(result.data or b"").frames[0].convert("RGB")
    for x, y in ((2, 2), (60, 2), (2, 45), (60, 45)):
        pixel = seen.getpixel((x, y))
        assert isinstance(pixel, tuple)
        expected = (4 * x, 5 * y, 255 - 4 * x)
        assert all(abs(a - b) < 25 for a, b in zip(pixel, expected, strict=True)), (x, y, pixel)


@needs_heic
def test_heic_of_too_many_pixels_is_refused() -> None:
    assert refusal(HEIC, CodecLimits(max_pixels=3071)) is ImageErrorCode.TOO_MANY_PIXELS


def test_heic_without_the_extra_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heic, "is_installed", lambda: False)
    assert refusal(HEIC) is ImageErrorCode.UNSUPPORTED_FORMAT
    assert "halftone-workers[heic]" in (refused_message(HEIC) or "")


# --- JPEG XL ---


@needs_jxl
@pytest.mark.parametrize(
    "image",
    [colourful(), colourful().convert("L"), see_through(colourful())],
    ids=["RGB", "L", "RGBA"],
)
@pytest.mark.parametrize("target", [Format.PNG, Format.WEBP])
def test_jpeg_xl_is_read(image: Image.Image, target: Format | None) -> None:
    result = compress_image(jpeg_xl(image), format=target, quality=95)
    assert (result.width, result.height) == SIZE
    seen = look(result.data or b"").frames[0]
    ground = Image.new("RGBA", SIZE, "white")
    ground.alpha_composite(image.convert("RGBA"))
    shown = Image.new("RGBA", SIZE, "white")
    shown.alpha_composite(seen.convert("RGBA"))
    assert difference(shown, ground) < 9


@needs_jxl
def test_jpeg_xl_becomes_jpeg_and_keeps_its_copyright() -> None:
    exif = exif_of(copyright="Jane Doe", description="at home", orientation=6)
    data = jpeg_xl(colourful(), exif=exif.tobytes())
    result = compress_image(data)
    assert result.format == "JPEG"
    assert b"Jane Doe" in (result.data or b"")
    assert b"at home" not in (result.data or b"")


@needs_jxl
def test_jpeg_xl_of_too_many_pixels_is_refused_undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg_xl(colourful())
    monkeypatch.setattr(jxl, "decoded", None)
    assert refusal(data, CodecLimits(max_pixels=5000)) is ImageErrorCode.TOO_MANY_PIXELS


def test_jpeg_xl_without_the_extra_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jxl, "_library", lambda: None)
    data = b"\xff\x0a" + bytes(100)
    assert refusal(data) is ImageErrorCode.UNSUPPORTED_FORMAT
    assert "halftone-workers[jxl]" in (refused_message(data) or "")


# --- broken files ---


def _sources() -> dict[str, bytes]:
    made = {"BMP": encoded(colourful(), "BMP")}
    if heic.is_installed():
        made["HEIC"] = HEIC
    if jxl._library() is not None:
        made["JXL"] = jpeg_xl(colourful())
    return made


@pytest.mark.parametrize("name", _sources())
def test_whatever_is_broken_is_explained(name: str) -> None:
    data = _sources()[name]
    chance = random.Random(1)
    limits = CodecLimits(max_pixels=1_000_000, max_frames=10)
    for _ in range(150):
        broken = bytearray(data[: chance.randrange(20, len(data) + 1)])
        for _ in range(chance.randrange(4)):
            broken[chance.randrange(12, len(broken))] = chance.randrange(256)
        is_explained(bytes(broken), limits)
    with io.BytesIO(data):
        assert compress_image(data, limits).width
