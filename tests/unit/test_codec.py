"""compress(): what comes out of every format, kind and mode, and what is refused, and what never happens."""

import hashlib
import io
import resource
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms, ImageDraw, ImageFilter, ImageOps, ImageSequence, ImageStat

from halftone_cli.photos import render_cutout
from halftone_shared.states import Action, ImageErrorCode, Mode, OutputFormat
from halftone_workers.codec import requantising
from halftone_workers.codec.containers import is_lossless_webp, jpeg_has_more_scans
from halftone_workers.codec.formats import FACTS, Format, sniff
from halftone_workers.codec.options import CodecLimits, CodecOptions, Compressed, ImageRefused
from halftone_workers.codec.pipeline import MAX_JPEG_SCANS, compress
from halftone_workers.codec_pool import MEMORY_BYTES
from tests.support.images import encoded, opened, picture

SIZE = (112, 84)
HALF = (56, 42)
DURATIONS = [80, 120, 200, 40]
# Mean difference a channel, of 255, without dither: what quality 50 and 256 colours cost on these pictures, with room.
# The mistakes that it must notice are several times as large: test_comparison_notices_what_it_is_for.
COLOUR_TOLERANCE = 5.0
ALPHA_TOLERANCE = 4.0
_COPYRIGHT, _DESCRIPTION, _ORIENTATION, _GPS = 0x8298, 0x010E, 0x0112, 0x8825


@pytest.fixture(autouse=True, scope="module")
def bounded_memory() -> Iterator[None]:
    """What would fill the machine's memory is a MemoryError here, as it is in a codec process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture(params=["accelerated", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """JPEGs go both ways: through the accelerator, and as if it were not installed."""
    if request.param == "accelerated" and requantising.accelerator is None:
        pytest.skip("halftone-jpeg is not installed: scripts/setup.sh says what it takes")
    if request.param == "plain":
        monkeypatch.setattr(requantising, "accelerator", None)


both_ways = pytest.mark.usefixtures("way")


# --- pictures and profiles ---


def _photo(size: tuple[int, int] = SIZE, seed: int = 1) -> Image.Image:
    """Another colour in each corner, so that no turn, flip or swap of channels leaves it as it was; and texture."""
    across = Image.linear_gradient("L").rotate(90).resize(size)
    down = Image.linear_gradient("L").resize(size)
    texture = picture(size, seed=seed).getchannel("R")
    channels = (across, down, ImageChops.invert(across))
    return Image.merge("RGB", [Image.blend(channel, texture, 0.25) for channel in channels])


def _gray() -> Image.Image:
    return _photo().convert("L")


def _see_through(image: Image.Image, shift: int = 0) -> Image.Image:
    """With an alpha channel: clear at the edges, half-clear in the middle."""
    alpha = Image.new("L", SIZE, 0)
    alpha.paste(255, (12 + shift, 10, 92 + shift, 74))
    alpha.paste(128, (40 + shift, 30, 70 + shift, 56))
    result = image.convert("RGBA")
    result.putalpha(alpha)
    return result


def _cut_out(image: Image.Image, shift: int = 0) -> Image.Image:
    """With an alpha channel of nothing and all, as GIF has it."""
    result = _see_through(image, shift)
    result.putalpha(result.getchannel("A").point(lambda value: 255 if value > 200 else 0))
    return result


def _sixteen_bits(image: Image.Image, mode: str = "I;16") -> Image.Image:
    deep = image.convert("I").point(lambda value: value * 257).convert("I;16")
    return Image.frombytes(mode, deep.size, deep.tobytes("raw", mode)) if mode != "I;16" else deep


def _s15(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _profile(space: bytes, tags: dict[bytes, bytes], *, device: bytes = b"mntr", connection: bytes = b"XYZ ") -> bytes:
    """An ICC profile, version 2.4, of these tags."""
    white = b"XYZ \0\0\0\0" + _s15(0.9642, 1, 0.8249)
    name = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = {b"desc": name, b"cprt": b"text\0\0\0\0none\0", b"wtpt": white} | tags
    table, contents, offset = b"", b"", 132 + 12 * len(tags)
    for kind, value in tags.items():
        table += kind + struct.pack(">II", offset + len(contents), len(value))
        contents += value + bytes(-len(value) % 4)
    head = struct.pack(">I4sI4s4s4s", offset + len(contents), b"test", 0x02400000, device, space, connection)
    head += bytes(12) + b"acsp" + bytes(28) + _s15(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + contents


def _swapped_profile() -> bytes:
    """A profile under which the first number means blue and the last one red."""
    srgb = bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    return srgb.replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"????", b"bXYZ", 1)


def _gray_profile() -> bytes:
    """Gray of gamma 1: far lighter than the same numbers in sRGB."""
    return _profile(b"GRAY", {b"kTRC": b"curv\0\0\0\0" + struct.pack(">IH", 1, 256)})


def _cmyk_profile() -> bytes:
    """Inks that no press has: the first is orange, so that converting without the profile is far off."""
    corners = bytearray()
    for ink in range(16):
        orange, magenta, yellow, black = (ink >> bit & 1 for bit in (3, 2, 1, 0))
        lightness = 255 * (1 - black) * (1 - 0.25 * orange) * (1 - 0.3 * magenta) * (1 - 0.05 * yellow)
        green_red = 128 + (50 * magenta + 40 * orange) * (1 - black)
        blue_yellow = 128 + (50 * yellow + 60 * orange) * (1 - black)
        corners += bytes([round(lightness), green_red, min(255, blue_yellow)])
    straight = bytes(range(256))
    lut = b"mft1\0\0\0\0\x04\x03\x02\0" + _s15(1, 0, 0, 0, 1, 0, 0, 0, 1) + straight * 4 + bytes(corners) + straight * 3
    return _profile(b"CMYK", {b"A2B0": lut}, device=b"prtr", connection=b"Lab ")


def _png(size: tuple[int, int], depth_and_colour: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of these chunks, between a header and the end."""
    header = struct.pack(">II", *size) + depth_and_colour + b"\0\0\0"
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return data


def _deep_png() -> bytes:
    """16 bits a channel in colour, which Pillow does not write."""
    raw, row = _photo().tobytes(), SIZE[0] * 3
    rows = [bytes(byte for value in raw[at : at + row] for byte in (value, value)) for at in range(0, len(raw), row)]
    return _png(SIZE, b"\x10\x02", (b"IDAT", zlib.compress(b"".join(b"\0" + line for line in rows), 1)))


# --- what goes in ---


def _film(name: str, frames: Sequence[Image.Image], **how: Any) -> bytes:
    how = {"save_all": True, "append_images": frames[1:], "duration": DURATIONS, "loop": 0} | how
    return encoded(frames[0], name, **how)


def _frames(cut: Callable[[Image.Image, int], Image.Image] = lambda image, _: image) -> list[Image.Image]:
    return [cut(_photo(seed=seed), 4 * seed) for seed in range(1, 5)]


def _keyed(mode: str) -> Image.Image:
    """A picture one of whose colours stands for transparency."""
    image = _photo().convert(mode)
    image.paste((1, 2, 3) if mode == "RGB" else 7, (0, 0, *HALF))
    return image


