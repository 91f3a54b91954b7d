"""compress(): every format, kind and mode, conversions, results never larger than the original, and
the same result each time.
"""

import hashlib
import math
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from halftone_shared.model.image_formats import WRITTEN, Format
from halftone_shared.model.options import Mode
from halftone_shared.model.states import Action
from halftone_workers.codec.formats import sniff
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.sources.gif import blocks, head_bytes
from tests.support.codec import (
    ALPHA_TOLERANCE,
    ANIMATED,
    COLOUR_TOLERANCE,
    DURATIONS,
    FINE,
    HALF,
    RAW,
    SAMPLES,
    SIZE,
    Look,
    alpha_difference,
    assert_alike,
    both_ways,
    cmyk_profile,
    colour_difference,
    colourful,
    compress_image,
    compressed_bytes,
    film,
    four_frames,
    gray,
    gray_profile,
    in_srgb,
    is_explained,
    is_transparent,
    look,
    on_ground,
    png_of,
    sample,
    see_through,
    source_format,
    wasteful,
)
from tests.support.images import encoded, moving_dot, opened, tiff_of


def test_comparison_notices_what_it_is_for() -> None:
    photo = in_srgb(colourful(), None)
    red, green, blue, alpha = photo.split()
    wrong = [
        Image.merge("RGBA", (blue, green, red, alpha)),
        ImageChops.invert(photo.convert("RGB")).convert("RGBA"),
        photo.convert("L").convert("RGBA"),
        photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        photo.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        photo.transpose(Image.Transpose.ROTATE_180),
        in_srgb(colourful().convert("CMYK"), cmyk_profile()),
        in_srgb(gray(), gray_profile()),
    ]
    for image in wrong:
        assert colour_difference(photo, image) > 3 * COLOUR_TOLERANCE
    assert alpha_difference(photo, in_srgb(see_through(colourful()), None)) > 3 * ALPHA_TOLERANCE


# --- every format, kind and mode ---


@both_ways
@pytest.mark.parametrize("name", SAMPLES)
def test_quality_keeps_format_size_frames_alpha_and_colours(name: str) -> None:
    source = look(sample(name))
    data, result = compressed_bytes(wasteful(name), mode=Mode.QUALITY, quality=50)
    assert sniff(data) is source_format(name)
    assert (result.format, result.extension) == (
        source_format(name),
        source_format(name).facts.extension,
    )
    assert (result.width, result.height) == SIZE
    assert result.warnings == ()
    assert len(data) < len(wasteful(name))
    assert_alike(data, source)


@pytest.mark.parametrize("name", SAMPLES)
def test_scale_halves_both_sides_and_keeps_the_rest(name: str) -> None:
    source = look(sample(name))
    data, result = compressed_bytes(wasteful(name), mode=Mode.SCALE, scale=0.5, quality=80)
    assert sniff(data) is source_format(name)
    assert (result.width, result.height) == HALF
    assert result.warnings == ()
    assert_alike(data, source, HALF)


@both_ways
@pytest.mark.parametrize("name", SAMPLES)
def test_bytes_reaches_its_share_or_says_that_it_cannot(name: str) -> None:
    data = sample(name)
    result = compress_image(data, mode=Mode.BYTES, ratio=0.5)
    assert (result.format, result.width, result.height) == (source_format(name), *SIZE)
    stored = data if result.data is None else result.data
    assert len(look(stored).frames) == len(look(data).frames)
    if len(stored) > len(data) * 0.5:
        assert len(result.warnings) == 1
        assert str(int(len(data) * 0.5)) in result.warnings[0]
    else:
        assert result.warnings == ()


@pytest.mark.parametrize("name", ANIMATED)
@pytest.mark.parametrize(
    "options", [{}, {"mode": Mode.SCALE}, {"mode": Mode.BYTES}], ids=["quality", "scale", "bytes"]
)
def test_animation_keeps_its_durations(name: str, options: dict[str, Any]) -> None:
    data, _ = compressed_bytes(wasteful(name), **options)
    assert look(data).durations == look(sample(name)).durations == DURATIONS


