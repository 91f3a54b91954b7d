"""compress(): what is refused. Every broken image gets an explanation."""

import json
import struct
import tracemalloc
import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.image_formats import WRITTEN, Format
from halftone_shared.model.options import Mode
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.sources.jpeg import MAX_JPEG_SCANS, has_more_scans
from halftone_workers.codec_processes.child import answer
from halftone_workers.codec_processes.protocol import JobHead
from halftone_workers.errors import ImageRefused
from tests.support.codec import (
    FINE,
    SAMPLES,
    SEVERAL,
    SIZE,
    both_ways,
    colourful,
    compress_image,
    cut_out,
    exif_of,
    film,
    four_frames,
    is_explained,
    png_of,
    refusal,
    sample,
    see_through,
    sixteen_bits,
    swapped_profile,
)
from tests.support.images import encoded, picture

# --- refusals ---


@pytest.mark.parametrize(
    "data",
    [b"<!doctype html><title>404</title>", b'{"error": "gone"}', b"Not Found"],
    ids=["HTML", "JSON", "text"],
)
def test_page_or_message_is_not_an_image(data: bytes) -> None:
    assert refusal(data) is ImageErrorCode.NOT_AN_IMAGE


@pytest.mark.parametrize(
    "data",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"8BPS\0\x01" + bytes(6) + struct.pack(">HIIHH", 3, 30, 40, 8, 3) + bytes(100),
        b"<svg xmlns='http://www.w3.org/2000/svg'><rect width='10' height='10'/></svg>",
        encoded(picture((16, 16)), "ICO"),
        encoded(picture((16, 16)), "JPEG2000"),
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        bytes(100),
    ],
    ids=["EPS", "PSD", "SVG", "ICO", "JPEG 2000", "PDF", "zeros"],
)
def test_other_format_is_unsupported(data: bytes) -> None:
    assert refusal(data) is ImageErrorCode.UNSUPPORTED_FORMAT


@pytest.mark.parametrize(
    "inner", ["%!PS-Adobe-3.0 EPSF-3.0\n", "8BPS\0\x01", "BM"], ids=["EPS", "PSD", "BMP"]
)
@pytest.mark.parametrize(
    "head", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"RIFF\0\0\0\0WEBP"]
)
def test_other_decoder_is_not_tried_behind_a_known_head(head: bytes, inner: str) -> None:
    refusals = {ImageErrorCode.CORRUPT_IMAGE, ImageErrorCode.TOO_MANY_PIXELS}
    assert refusal(head + inner.encode() + bytes(200)) in refusals