def _palette_with_alpha() -> Image.Image:
    return _see_through(_photo()).quantize(256, Image.Quantize.FASTOCTREE)


_RAW: dict[str, Any] = {"compress_level": 0}
_FINE: dict[str, Any] = {"quality": 98}

SAMPLES: dict[str, Callable[[], bytes]] = {
    "JPEG rgb": lambda: encoded(_photo(), **_FINE),
    "JPEG progressive": lambda: encoded(_photo(), progressive=True, **_FINE),
    "JPEG gray": lambda: encoded(_gray(), **_FINE),
    "JPEG profile": lambda: encoded(_photo(), icc_profile=_swapped_profile(), **_FINE),
    "JPEG gray profile": lambda: encoded(_gray(), icc_profile=_gray_profile(), **_FINE),
    "JPEG cmyk": lambda: encoded(_photo().convert("CMYK"), **_FINE),
    "JPEG cmyk profile": lambda: encoded(_photo().convert("CMYK"), icc_profile=_cmyk_profile(), **_FINE),
    "PNG rgb": lambda: encoded(_photo(), "PNG", **_RAW),
    "PNG alpha": lambda: encoded(_see_through(_photo()), "PNG", **_RAW),
    "PNG gray": lambda: encoded(_gray(), "PNG", **_RAW),
    "PNG gray alpha": lambda: encoded(_see_through(_gray()).convert("LA"), "PNG", **_RAW),
    "PNG palette": lambda: encoded(_photo().quantize(200), "PNG", **_RAW),
    "PNG palette alpha": lambda: encoded(_palette_with_alpha(), "PNG", **_RAW),
    "PNG 16-bit gray": lambda: encoded(_sixteen_bits(_gray()), "PNG", **_RAW),
    "PNG 16-bit rgb": _deep_png,
    "PNG 1-bit": lambda: encoded(_photo().convert("1"), "PNG", **_RAW),
    "PNG profile": lambda: encoded(_photo(), "PNG", icc_profile=_swapped_profile(), **_RAW),
    "PNG alpha profile": lambda: encoded(_see_through(_photo()), "PNG", icc_profile=_swapped_profile(), **_RAW),
    "PNG palette profile": lambda: encoded(_photo().quantize(200), "PNG", icc_profile=_swapped_profile(), **_RAW),
    "PNG gray profile": lambda: encoded(_gray(), "PNG", icc_profile=_gray_profile(), **_RAW),
    "PNG rgb key": lambda: encoded(_keyed("RGB"), "PNG", transparency=(1, 2, 3), **_RAW),
    "PNG gray key": lambda: encoded(_keyed("L"), "PNG", transparency=7, **_RAW),
    "PNG animated": lambda: _film("PNG", _frames(), **_RAW),
    "PNG animated alpha": lambda: _film("PNG", _frames(_see_through), **_RAW),
    "WEBP rgb": lambda: encoded(_photo(), "WEBP", **_FINE),
    "WEBP alpha": lambda: encoded(_see_through(_photo()), "WEBP", **_FINE),
    "WEBP profile": lambda: encoded(_photo(), "WEBP", icc_profile=_swapped_profile(), **_FINE),
    "WEBP lossless": lambda: encoded(_photo(), "WEBP", lossless=True, quality=0, method=0),
    "WEBP lossless alpha": lambda: encoded(_see_through(_photo()), "WEBP", lossless=True, quality=0, method=0),
    "WEBP animated": lambda: _film("WEBP", _frames(), **_FINE),
    "WEBP animated alpha": lambda: _film("WEBP", _frames(_see_through), **_FINE),
    "GIF palette": lambda: encoded(_photo().quantize(256), "GIF"),
    "GIF gray": lambda: encoded(_gray(), "GIF"),
    "GIF alpha": lambda: encoded(_cut_out(_photo()), "GIF"),
    "GIF animated": lambda: _film("GIF", _frames()),
    "GIF animated alpha": lambda: _film("GIF", _frames(_cut_out), disposal=2),
    "AVIF rgb": lambda: encoded(_photo(), "AVIF", speed=10, **_FINE),
    "AVIF alpha": lambda: encoded(_see_through(_photo()), "AVIF", speed=10, **_FINE),
    "AVIF gray": lambda: encoded(_gray(), "AVIF", speed=10, **_FINE),
    "AVIF profile": lambda: encoded(_photo(), "AVIF", speed=10, icc_profile=_swapped_profile(), **_FINE),
    "AVIF animated": lambda: _film("AVIF", _frames(), speed=10, **_FINE),
    "AVIF animated alpha": lambda: _film("AVIF", _frames(_see_through), speed=10, **_FINE),
    "TIFF rgb": lambda: encoded(_photo(), "TIFF"),
    "TIFF BigTIFF": lambda: encoded(_photo(), "TIFF", big_tiff=True),
    "TIFF alpha": lambda: encoded(_see_through(_photo()), "TIFF"),
    "TIFF gray": lambda: encoded(_gray(), "TIFF"),
    "TIFF gray alpha": lambda: encoded(_see_through(_gray()).convert("LA"), "TIFF"),
    "TIFF palette": lambda: encoded(_photo().quantize(200), "TIFF"),
    "TIFF 16-bit gray": lambda: encoded(_sixteen_bits(_gray()), "TIFF"),
    "TIFF 16-bit gray, big-endian": lambda: encoded(_sixteen_bits(_gray(), "I;16B"), "TIFF"),
    "TIFF 1-bit": lambda: encoded(_photo().convert("1"), "TIFF"),
    "TIFF profile": lambda: encoded(_photo(), "TIFF", icc_profile=_swapped_profile()),
    "TIFF cmyk": lambda: encoded(_photo().convert("CMYK"), "TIFF"),
    "TIFF cmyk profile": lambda: encoded(_photo().convert("CMYK"), "TIFF", icc_profile=_cmyk_profile()),
    "TIFF pages": lambda: encoded(_frames()[0], "TIFF", save_all=True, append_images=_frames()[1:]),
}
ANIMATED = [name for name in SAMPLES if "animated" in name]
SEVERAL = [*ANIMATED, "TIFF pages"]


@cache
def _sample(name: str) -> bytes:
    return SAMPLES[name]()


def _source_format(name: str) -> Format:
    return Format(name.split()[0])


def _is_transparent(name: str) -> bool:
    return "alpha" in name or "key" in name


def _wasteful(name: str) -> bytes:
    """The sample with so much behind its end that every result is smaller: what is compared is always a result."""
    rest = b"<script>alert(1)</script>" * 8000
    if _source_format(name) is Format.AVIF:
        return _sample(name) + struct.pack(">I", len(rest) + 8) + b"free" + rest
    return _sample(name) + rest


# --- looking at images ---


@dataclass(frozen=True)
class Look:
    """What a viewer shows of a file: frames in sRGB with alpha, upright, and how long each is shown."""

    frames: list[Image.Image]
    durations: list[int]


def _look(data: bytes) -> Look:
    frames, durations = [], []
    with Image.open(io.BytesIO(data)) as image:
        icc = image.info.get("icc_profile")
        for frame in ImageSequence.Iterator(image):
            shown = ImageOps.exif_transpose(frame.copy())
            frames.append(_in_srgb(shown, icc))
            durations.append(round(frame.info.get("duration", 0)))
    return Look(frames, durations)