@pytest.mark.parametrize("name", ANIMATED)
@pytest.mark.parametrize("target", [Format.WEBP, Format.AVIF])
def test_conversion_keeps_an_animation_and_its_durations(name: str, target: Format | None) -> None:
    data, result = compressed_bytes(wasteful(name), format=target)
    assert result.warnings == ()
    assert look(data).durations == DURATIONS
    assert_alike(data, look(sample(name)))


@pytest.mark.parametrize("loop", [0, 3])
@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG"])
def test_animation_plays_as_often_as_before(name: str, loop: int) -> None:
    how = {"loop": loop} | (RAW if name == "PNG" else FINE if name == "WEBP" else {})
    source = film(name, four_frames(), **how)
    data, _ = compressed_bytes(source + bytes(200_000))
    assert opened(data).info["loop"] == opened(source).info["loop"] == loop


@pytest.mark.parametrize(
    ("target", "expected"),
    [(Format.WEBP, 1), (None, None)],
    ids=["webp", "keep"],
)
def test_animation_that_plays_once_does_not_play_twice(
    target: Format | None, expected: int | None
) -> None:
    # A GIF without a loop extension plays once; with one, it plays N + 1 times. A WebP then stores
    # 1.
    once = film("GIF", four_frames(), loop=None)
    assert "loop" not in opened(once).info
    data, _ = compressed_bytes(once + bytes(200_000), format=target)
    assert opened(data).info.get("loop") == expected


def _gif_parts(data: bytes) -> tuple[bytes, list[bytes]]:
    """The header, and the blocks up to the trailer."""
    return data[: head_bytes(data)], [data[start:end] for _, start, end in blocks(data)]


def test_gif_that_shows_one_picture_for_longer_than_a_frame_can_be_shown_stays_whole() -> None:
    head, blocks = _gif_parts(film("GIF", four_frames()[:2], duration=[100, 600_000]))
    repeated = blocks[-2:]
    assert repeated[0].startswith(b"!\xf9")
    source = head + b"".join([*blocks, *repeated, *repeated]) + b";"
    assert look(source).durations == [100, 600_000, 600_000, 600_000]
    assert look(compressed_bytes(source + bytes(100_000))[0]).durations == [100, 655_350]


def test_kept_gif_with_bytes_between_its_blocks_keeps_its_frames() -> None:
    head, blocks = _gif_parts(film("GIF", moving_dot()))
    source = head + b"\0\xff".join([*blocks, b";"])
    assert len(look(source).frames) == 4
    result = compress_image(source, quality=95)
    assert (result.action, result.data is None) == (Action.KEPT_ORIGINAL, False)
    kept = look(result.data or b"")
    assert kept.durations == DURATIONS
    assert [frame.tobytes() for frame in kept.frames] == [
        frame.tobytes() for frame in look(source).frames
    ]


def test_picture_beside_an_animated_png_does_not_become_a_frame_of_it() -> None:
    still, *frames = four_frames()
    source = encoded(
        still,
        "PNG",
        save_all=True,
        append_images=frames,
        duration=DURATIONS[:3],
        default_image=True,
        **RAW,
    )
    assert opened(source).info["default_image"]
    data, _ = compressed_bytes(source)
    after = opened(data)
    assert after.info.get("default_image")
    assert getattr(after, "n_frames", 1) == getattr(opened(source), "n_frames", 1)


# --- conversions ---


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("target", [Format.JPEG, Format.WEBP, Format.AVIF])
def test_conversion_shows_the_same_and_says_what_is_lost(name: str, target: Format) -> None:
    source = look(sample(name))
    data, result = compressed_bytes(wasteful(name), format=target)
    assert sniff(data) is target
    assert (result.format, result.extension) == (target, target.facts.extension)
    if target is Format.JPEG:
        shown = [on_ground("white", source.frames[0]).convert("RGBA")]
        expected = ["transparency"] * is_transparent(name) + ["animation"] * (
            len(source.frames) > 1
        )
    else:
        shown, expected = source.frames, []
    assert len(result.warnings) == len(expected)
    for warning, word in zip(
        sorted(result.warnings, reverse=True), sorted(expected, reverse=True), strict=True
    ):
        assert word in warning
    assert_alike(data, Look(shown, []))