def _claiming(form: Format, width: int, height: int) -> bytes:
    """A small file whose header claims a size but whose pixels are missing, so decoding it would
    fail differently.
    """
    if form is Format.PNG:
        return png_of((width, height), b"\x08\x02", (b"IDAT", zlib.compress(b"\0")))
    if form is Format.GIF:
        return _gif((width, height), [(width, height)])
    if form is Format.TIFF:
        return _tiff([(width, height)])
    data = bytearray(
        film("WEBP", four_frames()) if form is Format.WEBP else encoded(colourful(), form)
    )
    if form is Format.JPEG:
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    elif form is Format.WEBP:
        assert data[12:16] == b"VP8X"
        data[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    else:
        at = data.index(b"ispe") + 8
        data[at : at + 8] = struct.pack(">II", width, height)
    return bytes(data)


def _gif(screen: tuple[int, int], frames: Sequence[tuple[int, int]]) -> bytes:
    """A GIF of these frames, each with one pixel's data."""
    data = b"GIF89a" + struct.pack("<HH", *screen) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    for size in frames:
        data += b"," + struct.pack("<HHHH", 0, 0, *size) + b"\0" + b"\x02\x02\x4c\x01\0"
    return data + b";"


def _tiff(pages: Sequence[tuple[int, int]]) -> bytes:
    """A gray TIFF of these pages without pixels."""
    data = b"II*\0" + struct.pack("<I", 8)
    for number, (width, height) in enumerate(pages, start=1):
        tags = {
            256: width,
            257: height,
            258: 8,
            259: 1,
            262: 1,
            273: 8,
            277: 1,
            278: height,
            279: width * height,
        }
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
        next_at = len(data) + 2 + len(entries) + 4 if number < len(pages) else 0
        data += struct.pack("<H", len(tags)) + entries + struct.pack("<I", next_at)
    return data


@both_ways
@pytest.mark.parametrize("form", WRITTEN)
def test_too_many_pixels_are_refused_before_they_are_decoded(form: Format) -> None:
    # AVIF's and WebP's own limits are below 20000 × 20000.
    side = 12_000 if form in (Format.AVIF, Format.WEBP) else 20_000
    data = _claiming(form, side, side)
    assert len(data) < 200_000
    assert refusal(data) is ImageErrorCode.TOO_MANY_PIXELS


@both_ways
def test_pixels_are_counted_to_the_last_one() -> None:
    data = encoded(colourful((100, 50)), **FINE)
    assert compress_image(data, CodecLimits(max_pixels=5000)).width == 100
    assert refusal(data, CodecLimits(max_pixels=4999)) is ImageErrorCode.TOO_MANY_PIXELS


@pytest.mark.parametrize("target", [None, Format.WEBP])
@pytest.mark.parametrize(
    "data",
    [
        _tiff([(10, 10), (2000, 2000)]),
        _gif((10, 10), [(10, 10), (2000, 2000)]),
        encoded(
            picture((10, 10)), "TIFF", save_all=True, append_images=[Image.new("L", (2000, 2000))]
        ),
    ],
    ids=["TIFF page", "GIF frame", "whole TIFF page"],
)
def test_too_many_pixels_in_a_later_frame_are_refused_before_they_are_decoded(
    data: bytes, target: Format | None
) -> None:
    assert (
        refusal(data, CodecLimits(max_pixels=10_000), format=target)
        is ImageErrorCode.TOO_MANY_PIXELS
    )


@pytest.mark.parametrize("name", SEVERAL)
def test_too_many_frames_are_refused(name: str) -> None:
    assert refusal(sample(name), CodecLimits(max_frames=3)) is ImageErrorCode.TOO_MANY_FRAMES
    assert compress_image(sample(name), CodecLimits(max_frames=4)).width == SIZE[0]


@pytest.mark.parametrize("name", SEVERAL)
def test_frames_that_are_too_much_together_are_refused(name: str) -> None:
    assert (
        refusal(sample(name), CodecLimits(max_pixels=SIZE[0] * SIZE[1]))
        is ImageErrorCode.TOO_MANY_PIXELS
    )


def test_thousands_of_frames_on_a_huge_canvas_are_refused_undecoded() -> None:
    assert refusal(_gif((7000, 7000), [(1, 1)] * 2000)) is ImageErrorCode.TOO_MANY_FRAMES
    assert refusal(_gif((7000, 7000), [(1, 1)] * 200)) is ImageErrorCode.TOO_MANY_PIXELS


@both_ways
@pytest.mark.parametrize("share", [0.15, 0.4, 0.6, 0.8, 0.95])
@pytest.mark.parametrize("name", SAMPLES)
def test_image_that_stops_halfway_is_corrupt(name: str, share: float) -> None:
    data = sample(name)
    assert refusal(data[: int(len(data) * share)]) is ImageErrorCode.CORRUPT_IMAGE


@both_ways
@pytest.mark.parametrize("form", WRITTEN)
def test_head_alone_is_corrupt(form: Format) -> None:
    assert refusal(encoded(colourful(), form)[:32]) is ImageErrorCode.CORRUPT_IMAGE


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("length", [12, 20, 32])
def test_refusal_of_a_broken_head_says_nothing_of_our_memory(form: Format, length: int) -> None:
    with pytest.raises(ImageRefused) as refused:
        compress_image(encoded(colourful(), form)[:length])
    assert " object at 0x" not in refused.value.message


def _jpeg_of_scans(scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated many times."""
    data = encoded(colourful(), progressive=True)
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    return data[:-2] + scan * (scans - data.count(b"\xff\xda")) + data[-2:]


@both_ways
def test_jpeg_of_too_many_scans_is_corrupt() -> None:
    assert MAX_JPEG_SCANS == 64
    assert _jpeg_of_scans(65).count(b"\xff\xda") == 65
    assert refusal(_jpeg_of_scans(65)) is ImageErrorCode.CORRUPT_IMAGE
    assert compress_image(_jpeg_of_scans(64)).data is not None


@both_ways
def test_second_scan_of_a_sequential_jpeg_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The scan limit must not be what refuses this image.
    monkeypatch.setattr("halftone_workers.codec.sources.jpeg.MAX_JPEG_SCANS", 10**6)
    data = encoded(colourful())
    scan = data[data.rindex(b"\xff\xda") : -2]
    assert refusal(data[:-2] + scan * 10_000 + data[-2:]) is ImageErrorCode.CORRUPT_IMAGE


def test_scans_of_a_component_each_are_counted() -> None:
    # Sequential, but the first scan does not contain all components. Further scans belong to the
    # same picture and may be many.
    data = encoded(colourful())
    scan = data.rindex(b"\xff\xda")
    of_one = data[scan : scan + 4] + b"\x01" + data[scan + 5 : -2]
    assert has_more_scans(data[:scan] + of_one * 3 + data[-2:], 2)
    assert not has_more_scans(data[:scan] + of_one * 2 + data[-2:], 2)
    assert not has_more_scans(data, 0)


@both_ways
@pytest.mark.parametrize("where", ["before", "behind"])
def test_scan_markers_outside_the_picture_are_no_scans(where: str) -> None:
    # A profile may contain these two bytes any number of times. A phone's "motion photo" has
    # megabytes of video after its end, where they occur by chance once in 64 KiB.
    source = encoded(colourful(), comment=b"\xff\xda" * 100 if where == "before" else b"", **FINE)
    assert (
        compress_image(source + (b"\xff\xda" * 100 if where == "behind" else b"")).data is not None
    )


@cache
def _zipped_zeros() -> bytes:
    """200 MiB of data compressed to 200 KiB."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()


@pytest.mark.parametrize(
    "chunk",
    [(b"zTXt", b"Comment\0\0"), (b"iTXt", b"Comment\0\x01\0\0\0"), (b"iCCP", b"profile\0\0")],
    ids=["zTXt", "iTXt", "iCCP"],
)
def test_png_text_bomb_does_not_go_off(chunk: tuple[bytes, bytes]) -> None:
    kind, head = chunk
    pixels = zlib.compress(b"\0" + bytes(30))
    bomb = png_of((10, 1), b"\x08\x02", (kind, head + _zipped_zeros()), (b"IDAT", pixels))
    assert len(bomb) < 1_000_000
    tracemalloc.start()
    try:
        assert is_explained(bomb, CodecLimits())
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_pixels_that_unpack_to_far_more_than_the_header_says_do_no_harm() -> None:
    assert is_explained(png_of((10, 10), b"\x08\x02", (b"IDAT", _zipped_zeros())), CodecLimits())


def test_mistake_of_an_encoder_costs_the_image_and_not_the_process(
    capfd: pytest.CaptureFixture[str],
) -> None:
    # Validation refuses this quality earlier.
    options = {"mode": "quality", "format": "webp", "quality": "fifty"}
    job: JobHead = {"options": options, "limits": {}, "watermarks": (), "processed": ()}
    facts, data = answer(json.dumps(job).encode(), sample("PNG rgb"))
    assert (facts["error"]["code"], data) == (ImageErrorCode.ENCODE_CRASHED, b"")
    assert "fifty" not in facts["error"]["message"]
    assert "Traceback" in capfd.readouterr().err


# --- random damage ---


_SMALL_LIMITS = CodecLimits(max_pixels=200_000, max_frames=20)


@cache
def _small_samples() -> list[bytes]:
    """One small file of each kind, so that most random changes affect something relevant."""
    small = [frame.resize((24, 18)) for frame in four_frames()[:3]]
    clear = [see_through(colourful()).resize((24, 18)), cut_out(colourful(), 4).resize((24, 18))]
    stills: Iterator[tuple[str, Image.Image]] = (
        (form, image)
        for form, images in {
            "JPEG": [small[0], small[0].convert("L"), small[0].convert("CMYK")],
            "PNG": [small[0], clear[0], small[0].quantize(16), sixteen_bits(small[0].convert("L"))],
            "WEBP": [small[0], clear[0]],
            "GIF": [small[0], clear[1]],
            "AVIF": [small[0], clear[0]],
            "TIFF": [small[0], clear[0], small[0].convert("CMYK"), small[0].convert("1")],
        }.items()
        for image in images
    )
    films = [
        encoded(small[0], form, save_all=True, append_images=small[1:], duration=50)
        for form in ("PNG", "WEBP", "GIF", "AVIF", "TIFF")
    ]
    tagged = [
        encoded(
            small[0],
            form,
            exif=exif_of(orientation=6, copyright="me"),
            icc_profile=swapped_profile(),
        )
        for form in ("JPEG", "PNG", "WEBP", "TIFF")
    ]
    packed = (
        encoded(small[0], "TIFF", compression="tiff_lzw"),
        encoded(small[0], "TIFF", compression="jpeg"),
    )
    lossless = encoded(small[0], "WEBP", lossless=True), encoded(small[0], progressive=True)
    return [*(encoded(image, form) for form, image in stills), *films, *tagged, *packed, *lossless]


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(_small_samples())))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data) - 1))
        kind = draw(st.sampled_from(["byte", "byte", "byte", "number", "cut", "insert", "repeat"]))
        if kind == "byte":
            data[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
        elif kind == "number":
            data[at : at + 2] = draw(st.binary(min_size=2, max_size=2))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 40))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(max_size=20))
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 60))]
        if not data:
            return b""
    return bytes(data)