def _in_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    clear = image.has_transparency_data
    alpha = image.convert("RGBA").getchannel("A") if clear else Image.new("L", image.size, 255)
    if image.mode == "P":
        image = image.convert("RGBA" if clear else "RGB")
    colour = image.convert({"RGBA": "RGB", "LA": "L", "1": "L"}.get(image.mode, image.mode))
    if icc:
        moved = ImageCms.profileToProfile(
            colour, ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        assert moved is not None
        colour = moved
    colour = colour.convert("RGB")
    colour.putalpha(alpha)
    return colour


def _on(ground: str, image: Image.Image) -> Image.Image:
    base = Image.new("RGBA", image.size, ground)
    base.alpha_composite(image)
    return base.convert("RGB")


def _colour_difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference a channel as seen on white and on black, the larger of both; from so far that dither blurs."""
    blur = ImageFilter.BoxBlur(2)
    pairs = [(_on(ground, one).filter(blur), _on(ground, other).filter(blur)) for ground in ("white", "black")]
    return max(sum(ImageStat.Stat(ImageChops.difference(*pair)).mean) / 3 for pair in pairs)


def _alpha_difference(one: Image.Image, other: Image.Image) -> float:
    return float(ImageStat.Stat(ImageChops.difference(one.getchannel("A"), other.getchannel("A"))).mean[0])


def _assert_alike(result: bytes, source: Look, size: tuple[int, int] = SIZE) -> None:
    """The result shows the source's frames, in this size."""
    seen = _look(result)
    assert [frame.size for frame in seen.frames] == [size] * len(source.frames)
    for after, before in zip(seen.frames, source.frames, strict=True):
        expected = before if before.size == size else before.resize(size, Image.Resampling.BOX)
        if sniff(result) is Format.GIF:
            expected.putalpha(expected.getchannel("A").point(lambda value: 255 * (value > 127)))
        assert _alpha_difference(after, expected) < ALPHA_TOLERANCE
        assert _colour_difference(after, expected) < COLOUR_TOLERANCE


def _compress(data: bytes, limits: CodecLimits | None = None, **options: Any) -> Compressed:
    return compress(data, CodecOptions(**options), limits or CodecLimits())


def _bytes(data: bytes, **options: Any) -> tuple[bytes, Compressed]:
    """The result's bytes, for inputs that must not be kept."""
    result = _compress(data, **options)
    assert result.action is Action.COMPRESSED
    assert result.data is not None
    return result.data, result


def _refusal(data: bytes, limits: CodecLimits | None = None, **options: Any) -> ImageErrorCode:
    with pytest.raises(ImageRefused) as refused:
        _compress(data, limits, **options)
    assert refused.value.message.endswith(".")
    return refused.value.code


def test_comparison_notices_what_it_is_for() -> None:
    photo = _in_srgb(_photo(), None)
    red, green, blue, alpha = photo.split()
    wrong = [
        Image.merge("RGBA", (blue, green, red, alpha)),
        ImageChops.invert(photo.convert("RGB")).convert("RGBA"),
        photo.convert("L").convert("RGBA"),
        photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        photo.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        photo.transpose(Image.Transpose.ROTATE_180),
        _in_srgb(_photo().convert("CMYK"), _cmyk_profile()),
        _in_srgb(_gray(), _gray_profile()),
    ]
    for image in wrong:
        assert _colour_difference(photo, image) > 3 * COLOUR_TOLERANCE
    assert _alpha_difference(photo, _in_srgb(_see_through(_photo()), None)) > 3 * ALPHA_TOLERANCE


# --- every format, kind and mode ---


@both_ways
@pytest.mark.parametrize("name", SAMPLES)
def test_quality_keeps_format_size_frames_alpha_and_colours(name: str) -> None:
    source = _look(_sample(name))
    data, result = _bytes(_wasteful(name), mode=Mode.QUALITY, quality=50)
    assert sniff(data) is _source_format(name)
    assert (result.format, result.extension) == (_source_format(name), FACTS[_source_format(name)].extension)
    assert (result.width, result.height) == SIZE
    assert result.warnings == ()
    assert len(data) < len(_wasteful(name))
    _assert_alike(data, source)


@pytest.mark.parametrize("name", SAMPLES)
def test_scale_halves_both_sides_and_keeps_the_rest(name: str) -> None:
    source = _look(_sample(name))
    data, result = _bytes(_wasteful(name), mode=Mode.SCALE, scale=0.5, quality=80)
    assert sniff(data) is _source_format(name)
    assert (result.width, result.height) == HALF
    assert result.warnings == ()
    _assert_alike(data, source, HALF)


@both_ways
@pytest.mark.parametrize("name", SAMPLES)
def test_bytes_reaches_its_share_or_says_that_it_cannot(name: str) -> None:
    data = _sample(name)
    result = _compress(data, mode=Mode.BYTES, ratio=0.5)
    assert (result.format, result.width, result.height) == (_source_format(name), *SIZE)
    stored = data if result.data is None else result.data
    assert len(_look(stored).frames) == len(_look(data).frames)
    if len(stored) > len(data) * 0.5:
        assert len(result.warnings) == 1
        assert str(int(len(data) * 0.5)) in result.warnings[0]
    else:
        assert result.warnings == ()


@pytest.mark.parametrize("name", ANIMATED)
@pytest.mark.parametrize("options", [{}, {"mode": Mode.SCALE}, {"mode": Mode.BYTES}], ids=["quality", "scale", "bytes"])
def test_animation_keeps_its_durations(name: str, options: dict[str, Any]) -> None:
    data, _ = _bytes(_wasteful(name), **options)
    assert _look(data).durations == _look(_sample(name)).durations == DURATIONS


@pytest.mark.parametrize("name", ANIMATED)
@pytest.mark.parametrize("target", [OutputFormat.WEBP, OutputFormat.AVIF])
def test_conversion_keeps_an_animation_and_its_durations(name: str, target: OutputFormat) -> None:
    data, result = _bytes(_wasteful(name), format=target)
    assert result.warnings == ()
    assert _look(data).durations == DURATIONS
    _assert_alike(data, _look(_sample(name)))


@pytest.mark.parametrize("loop", [0, 3])
@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG"])
def test_animation_plays_as_often_as_before(name: str, loop: int) -> None:
    how = {"loop": loop} | (_RAW if name == "PNG" else _FINE if name == "WEBP" else {})
    source = _film(name, _frames(), **how)
    data, _ = _bytes(source + bytes(200_000))
    assert opened(data).info["loop"] == opened(source).info["loop"] == loop


@pytest.mark.parametrize(
    ("target", "expected"), [(OutputFormat.WEBP, 1), (OutputFormat.KEEP, None)], ids=["webp", "keep"]
)
def test_animation_that_plays_once_does_not_play_twice(target: OutputFormat, expected: int | None) -> None:
    # A GIF without a loop extension plays once; with one, it plays once and N times again. A WebP says 1.
    once = _film("GIF", _frames(), loop=None)
    assert "loop" not in opened(once).info
    data, _ = _bytes(once + bytes(200_000), format=target)
    assert opened(data).info.get("loop") == expected


def test_picture_beside_an_animated_png_does_not_become_a_frame_of_it() -> None:
    still, *frames = _frames()
    source = encoded(
        still, "PNG", save_all=True, append_images=frames, duration=DURATIONS[:3], default_image=True, **_RAW
    )
    assert opened(source).info["default_image"]
    data, _ = _bytes(source)
    after = opened(data)
    assert after.info.get("default_image")
    assert getattr(after, "n_frames", 1) == getattr(opened(source), "n_frames", 1)


# --- how each format is compressed ---


@both_ways
@pytest.mark.parametrize("quality", [1, 20, 50, 95])
def test_jpeg_has_the_quality_that_was_asked(quality: int) -> None:
    data, _ = _bytes(encoded(_photo(), quality=100), quality=quality)
    tables = opened(encoded(_photo(), quality=quality)).quantization  # type: ignore[attr-defined]
    assert opened(data).quantization == tables  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["WEBP lossless", "WEBP lossless alpha"])
