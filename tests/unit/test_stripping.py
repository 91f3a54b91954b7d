"""Kept originals: the same picture, byte for byte, without the metadata around it."""

import struct
import zlib
from functools import cache
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageCms, ImageOps

from halftone_shared.model.image_formats import WRITTEN, Format
from halftone_shared.model.options import ImageOptions
from halftone_shared.model.states import Action
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.pipeline import compress
from halftone_workers.codec.stripping import strip
from tests.support.images import encoded, opened, picture

SECRET = b"SECRET-PLACE 48.8583 2.2944"
COPYRIGHT, ORIENTATION, MAKE, GPS = 0x8298, 0x0112, 0x010F, 0x8825
STRIPPED = [Format.JPEG, Format.PNG, Format.WEBP]


def _exif(*, orientation: int = 1, notice: str = "") -> Image.Exif:
    exif = Image.Exif()
    exif[MAKE] = SECRET.decode()
    exif.get_ifd(GPS).update({1: "N", 2: (48.0, 51.0, 29.9), 0x1D: SECRET.decode()})
    if orientation != 1:
        exif[ORIENTATION] = orientation
    if notice:
        exif[COPYRIGHT] = notice
    return exif


@cache  # it contains its creation time, to the second
def _icc() -> bytes:
    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def _told(form: Format, **exif: Any) -> bytes:
    """A small image with a location in its metadata and more data after its end."""
    how: dict[str, Any] = {"exif": _exif(**exif), "icc_profile": _icc()}
    if form in (Format.JPEG, Format.WEBP):
        how |= {"xmp": b"<x:xmpmeta>" + SECRET + b"</x:xmpmeta>", "quality": 5}
    if form is Format.JPEG:
        how |= {"comment": SECRET}
    data = encoded(picture((300, 200)), form, **how)
    if form is Format.PNG:
        text = b"tEXtComment\0" + SECRET
        chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
        data = data[:33] + chunk + data[33:]
    return data + b"<script>alert(1)</script>" + SECRET


def _same_picture(one: bytes, other: bytes) -> bool:
    before, after = (ImageOps.exif_transpose(opened(data)) for data in (one, other))
    return before.size == after.size and ImageChops.difference(before, after).getbbox() is None


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("form", STRIPPED)
def test_metadata_go_and_the_picture_stays(form: Format, orientation: int) -> None:
    data = _told(form, orientation=orientation, notice="(c) Anna Muster")
    assert data.count(SECRET) >= 3
    stripped = strip(data, form, opened(data).getexif())
    assert stripped is not None
    assert SECRET not in stripped
    assert b"<script>" not in stripped
    assert _same_picture(data, stripped)
    after = opened(stripped)
    assert after.info["icc_profile"] == _icc()
    exif = after.getexif()
    assert exif.get(COPYRIGHT) == "(c) Anna Muster"
    assert exif.get(ORIENTATION, 1) == orientation
    assert set(exif) <= {COPYRIGHT, ORIENTATION}


@pytest.mark.parametrize("form", STRIPPED)
def test_file_without_metadata_stays_as_it_is(form: Format) -> None:
    options: list[dict[str, Any]] = [{}, {"icc_profile": _icc()}]
    for how in options:
        data = encoded(picture((48, 32)), form, **how)
        assert strip(data, form, opened(data).getexif()) == data


@pytest.mark.parametrize(
    "how", [{"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}]
)
def test_every_kind_of_jpeg_stays_whole(how: dict[str, Any]) -> None:
    data = encoded(picture((200, 150)), exif=_exif(), **how)
    stripped = strip(data, Format.JPEG, opened(data).getexif())
    assert stripped == encoded(picture((200, 150)), **how)


@pytest.mark.parametrize("between", [b"\xff\xd0", b"\xff\xd7\xff\xd0", b"\xff\x00", b"lost"])
def test_what_stands_between_segments_of_a_jpeg_hides_none(between: bytes) -> None:
    plain = encoded(picture((200, 150)), exif=_exif())
    kept = plain.index(b"\xff\xdb")
    data = plain[:20] + between + plain[20:kept] + between + plain[kept:]
    assert _same_picture(plain, data)
    assert strip(data, Format.JPEG, opened(data).getexif()) == encoded(picture((200, 150)))


def test_comment_of_a_gif_goes_and_its_animation_stays() -> None:
    frames = [picture((40, 30), seed=seed).quantize(32) for seed in range(3)]
    how: dict[str, Any] = {
        "save_all": True,
        "append_images": frames[1:],
        "duration": [50, 60, 70],
        "loop": 2,
    }
    data = encoded(frames[0], "GIF", comment=SECRET, **how)
    stripped = strip(data + SECRET, Format.GIF, Image.Exif())
    assert stripped is not None
    assert SECRET not in stripped
    before, after = opened(data), opened(stripped)
    assert (after.info["loop"], getattr(after, "n_frames", 1)) == (before.info["loop"], 3)
    for number in range(3):
        before.seek(number)
        after.seek(number)
        assert before.info["duration"] == after.info["duration"]
        assert ImageChops.difference(before.convert("RGB"), after.convert("RGB")).getbbox() is None


def test_still_webp_of_the_simple_form_stays_as_it_is() -> None:
    data = encoded(picture((48, 32)), "WEBP", quality=5)
    assert data[12:16] == b"VP8 "
    assert strip(data, Format.WEBP, Image.Exif()) == data


# One defined, one misspelled, one unknown.
@pytest.mark.parametrize("kind", [b"C2PA", b"exif", b"XXXX"])
def test_chunk_of_a_webp_that_is_no_picture_goes(kind: bytes) -> None:
    for how in ({}, {"exif": _exif(orientation=6)}):
        data = encoded(picture((48, 32)), "WEBP", quality=5, **how)
        chunks = data[8:] + kind + struct.pack("<I", len(SECRET)) + SECRET + bytes(len(SECRET) % 2)
        result = compress(
            b"RIFF" + struct.pack("<I", len(chunks)) + chunks,
            ImageOptions(quality=95),
            CodecLimits(),
        )
        assert result.action is Action.KEPT_ORIGINAL
        assert result.data is not None
        assert SECRET not in result.data
        assert _same_picture(data, result.data)


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("cut", [12, 20, 60, -3])
def test_broken_file_is_no_error(form: Format, cut: int) -> None:
    strip(encoded(picture((48, 32)), form)[:cut], form, Image.Exif())


@pytest.mark.parametrize("form", [Format.JPEG, Format.WEBP])
def test_kept_original_tells_no_place(form: Format) -> None:
    data = _told(form, orientation=6).split(b"<script>")[0]
    result = compress(data, ImageOptions(quality=95), CodecLimits())
    assert result.action is Action.KEPT_ORIGINAL
    assert result.data is not None
    assert SECRET not in result.data
    assert _same_picture(_told(form, orientation=6), result.data)


def test_place_in_a_tiff_goes_even_when_the_result_is_larger() -> None:
    tiny = encoded(picture((8, 8)).convert("1"), "TIFF", compression="group4", exif=_exif())
    plain = encoded(picture((8, 8)).convert("1"), "TIFF", compression="group4")
    told = compress(tiny, ImageOptions(), CodecLimits())
    assert told.action is Action.COMPRESSED or told.data is None
    assert SECRET not in (told.data or tiny)
    kept = compress(plain, ImageOptions(), CodecLimits())
    assert kept.data is None or len(kept.data) < len(plain)