_ASKED = st.sampled_from(
    [
        {},
        {"mode": Mode.SCALE},
        {"mode": Mode.BYTES, "ratio": 0.3},
        {"format": Format.JPEG},
        {"format": Format.WEBP},
        {"format": Format.AVIF},
    ]
)


@both_ways
@pytest.mark.parametrize(
    ("form", "how"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("GIF", {}),
        ("WEBP", {}),
        ("AVIF", {}),
        ("TIFF", {}),
    ],
)
def test_image_that_is_cut_anywhere_in_its_head_gives_a_refusal(
    form: str, how: dict[str, Any]
) -> None:
    whole = encoded(colourful((24, 18)), form, **how)
    for length in range(min(len(whole) - 1, 700)):
        assert is_explained(whole[:length], _SMALL_LIMITS), length


@both_ways
@pytest.mark.parametrize("kind", [*range(19), 99])
def test_tag_of_another_type_gives_a_result_or_a_refusal(kind: int) -> None:
    whole = encoded(colourful((24, 18)), "TIFF")
    (at,) = struct.unpack_from("<I", whole, 4)
    (entries,) = struct.unpack_from("<H", whole, at)
    for entry in range(entries):
        changed = bytearray(whole)
        struct.pack_into("<H", changed, at + 2 + 12 * entry + 2, kind)
        assert is_explained(bytes(changed), _SMALL_LIMITS), entry


# The fixture is the same for all examples.
_ANY_WAY = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@both_ways
@settings(max_examples=500, deadline=None, suppress_health_check=_ANY_WAY)
@given(data=_mutated(), options=_ASKED)
def test_broken_image_gives_a_result_or_a_refusal(data: bytes, options: dict[str, Any]) -> None:
    assert is_explained(data, _SMALL_LIMITS, **options)


@both_ways
@settings(max_examples=100, deadline=None, suppress_health_check=_ANY_WAY)
@given(
    head=st.sampled_from(
        [
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a",
            b"II*\0\x08\0\0\0",
            b"RIFF\x20\0\0\0WEBPVP8 ",
        ]
    ),
    rest=st.binary(max_size=200),
)
def test_noise_behind_a_head_gives_a_refusal(head: bytes, rest: bytes) -> None:
    assert is_explained(head + rest, _SMALL_LIMITS)