@pytest.mark.parametrize("target", [Format.WEBP, Format.AVIF])
def test_pages_of_several_sizes_become_something_or_are_refused(target: Format | None) -> None:
    pages = encoded(colourful(), "TIFF", save_all=True, append_images=[colourful((60, 160))])
    assert is_explained(pages, CodecLimits(), format=target)


@both_ways
@pytest.mark.parametrize("target", [None, *WRITTEN])
def test_picture_with_a_preview_in_it_is_one_picture(target: Format | None) -> None:
    # Phones write such JPEGs: a second image of another size follows the first, and is not a frame
    # of an animation.
    source = encoded(colourful(), "MPO", save_all=True, append_images=[colourful((56, 42))], **FINE)
    assert opened(source).format == "MPO"
    data, result = compressed_bytes(source, format=target)
    assert result.warnings == ()
    assert_alike(data, Look([in_srgb(colourful(), None)], []))


@pytest.mark.parametrize(
    ("loop", "duration"),
    [(100_000, 100), (0, 60_000_000)],
    ids=["more often than WebP", "longer than WebP"],
)
@pytest.mark.parametrize("target", [Format.WEBP, Format.AVIF, None])
def test_animation_beyond_what_the_output_can_say_stops_nothing(
    target: Format | None, loop: int, duration: int
) -> None:
    source = film("PNG", four_frames()[:3], loop=loop, duration=duration, **RAW)
    data, _ = compressed_bytes(source, format=target)
    assert len(look(data).frames) == 3


def test_image_longer_than_the_format_can_hold_stays_what_it_is() -> None:
    source = encoded(colourful((17_000, 4)), **FINE)
    result = compress_image(source, format=Format.WEBP)
    assert result.format == Format.JPEG
    assert len(result.warnings) == 1
    assert "16383" in result.warnings[0]


def test_image_that_is_short_enough_once_it_is_scaled_becomes_what_is_asked() -> None:
    source = encoded(colourful((17_000, 8)), **FINE)
    data, result = compressed_bytes(source, mode=Mode.SCALE, scale=0.5, format=Format.WEBP)
    assert (result.warnings, opened(data).format, opened(data).size) == ((), "WEBP", (8_500, 4))


@pytest.mark.parametrize("target", [Format.JPEG, Format.WEBP, Format.AVIF])
@pytest.mark.parametrize("length", [16_000, 40_000, 65_520])
def test_long_image_can_be_read_whatever_it_becomes(target: Format | None, length: int) -> None:
    source = encoded(colourful((length, 2)), "PNG", **RAW)
    data, result = compressed_bytes(source, format=target)
    assert opened(data).size == (result.width, result.height) == (length, 2)


# --- sample depths other than 8 bits ---

_KEYED_SIDE = 64