def test_lossless_webp_stays_lossless(name: str) -> None:
    data, _ = _bytes(_wasteful(name))
    assert is_lossless_webp(data)
    before, after = _look(_sample(name)).frames[0], _look(data).frames[0]
    assert ImageChops.difference(_on("white", before), _on("white", after)).getbbox() is None


def test_animated_lossless_webp_stays_lossless() -> None:
    source = _film("WEBP", _frames(), lossless=True, quality=0, method=0)
    data, _ = _bytes(source + bytes(400_000))
    assert is_lossless_webp(data)
    for before, after in zip(_look(source).frames, _look(data).frames, strict=True):
        assert ImageChops.difference(before.convert("RGB"), after.convert("RGB")).getbbox() is None


def test_lossy_webp_stays_lossy() -> None:
    assert not is_lossless_webp(_bytes(_sample("WEBP rgb"))[0])


_cut_out_product = cache(partial(render_cutout, seed=1, size=(320, 320)))


def _drawing() -> Image.Image:
    """A gradient, and shapes with soft edges."""
    level = Image.linear_gradient("L").resize((960, 480))
    image = Image.merge("RGB", [level.point(lambda value, part=part: 255 - value // part) for part in (2, 3, 5)])
    for at, colour in enumerate(("#d33", "#fa0", "#283", "#06c")):
        ImageDraw.Draw(image).ellipse((60 + 220 * at, 120, 240 + 220 * at, 300), fill=colour, outline="white", width=9)
    return image.resize((480, 240), Image.Resampling.LANCZOS)


def _noise(one: Image.Image, other: Image.Image) -> float:
    """Mean square over channels and the grounds white and black."""
    pairs = [(_on(ground, one.convert("RGBA")), _on(ground, other.convert("RGBA"))) for ground in ("white", "black")]
    return sum(sum(value**2 for value in ImageStat.Stat(ImageChops.difference(*pair)).rms) for pair in pairs) / 6


@pytest.mark.parametrize(
    "image",
    [_cut_out_product("mug"), _cut_out_product("vase"), _drawing(), picture((480, 360))],
    ids=["mug", "vase", "drawing", "photo"],
)
def test_png_has_no_more_bytes_than_pillows_palette_and_is_no_farther_from_the_source(image: Image.Image) -> None:
    data = _bytes(encoded(image, "PNG", **_RAW))[0]
    pillows = encoded(image.quantize(256), "PNG", optimize=True)
    assert len(data) <= len(pillows)
    assert _noise(opened(data), image) <= _noise(opened(pillows), image)


def test_shadow_of_a_cut_out_is_finer_than_pillows_octree_makes_it() -> None:
    image = _cut_out_product("mug")
    shown = opened(_bytes(encoded(image, "PNG", **_RAW))[0]).convert("RGBA")
    octree = image.quantize(256).convert("RGBA")
    errors = [ImageStat.Stat(ImageChops.difference(image, other).getchannel("A")).rms[0] for other in (shown, octree)]
    assert errors[0] < errors[1] / 2


def test_png_with_alpha_above_quality_50_has_all_colours_whatever_they_take() -> None:
    image = _cut_out_product("mug")
    source = encoded(image, "PNG", **_RAW)
    frugal, lavish = _bytes(source)[0], _bytes(source, quality=51)[0]
    assert len(frugal) < len(lavish)
    assert _noise(opened(lavish), image) < _noise(opened(frugal), image)


def test_photograph_that_is_evenly_translucent_keeps_its_colours() -> None:
    image = picture((240, 180)).convert("RGBA")
    image.putalpha(128)
    shown = opened(_bytes(encoded(image, "PNG", **_RAW))[0])
    assert _noise(shown, image) <= _noise(image.quantize(256), image)


@pytest.mark.parametrize("name", ["PNG rgb", "PNG alpha", "PNG 16-bit rgb", "PNG profile"])
def test_png_gets_a_palette_of_at_most_256_colours(name: str) -> None:
    image = opened(_bytes(_sample(name))[0])
    assert image.mode == "P"
    colours = image.convert("RGBA").getcolors(SIZE[0] * SIZE[1])
    assert colours is not None
    assert 64 < len(colours) <= 256


def test_png_keeps_a_soft_shadow_soft() -> None:
    shadow = Image.new("RGBA", SIZE, "black")
    shadow.putalpha(ImageChops.invert(Image.radial_gradient("L")).resize(SIZE))
    source = encoded(shadow, "PNG", **_RAW)
    _assert_alike(_bytes(source)[0], _look(source))


def _many_hues() -> Image.Image:
    """Two gradients that no palette of 256 colours holds without steps."""
    across = Image.linear_gradient("L").rotate(90).resize((480, 480))
    down = Image.linear_gradient("L").resize((480, 480))
    parts = ((across, 90, 0.5), (down, 60, 0.5), (Image.blend(across, down, 0.5), 200, -0.35))
    return Image.merge("RGB", [level.point(lambda v, a=a, b=b: round(a + b * v)) for level, a, b in parts])


@pytest.mark.parametrize("alpha", [False, True])
def test_png_shows_no_bands_where_the_image_is_smooth(alpha: bool) -> None:
    image = _many_hues()
    if alpha:  # clear in a corner; all colours
        image.putalpha(Image.new("L", image.size, 255))
        image.paste((0, 0, 0, 0), (0, 0, 40, 40))
    shown = opened(_bytes(encoded(image, "PNG", **_RAW), quality=51)[0])
    # From a distance it has the image's colours; each pixel's nearest are steps that are still seen, and off by 2.0.
    far, near = (one.convert("RGB").crop((40, 40, 480, 480)).reduce(8) for one in (shown, image))
    assert max(ImageStat.Stat(ImageChops.difference(far, near)).rms) < 1


def test_png_keeps_a_colour_that_few_pixels_have() -> None:
    noise = [Image.effect_noise((400, 400), 12).point(lambda v, at=at: v // 2 + at) for at in (90, 100, 110)]
    image = Image.merge("RGB", noise)
    image.paste("#d01020", (200, 200, 206, 206))
    shown = opened(_bytes(encoded(image, "PNG", **_RAW))[0]).convert("RGB")
    dot = ImageChops.difference(shown, image).crop((200, 200, 206, 206))
    assert max(ImageStat.Stat(dot).rms) <= 4


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_png_of_few_colours_is_dithered(mode: str) -> None:
    source = encoded(Image.linear_gradient("L").convert(mode), "PNG", **_RAW)
    data, _ = _bytes(source, quality=5)
    # Without dither, 25 grays are off by 2.5 on average, seen from any distance.
    assert _colour_difference(_look(data).frames[0], _look(source).frames[0]) < 1.5


@pytest.mark.parametrize("name", ["TIFF rgb", "TIFF gray", "TIFF cmyk", "TIFF pages", "TIFF 16-bit gray"])
def test_tiff_is_compressed_as_jpeg(name: str) -> None:
    data, _ = _bytes(_sample(name))
    assert {frame.info["compression"] for frame in ImageSequence.Iterator(opened(data))} == {"jpeg"}


_STEERED = ["JPEG rgb", "PNG rgb", "PNG alpha", "PNG palette", "PNG gray", "WEBP rgb", "GIF palette", "GIF animated"]


@both_ways
@pytest.mark.parametrize("name", [*_STEERED, "AVIF rgb", "TIFF rgb"])
def test_lower_quality_makes_a_smaller_file(name: str) -> None:
    high, low = (_bytes(_wasteful(name), quality=quality)[0] for quality in (90, 5))
    assert len(low) < 0.9 * len(high)


@both_ways
@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.5, 0.9])
def test_bytes_takes_the_highest_quality_that_fits(ratio: float) -> None:
    source = encoded(_photo(), quality=97)
    data, result = _bytes(source, mode=Mode.BYTES, ratio=ratio)
    assert result.warnings == ()
    sizes = {quality: len(_bytes(source, quality=quality)[0]) for quality in range(1, 96)}
    assert len(data) == max(size for size in sizes.values() if size <= len(source) * ratio)


@pytest.mark.parametrize("name", ["GIF palette", "PNG palette", "PNG gray", "GIF animated"])
def test_bytes_takes_fewer_colours_where_that_is_what_the_share_needs(name: str) -> None:
    source = encoded(opened(_sample(name)), "PNG", optimize=True) if name.startswith("PNG") else _sample(name)
    data, result = _bytes(source, mode=Mode.BYTES, ratio=0.6)
    assert len(data) <= 0.6 * len(source)
    assert result.warnings == ()


@both_ways
def test_bytes_that_cannot_be_had_gives_the_smallest_and_says_so() -> None:
    source = encoded(_photo(), quality=97)
    data, result = _bytes(source, mode=Mode.BYTES, ratio=0.001)
    assert len(data) == len(_bytes(source, quality=1)[0])
    assert len(result.warnings) == 1


@both_ways
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (3, 2)])
@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize("options", [{}, {"mode": Mode.SCALE}, {"mode": Mode.BYTES}], ids=["quality", "scale", "bytes"])
def test_tiny_image_stays_an_image(form: Format, size: tuple[int, int], options: dict[str, Any]) -> None:
    source = encoded(_photo(size), form)
    filler = struct.pack(">I", 4008) + b"free" + bytes(4000) if form is Format.AVIF else bytes(4000)
    data, result = _bytes(source + filler, **options)
    half = options.get("mode") is Mode.SCALE
    for before, after in zip(size, (result.width, result.height), strict=True):
        assert after in ({max(1, before // 2), (before + 1) // 2} if half else {before})
    assert opened(data).size == (result.width, result.height)


def test_scale_ends_at_one_pixel() -> None:
    _, result = _bytes(_sample("JPEG rgb"), mode=Mode.SCALE, scale=0.0001)
    assert (result.width, result.height) == (1, 1)


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


def _exif(**tags: Any) -> Image.Exif:
    exif = Image.Exif()
    for name, value in tags.items():
        exif[{"orientation": _ORIENTATION, "copyright": _COPYRIGHT, "description": _DESCRIPTION}[name]] = value
    return exif


def _turned(form: Format, orientation: int, image: Image.Image | None = None) -> bytes:
    upright = image or _photo()
    stored = upright.transpose(_STORED_AS[orientation]) if orientation in _STORED_AS else upright
    wasteful = _RAW if form is Format.PNG else {} if form is Format.TIFF else _FINE
    return encoded(stored, form, exif=_exif(orientation=orientation), **wasteful)


@both_ways
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", _WITH_EXIF)
def test_orientation_is_applied(form: Format, orientation: int) -> None:
    source = _turned(form, orientation)
    data, result = _bytes(source)
    assert (result.width, result.height) == SIZE
    assert opened(data).getexif().get(_ORIENTATION, 1) == 1
    _assert_alike(data, Look([_in_srgb(_photo(), None)], [0]))
    _assert_alike(data, _look(source))


@pytest.mark.parametrize("orientation", [3, 6, 7])
@pytest.mark.parametrize("target", [OutputFormat.JPEG, OutputFormat.WEBP, OutputFormat.AVIF])
def test_orientation_is_applied_in_conversions_and_before_scaling(target: OutputFormat, orientation: int) -> None:
    data, _ = _bytes(_turned(Format.JPEG, orientation), mode=Mode.SCALE, format=target, quality=80)
    assert opened(data).getexif().get(_ORIENTATION, 1) == 1
    _assert_alike(data, Look([_in_srgb(_photo(), None)], [0]), HALF)


@pytest.mark.parametrize("image", [_palette_with_alpha(), _sixteen_bits(_gray())], ids=["palette alpha", "16-bit gray"])
def test_orientation_is_applied_to_every_mode(image: Image.Image) -> None:
    data, _ = _bytes(_turned(Format.PNG, 6, image))
    _assert_alike(data, Look([_in_srgb(image, None)], [0]))


@both_ways
@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientation_that_does_not_exist_changes_nothing(orientation: int) -> None:
    data, _ = _bytes(_turned(Format.JPEG, orientation))
    _assert_alike(data, Look([_in_srgb(_photo(), None)], [0]))


@both_ways
@pytest.mark.parametrize("name", [name for name in SAMPLES if "profile" in name])
def test_profile_is_kept(name: str) -> None:
    data, _ = _bytes(_wasteful(name))
    assert opened(data).info.get("icc_profile") == opened(_sample(name)).info["icc_profile"]


@both_ways
@pytest.mark.parametrize("name", ["JPEG rgb", "PNG rgb", "WEBP rgb", "AVIF rgb", "TIFF rgb"])
@pytest.mark.parametrize(
    "profile",
    [b"not a profile", _gray_profile()[:200], _gray_profile(), _cmyk_profile(), b""],
    ids=["nonsense", "cut", "of gray", "of CMYK", "empty"],
)
@pytest.mark.parametrize("target", [OutputFormat.KEEP, OutputFormat.WEBP])
def test_profile_that_does_not_fit_is_looked_past(name: str, profile: bytes, target: OutputFormat) -> None:
    source = encoded(opened(_sample(name)), _source_format(name), icc_profile=profile)
    result = _compress(source, format=target)
    if result.data is not None:
        seen = opened(result.data).convert("RGBA")
        assert _colour_difference(seen, _in_srgb(_photo(), None)) < COLOUR_TOLERANCE


_PLACE = b"SECRET-PLACE 48.8583 2.2944"


def _with_metadata(form: Format) -> bytes:
    exif = _exif(description=_PLACE.decode(), copyright="(c) Anna Muster")
    exif[0x010F] = _PLACE.decode()
    place = exif.get_ifd(_GPS)
    place.update({1: "N", 2: (48.0, 51.0, 29.9), 3: "E", 4: (2.0, 17.0, 40.2), 0x1D: _PLACE.decode()})
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><exif:GPSLatitude>" + _PLACE + b"</exif:GPSLatitude></x:xmpmeta>"
    if form is Format.TIFF:
        exif[700] = xmp
    how: dict[Format, dict[str, Any]] = {
        Format.JPEG: {"xmp": xmp, "comment": _PLACE, **_FINE},
        Format.WEBP: {"xmp": xmp, **_FINE},
        Format.AVIF: {"xmp": xmp, **_FINE},
        Format.TIFF: {},
        Format.PNG: _RAW,
    }
    data = encoded(_photo(), form, exif=exif.tobytes(), **how[form])
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
    assert opened(source).getexif().get_ifd(_GPS)
    assert source.count(_PLACE) >= 3
    data, _ = _bytes(source, format=target)
    exif = opened(data).getexif()
    assert exif.get(_COPYRIGHT) == "(c) Anna Muster"
    assert not exif.get_ifd(_GPS)
    assert _DESCRIPTION not in exif
    assert _PLACE not in data


def test_comment_of_a_gif_is_gone() -> None:
    source = encoded(_photo(), "GIF", comment=_PLACE) + bytes(100_000)
    assert _PLACE not in _bytes(source)[0]


@both_ways
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("form", _WITH_EXIF)
def test_copyright_keeps_its_letters(form: Format, encoding: str) -> None:
    notice = "© 2024 Jürgen Groß".encode(encoding)
    source = encoded(_photo(), form, exif=_exif(copyright=notice), **({} if form is Format.TIFF else _FINE))
    assert notice in source
    assert notice in _bytes(source + (bytes(100_000) if form is not Format.AVIF else b""))[0]


@pytest.mark.parametrize("target", [OutputFormat.JPEG, OutputFormat.WEBP, OutputFormat.AVIF])
def test_copyright_that_is_a_book_stops_nothing(target: OutputFormat) -> None:
    source = encoded(_photo(), "TIFF", exif=_exif(copyright="word " * 20_000))
    _assert_alike(_bytes(source, format=target)[0], _look(source))


@both_ways
@pytest.mark.parametrize("name", ["JPEG rgb", "PNG rgb", "GIF palette", "TIFF rgb", "WEBP rgb", "AVIF rgb"])
def test_script_behind_an_image_is_gone(name: str) -> None:
    assert b"<script>" in _wasteful(name)
    assert b"<script>" not in _bytes(_wasteful(name))[0]


# --- conversions ---


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("target", [OutputFormat.JPEG, OutputFormat.WEBP, OutputFormat.AVIF])
def test_conversion_shows_the_same_and_says_what_is_lost(name: str, target: OutputFormat) -> None:
    source = _look(_sample(name))
    data, result = _bytes(_wasteful(name), format=target)
    assert sniff(data) is Format(target.upper())
    assert (result.format, result.extension) == (target.upper(), {"jpeg": "jpg"}.get(target, target.value))
    if target is OutputFormat.JPEG:
        shown = [_on("white", source.frames[0]).convert("RGBA")]
        expected = ["transparency"] * _is_transparent(name) + ["animation"] * (len(source.frames) > 1)
    else:
        shown, expected = source.frames, []
    assert len(result.warnings) == len(expected)
    for warning, word in zip(sorted(result.warnings, reverse=True), sorted(expected, reverse=True), strict=True):
        assert word in warning
    _assert_alike(data, Look(shown, []))


@pytest.mark.parametrize("target", [OutputFormat.WEBP, OutputFormat.AVIF])
def test_pages_of_several_sizes_become_something_or_are_refused(target: OutputFormat) -> None:
    pages = encoded(_photo(), "TIFF", save_all=True, append_images=[_photo((60, 160))])
    assert _is_explained(pages, CodecLimits(), format=target)


@both_ways
@pytest.mark.parametrize("target", OutputFormat)
def test_picture_with_a_preview_in_it_is_one_picture(target: OutputFormat) -> None:
    # Phones write such JPEGs: a second image behind the first, of another size, that is no frame of an animation.
    source = encoded(_photo(), "MPO", save_all=True, append_images=[_photo((56, 42))], **_FINE)
    assert opened(source).format == "MPO"
    data, result = _bytes(source, format=target)
    assert result.warnings == ()
    _assert_alike(data, Look([_in_srgb(_photo(), None)], []))


@pytest.mark.parametrize(
    ("loop", "duration"), [(100_000, 100), (0, 60_000_000)], ids=["more often than WebP", "longer than WebP"]
)
@pytest.mark.parametrize("target", [OutputFormat.WEBP, OutputFormat.AVIF, OutputFormat.KEEP])
def test_animation_beyond_what_the_output_can_say_stops_nothing(target: OutputFormat, loop: int, duration: int) -> None:
    source = _film("PNG", _frames()[:3], loop=loop, duration=duration, **_RAW)
    data, _ = _bytes(source, format=target)
    assert len(_look(data).frames) == 3


def test_image_longer_than_the_format_can_hold_stays_what_it_is() -> None:
    source = encoded(_photo((17_000, 4)), **_FINE)
    result = _compress(source, format=OutputFormat.WEBP)
    assert result.format == Format.JPEG
    assert len(result.warnings) == 1
    assert "16383" in result.warnings[0]


@pytest.mark.parametrize("target", [OutputFormat.JPEG, OutputFormat.WEBP, OutputFormat.AVIF])
@pytest.mark.parametrize("length", [16_000, 40_000, 65_520])
def test_long_image_can_be_read_whatever_it_becomes(target: OutputFormat, length: int) -> None:
    source = encoded(_photo((length, 2)), "PNG", **_RAW)
    data, result = _bytes(source, format=target)
    assert opened(data).size == (result.width, result.height) == (length, 2)


# --- never worse ---


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize(
    "options",
    [{}, {"quality": 95}, {"mode": Mode.SCALE, "scale": 1.0}, {"format": OutputFormat.WEBP}],
    ids=["quality 50", "quality 95", "scale 1", "to WebP"],
)
def test_result_is_smaller_or_the_original_is_kept(name: str, options: dict[str, Any]) -> None:
    data = _sample(name)
    result = _compress(data, **options)
    if result.data is None:
        assert result.action is Action.KEPT_ORIGINAL
        assert (result.format, result.width, result.height) == (_source_format(name), *SIZE)
        assert result.extension == FACTS[_source_format(name)].extension
    else:
        assert len(result.data) < len(data)


@both_ways
@pytest.mark.parametrize("name", ["JPEG rgb", "WEBP rgb", "PNG rgb", "GIF animated", "AVIF rgb", "TIFF rgb"])
def test_image_that_was_compressed_does_not_grow_when_it_comes_again(name: str) -> None:
    data, _ = _bytes(_wasteful(name))
    for _ in range(3):
        again = _compress(data)
        assert again.data is None or len(again.data) < len(data)
        data = again.data or data


@both_ways
def test_small_image_is_kept_as_it_is() -> None:
    source = encoded(_photo((16, 12)), quality=3, optimize=True)
    result = _compress(source)
    assert (result.data, result.action, result.format) == (None, Action.KEPT_ORIGINAL, Format.JPEG)
    assert (result.width, result.height, result.warnings) == (16, 12, ())


@pytest.mark.parametrize("target", [OutputFormat.JPEG, OutputFormat.WEBP])
def test_kept_original_is_not_said_to_have_lost_anything(target: OutputFormat) -> None:
    dot = Image.new("RGBA", (4, 4), (255, 0, 0, 0)).quantize(2)
    source = encoded(dot, "PNG", optimize=True)
    result = _compress(source, format=target)
    assert (result.data, result.format) == (None, Format.PNG)
    assert not any("was put on white" in warning for warning in result.warnings)


# --- the same each time ---

_DETERMINISTIC: list[dict[str, Any]] = [{}, {"format": OutputFormat.WEBP}]


def _digest(data: bytes, **options: Any) -> str:
    return hashlib.sha256(_compress(data, **options).data or b"kept").hexdigest()


_DIGESTS = """
import hashlib, json, sys
from halftone_workers.codec.options import CodecLimits, CodecOptions
from halftone_workers.codec.pipeline import compress
for path in sys.argv[1:]:
    data = open(path, "rb").read()
    for form in ("keep", "webp"):
        result = compress(data, CodecOptions.from_json({"mode": "quality", "format": form}), CodecLimits())
        print(hashlib.sha256(result.data or b"kept").hexdigest())
"""


def test_same_input_gives_the_same_bytes_here_and_in_another_process(tmp_path: Path) -> None:
    paths = []
    for number, name in enumerate(SAMPLES):
        paths.append(tmp_path / f"{number:03}")
        paths[-1].write_bytes(_sample(name))
    here = [_digest(path.read_bytes(), **options) for path in paths for options in _DETERMINISTIC]
    there = subprocess.run(
        [sys.executable, "-c", _DIGESTS, *map(str, paths)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert there == here


@both_ways
def test_same_input_gives_the_same_bytes_at_another_time() -> None:
    names = ["JPEG rgb", "PNG animated", "WEBP animated alpha", "GIF animated alpha", "AVIF animated", "TIFF pages"]
    cases = [(name, target) for name in names for target in OutputFormat]
    first = {case: _digest(_wasteful(case[0]), format=case[1]) for case in cases}
    time.sleep(1.1)  # file formats tell the time in seconds
    assert [case for case in cases if _digest(_wasteful(case[0]), format=case[1]) != first[case]] == []


# --- refusals ---


@pytest.mark.parametrize(
    "data", [b"<!doctype html><title>404</title>", b'{"error": "gone"}', b"Not Found"], ids=["HTML", "JSON", "text"]
)
def test_page_or_message_is_not_an_image(data: bytes) -> None:
    assert _refusal(data) is ImageErrorCode.NOT_AN_IMAGE


@pytest.mark.parametrize(
    "data",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"8BPS\0\x01" + bytes(6) + struct.pack(">HIIHH", 3, 30, 40, 8, 3) + bytes(100),
        b"<svg xmlns='http://www.w3.org/2000/svg'><rect width='10' height='10'/></svg>",
        encoded(picture((8, 8)), "BMP"),
        encoded(picture((16, 16)), "ICO"),
        encoded(picture((16, 16)), "JPEG2000"),
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64),
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        bytes(100),
    ],
    ids=["EPS", "PSD", "SVG", "BMP", "ICO", "JPEG 2000", "HEIC", "PDF", "zeros"],
)
def test_other_format_is_unsupported(data: bytes) -> None:
    assert _refusal(data) is ImageErrorCode.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("inner", ["%!PS-Adobe-3.0 EPSF-3.0\n", "8BPS\0\x01", "BM"], ids=["EPS", "PSD", "BMP"])
@pytest.mark.parametrize("head", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"RIFF\0\0\0\0WEBP"])
def test_other_decoder_is_not_tried_behind_a_known_head(head: bytes, inner: str) -> None:
    refusals = {ImageErrorCode.CORRUPT_IMAGE, ImageErrorCode.TOO_MANY_PIXELS}
    assert _refusal(head + inner.encode() + bytes(200)) in refusals


def _claiming(form: Format, width: int, height: int) -> bytes:
    """A small file whose header claims a size, and which has no such pixels: decoding it would fail otherwise."""
    if form is Format.PNG:
        return _png((width, height), b"\x08\x02", (b"IDAT", zlib.compress(b"\0")))
    if form is Format.GIF:
        return _gif((width, height), [(width, height)])
    if form is Format.TIFF:
        return _tiff([(width, height)])
    data = bytearray(_film("WEBP", _frames()) if form is Format.WEBP else encoded(_photo(), form))
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
    """A GIF of these frames with one pixel's data each."""
    data = b"GIF89a" + struct.pack("<HH", *screen) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    for size in frames:
        data += b"," + struct.pack("<HHHH", 0, 0, *size) + b"\0" + b"\x02\x02\x4c\x01\0"
    return data + b";"


def _tiff(pages: Sequence[tuple[int, int]]) -> bytes:
    """A gray TIFF of these pages, without their pixels."""
    data = b"II*\0" + struct.pack("<I", 8)
    for number, (width, height) in enumerate(pages, start=1):
        tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: width * height}
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
        next_at = len(data) + 2 + len(entries) + 4 if number < len(pages) else 0
        data += struct.pack("<H", len(tags)) + entries + struct.pack("<I", next_at)
    return data


@both_ways
@pytest.mark.parametrize("form", Format)
def test_too_many_pixels_are_refused_before_they_are_decoded(form: Format) -> None:
    # AVIF's and WebP's own limits lie below 20000 × 20000.
    side = 12_000 if form in (Format.AVIF, Format.WEBP) else 20_000
    data = _claiming(form, side, side)
    assert len(data) < 200_000
    assert _refusal(data) is ImageErrorCode.TOO_MANY_PIXELS


@both_ways
def test_pixels_are_counted_to_the_last_one() -> None:
    data = encoded(_photo((100, 50)), **_FINE)
    assert _compress(data, CodecLimits(max_pixels=5000)).width == 100
    assert _refusal(data, CodecLimits(max_pixels=4999)) is ImageErrorCode.TOO_MANY_PIXELS


@pytest.mark.parametrize("target", [OutputFormat.KEEP, OutputFormat.WEBP])
@pytest.mark.parametrize(
    "data",
    [
        _tiff([(10, 10), (2000, 2000)]),
        _gif((10, 10), [(10, 10), (2000, 2000)]),
        encoded(picture((10, 10)), "TIFF", save_all=True, append_images=[Image.new("L", (2000, 2000))]),
    ],
    ids=["TIFF page", "GIF frame", "whole TIFF page"],
)
def test_too_many_pixels_in_a_later_frame_are_refused_before_they_are_decoded(
    data: bytes, target: OutputFormat
) -> None:
    assert _refusal(data, CodecLimits(max_pixels=10_000), format=target) is ImageErrorCode.TOO_MANY_PIXELS


@pytest.mark.parametrize("name", SEVERAL)
def test_too_many_frames_are_refused(name: str) -> None:
    assert _refusal(_sample(name), CodecLimits(max_frames=3)) is ImageErrorCode.TOO_MANY_FRAMES
    assert _compress(_sample(name), CodecLimits(max_frames=4)).width == SIZE[0]


@pytest.mark.parametrize("name", SEVERAL)
def test_frames_that_are_too_much_together_are_refused(name: str) -> None:
    assert _refusal(_sample(name), CodecLimits(max_pixels=SIZE[0] * SIZE[1])) is ImageErrorCode.TOO_MANY_PIXELS


def test_thousands_of_frames_on_a_huge_canvas_are_refused_undecoded() -> None:
    assert _refusal(_gif((7000, 7000), [(1, 1)] * 2000)) is ImageErrorCode.TOO_MANY_FRAMES
    assert _refusal(_gif((7000, 7000), [(1, 1)] * 200)) is ImageErrorCode.TOO_MANY_PIXELS


@both_ways
@pytest.mark.parametrize("share", [0.15, 0.4, 0.6, 0.8, 0.95])
@pytest.mark.parametrize("name", SAMPLES)
def test_image_that_stops_halfway_is_corrupt(name: str, share: float) -> None:
    data = _sample(name)
    assert _refusal(data[: int(len(data) * share)]) is ImageErrorCode.CORRUPT_IMAGE


@both_ways
@pytest.mark.parametrize("form", Format)
def test_head_alone_is_corrupt(form: Format) -> None:
    assert _refusal(encoded(_photo(), form)[:32]) is ImageErrorCode.CORRUPT_IMAGE


def _jpeg_of_scans(scans: int) -> bytes:
    """A progressive JPEG whose last scan is there again and again."""
    data = encoded(_photo(), progressive=True)
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    return data[:-2] + scan * (scans - data.count(b"\xff\xda")) + data[-2:]


@both_ways
def test_jpeg_of_too_many_scans_is_corrupt() -> None:
    assert MAX_JPEG_SCANS == 64
    assert _jpeg_of_scans(65).count(b"\xff\xda") == 65
    assert _refusal(_jpeg_of_scans(65)) is ImageErrorCode.CORRUPT_IMAGE
    assert _compress(_jpeg_of_scans(64)).data is not None


@both_ways
def test_second_scan_of_a_sequential_jpeg_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # So that only those that may have many are searched for them.
    monkeypatch.setattr("halftone_workers.codec.pipeline.MAX_JPEG_SCANS", 10**6)
    data = encoded(_photo())
    scan = data[data.rindex(b"\xff\xda") : -2]
    assert _refusal(data[:-2] + scan * 10_000 + data[-2:]) is ImageErrorCode.CORRUPT_IMAGE


def test_scans_of_a_component_each_are_counted() -> None:
    # Sequential, but the first scan has not all components: the next ones belong to it, and may be many.
    data = encoded(_photo())
    scan = data.rindex(b"\xff\xda")
    of_one = data[scan : scan + 4] + b"\x01" + data[scan + 5 : -2]
    assert jpeg_has_more_scans(data[:scan] + of_one * 3 + data[-2:], 2)
    assert not jpeg_has_more_scans(data[:scan] + of_one * 2 + data[-2:], 2)
    assert not jpeg_has_more_scans(data, 0)


@both_ways
@pytest.mark.parametrize("where", ["before", "behind"])
def test_scan_markers_outside_the_picture_are_no_scans(where: str) -> None:
    # A profile may hold these two bytes as often as it likes, and a phone's "motion photo" has a film of megabytes
    # behind its end, where chance puts them once in 64 KiB.
    source = encoded(_photo(), comment=b"\xff\xda" * 100 if where == "before" else b"", **_FINE)
    assert _compress(source + (b"\xff\xda" * 100 if where == "behind" else b"")).data is not None


@cache
def _zipped_zeros() -> bytes:
    """200 MiB, in 200 KiB."""
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
    bomb = _png((10, 1), b"\x08\x02", (kind, head + _zipped_zeros()), (b"IDAT", pixels))
    assert len(bomb) < 1_000_000
    tracemalloc.start()
    try:
        assert _is_explained(bomb, CodecLimits())
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_pixels_that_unpack_to_far_more_than_the_header_says_do_no_harm() -> None:
    assert _is_explained(_png((10, 10), b"\x08\x02", (b"IDAT", _zipped_zeros())), CodecLimits())


# --- broken in every way ---


def _is_explained(data: bytes, limits: CodecLimits, **options: Any) -> bool:
    """Whether there was a result or a refusal; any other exception comes through."""
    try:
        result = _compress(data, limits, **options)
    except ImageRefused:
        return True
    return result.data is None or len(result.data) < len(data)


_SMALL_LIMITS = CodecLimits(max_pixels=200_000, max_frames=20)


@cache
def _small_samples() -> list[bytes]:
    """One of each kind, small, so that a change somewhere is a change of something that counts."""
    small = [frame.resize((24, 18)) for frame in _frames()[:3]]
    clear = [_see_through(_photo()).resize((24, 18)), _cut_out(_photo(), 4).resize((24, 18))]
    stills: Iterator[tuple[str, Image.Image]] = (
        (form, image)
        for form, images in {
            "JPEG": [small[0], small[0].convert("L"), small[0].convert("CMYK")],
            "PNG": [small[0], clear[0], small[0].quantize(16), _sixteen_bits(small[0].convert("L"))],
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
        encoded(small[0], form, exif=_exif(orientation=6, copyright="me"), icc_profile=_swapped_profile())
        for form in ("JPEG", "PNG", "WEBP", "TIFF")
    ]
    packed = encoded(small[0], "TIFF", compression="tiff_lzw"), encoded(small[0], "TIFF", compression="jpeg")
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
        {"format": OutputFormat.JPEG},
        {"format": OutputFormat.WEBP},
        {"format": OutputFormat.AVIF},
    ]
)


_ANY_WAY = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]  # one way for all examples


@both_ways
@settings(max_examples=500, deadline=None, suppress_health_check=_ANY_WAY)
@given(data=_mutated(), options=_ASKED)
def test_broken_image_gives_a_result_or_a_refusal(data: bytes, options: dict[str, Any]) -> None:
    assert _is_explained(data, _SMALL_LIMITS, **options)


@both_ways
@settings(max_examples=100, deadline=None, suppress_health_check=_ANY_WAY)
@given(
    head=st.sampled_from(
        [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0\x08\0\0\0", b"RIFF\x20\0\0\0WEBPVP8 "]
    ),
    rest=st.binary(max_size=200),
)
def test_noise_behind_a_head_gives_a_refusal(head: bytes, rest: bytes) -> None:
    assert _is_explained(head + rest, _SMALL_LIMITS)