def _keyed_png(bits: int, colour: bytes) -> bytes:
    """Gray, or RGB, that rises from left to right. The middle value is marked as transparent."""
    highest = 2**bits - 1
    values = [across * highest // (_KEYED_SIDE - 1) for across in range(_KEYED_SIDE)]
    key = values[_KEYED_SIDE // 2]
    each = 3 if colour == b"\x02" else 1
    row = int("".join(f"{value:0{bits}b}" * each for value in values), 2).to_bytes(
        _KEYED_SIDE * bits * each // 8
    )
    told = struct.pack(">H", key) * each
    pixels = zlib.compress((b"\0" + row) * _KEYED_SIDE, 0)
    return png_of(
        (_KEYED_SIDE, _KEYED_SIDE), bytes([bits]) + colour, (b"tRNS", told), (b"IDAT", pixels)
    )


@pytest.mark.parametrize("target", [None, Format.WEBP, Format.JPEG])
@pytest.mark.parametrize(
    ("bits", "colour"),
    [(1, b"\0"), (2, b"\0"), (4, b"\0"), (8, b"\0"), (16, b"\0"), (8, b"\x02"), (16, b"\x02")],
)
def test_key_colour_of_any_depth_is_clear_and_no_other_is(
    bits: int, colour: bytes, target: Format | None
) -> None:
    source = _keyed_png(bits, colour) + bytes(100_000)
    shown = opened(compressed_bytes(source, format=target)[0]).convert("RGBA")
    steps = [across * (2**bits - 1) // (_KEYED_SIDE - 1) for across in range(_KEYED_SIDE)]
    clear = [step == steps[_KEYED_SIDE // 2] for step in steps]
    row = shown.crop((0, 9, _KEYED_SIDE, 10))
    if target is not Format.JPEG:
        assert [level == 0 for level in row.getchannel("A").tobytes()] == clear
        return
    levels = row.getchannel("G").tobytes()
    if bits < 4:
        white = [
            is_clear or step == 2**bits - 1 for is_clear, step in zip(clear, steps, strict=True)
        ]
        assert [level > 240 for level in levels] == white
    else:  # a column as narrow as the others then are is blurred
        assert levels[0] < 40
        assert levels[_KEYED_SIDE // 2] > 30 + 255 * steps[_KEYED_SIDE // 2] // (2**bits - 1)


_SIDE = 128
_RISING = [across / (_SIDE - 1) for across in range(_SIDE)]
_TIFF: dict[int, int | bytes] = {256: _SIDE, 257: _SIDE, 259: 1, 277: 1, 278: _SIDE}


def _packed(code: str, highest: float) -> bytes:
    whole = [value * highest if code == "f" else int(value * highest) for value in _RISING]
    return struct.pack(f"<{_SIDE}{code}", *whole)


@pytest.mark.parametrize(
    ("row", "tags"),
    [
        (
            int("".join(f"{int(v * 4095):012b}" for v in _RISING), 2).to_bytes(_SIDE * 12 // 8),
            {258: 12, 262: 1},
        ),
        (_packed("H", 65535), {258: 16, 262: 1}),
        (_packed("H", 65535), {258: 16, 262: 0}),
        (_packed("h", 32767), {258: 16, 262: 1, 339: 2}),
        (_packed("i", 2**31 - 1), {258: 32, 262: 1, 339: 2}),
        (_packed("I", 2**32 - 1), {258: 32, 262: 1}),
        (_packed("I", 65535), {258: 32, 262: 1}),
        (_packed("f", 1), {258: 32, 262: 1, 339: 3}),
        (_packed("f", 900), {258: 32, 262: 0, 339: 3}),
        (_packed("f", 1)[:-4] + struct.pack("<f", math.inf), {258: 32, 262: 1, 339: 3}),
        (struct.pack("<f", math.nan) + _packed("f", 7)[4:], {258: 32, 262: 1, 339: 3}),
    ],
    ids=[
        *(
            "12 bits",
            "16 bits",
            "16 bits, white is zero",
            "16 bits, signed",
            "32 bits, signed",
            "32 bits",
        ),
        *("16 of 32 bits", "float", "float, white is zero", "float, endless", "float, no number"),
    ],
)
def test_gray_of_any_depth_goes_from_black_to_white(
    row: bytes, tags: dict[int, int | bytes]
) -> None:
    source = tiff_of((_TIFF | tags, row * _SIDE))
    shown = opened(compressed_bytes(source + bytes(20_000), quality=90)[0])
    assert shown.mode == "L"
    seen = [shown.getpixel((across, 50)) for across in (1, _SIDE // 2, _SIDE - 2)]
    expected = [254, 128, 1] if tags[262] == 0 else [1, 128, 254]
    assert seen == pytest.approx(expected, abs=8)


# --- never larger than the original ---


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize(
    "options",
    [{}, {"quality": 95}, {"mode": Mode.SCALE, "scale": 1.0}, {"format": Format.WEBP}],
    ids=["quality 50", "quality 95", "scale 1", "to WebP"],
)
def test_result_is_smaller_or_the_original_is_kept(name: str, options: dict[str, Any]) -> None:
    data = sample(name)
    result = compress_image(data, **options)
    if result.data is None:
        assert result.action is Action.KEPT_ORIGINAL
        assert (result.format, result.width, result.height) == (source_format(name), *SIZE)
        assert result.extension == source_format(name).facts.extension
    else:
        assert len(result.data) < len(data)


@both_ways
@pytest.mark.parametrize(
    "name", ["JPEG rgb", "WEBP rgb", "PNG rgb", "GIF animated", "AVIF rgb", "TIFF rgb"]
)
def test_image_that_was_compressed_does_not_grow_when_it_comes_again(name: str) -> None:
    data, _ = compressed_bytes(wasteful(name))
    for _ in range(3):
        again = compress_image(data)
        assert again.data is None or len(again.data) < len(data)
        data = again.data or data


@both_ways
def test_small_image_is_kept_as_it_is() -> None:
    source = encoded(colourful((16, 12)), quality=3, optimize=True)
    result = compress_image(source)
    assert (result.data, result.action, result.format) == (None, Action.KEPT_ORIGINAL, Format.JPEG)
    assert (result.width, result.height, result.warnings) == (16, 12, ())


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({"format": Format.AVIF}, "as AVIF of 64 × 48 pixels"),
        ({"mode": Mode.SCALE, "scale": 0.9, "quality": 95}, "as JPEG of 58 × 43 pixels"),
    ],
)
def test_kept_original_is_said_to_be_other_than_asked_for(
    options: dict[str, Any], asked: str
) -> None:
    source = encoded(colourful((64, 48)), quality=1, optimize=True)
    result = compress_image(source, **options)
    assert (result.data, result.width, result.height) == (None, 64, 48)
    (warning,) = result.warnings
    assert f"{asked} it would have" in warning
    assert f"it had {len(source)}" in warning


@pytest.mark.parametrize("target", [Format.JPEG, Format.WEBP])
def test_kept_original_is_not_said_to_have_lost_anything(target: Format | None) -> None:
    dot = Image.new("RGBA", (4, 4), (255, 0, 0, 0)).quantize(2)
    source = encoded(dot, "PNG", optimize=True)
    result = compress_image(source, format=target)
    assert (result.data, result.format) == (None, Format.PNG)
    assert not any("was put on white" in warning for warning in result.warnings)


# --- deterministic ---

_DETERMINISTIC: list[dict[str, Any]] = [{}, {"format": Format.WEBP}]


def _digest(data: bytes, **options: Any) -> str:
    return hashlib.sha256(compress_image(data, **options).data or b"kept").hexdigest()


_DIGESTS = """
import hashlib, json, sys
from halftone_shared.model.options import ImageOptions
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.pipeline import compress
for path in sys.argv[1:]:
    data = open(path, "rb").read()
    for form in ("keep", "webp"):
        options = ImageOptions.from_json({"mode": "quality", "format": form})
        result = compress(data, options, CodecLimits())
        print(hashlib.sha256(result.data or b"kept").hexdigest())
"""


def test_same_input_gives_the_same_bytes_here_and_in_another_process(tmp_path: Path) -> None:
    paths = []
    for number, name in enumerate(SAMPLES):
        paths.append(tmp_path / f"{number:03}")
        paths[-1].write_bytes(sample(name))
    here = [_digest(path.read_bytes(), **options) for path in paths for options in _DETERMINISTIC]
    there = subprocess.run(
        [sys.executable, "-c", _DIGESTS, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert there == here


@both_ways
def test_same_input_gives_the_same_bytes_at_another_time() -> None:
    names = [
        "JPEG rgb",
        "PNG animated",
        "WEBP animated alpha",
        "GIF animated alpha",
        "AVIF animated",
        "TIFF pages",
    ]
    cases = [(name, target) for name in names for target in (None, *WRITTEN)]
    first = {case: _digest(wasteful(case[0]), format=case[1]) for case in cases}
    time.sleep(1.1)  # file formats store the time in seconds
    assert [
        case for case in cases if _digest(wasteful(case[0]), format=case[1]) != first[case]
    ] == []
