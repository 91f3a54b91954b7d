"""Images of every kind for tests of compress(), and what a viewer shows of the results."""

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageCms, ImageFilter, ImageOps, ImageSequence, ImageStat

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.image_formats import Format
from halftone_shared.model.options import ImageOptions
from halftone_shared.model.states import Action
from halftone_workers.codec.formats import sniff
from halftone_workers.codec.options import CodecLimits, Compressed
from halftone_workers.codec.pipeline import compress
from halftone_workers.errors import ImageRefused
from tests.support.images import encoded, picture

SIZE = (112, 84)
HALF = (56, 42)
DURATIONS = [80, 120, 200, 40]
# Mean difference per channel, of 255, without dither: what quality 50 and 256 colours cost on these
# pictures, with a margin. The errors that it must detect are several times as large:
# test_comparison_notices_what_it_is_for.
COLOUR_TOLERANCE = 5.0
ALPHA_TOLERANCE = 4.0
COPYRIGHT, DESCRIPTION, ORIENTATION, GPS = 0x8298, 0x010E, 0x0112, 0x8825

# Runs the test with the accelerator, and as if it were not installed
# (tests/unit/codec/conftest.py).
both_ways = pytest.mark.usefixtures("way")


# --- pictures and profiles ---


def colourful(size: tuple[int, int] = SIZE, seed: int = 1) -> Image.Image:
    """Textured, with a different colour in each corner, so that every turn, flip or swap of
    channels shows.
    """
    across = Image.linear_gradient("L").rotate(90).resize(size)
    down = Image.linear_gradient("L").resize(size)
    texture = picture(size, seed=seed).getchannel("R")
    channels = (across, down, ImageChops.invert(across))
    return Image.merge("RGB", [Image.blend(channel, texture, 0.25) for channel in channels])


def gray() -> Image.Image:
    return colourful().convert("L")


def see_through(image: Image.Image, shift: int = 0) -> Image.Image:
    """With an alpha channel: transparent at the edges, half-transparent in the middle."""
    alpha = Image.new("L", SIZE, 0)
    alpha.paste(255, (12 + shift, 10, 92 + shift, 74))
    alpha.paste(128, (40 + shift, 30, 70 + shift, 56))
    result = image.convert("RGBA")
    result.putalpha(alpha)
    return result


def cut_out(image: Image.Image, shift: int = 0) -> Image.Image:
    """With an alpha channel of only 0 and 255, as in a GIF."""
    result = see_through(image, shift)
    result.putalpha(result.getchannel("A").point(lambda value: 255 if value > 200 else 0))
    return result


def sixteen_bits(image: Image.Image, mode: str = "I;16") -> Image.Image:
    deep = image.convert("I").point(lambda value: value * 257).convert("I;16")
    return Image.frombytes(mode, deep.size, deep.tobytes("raw", mode)) if mode != "I;16" else deep


def _s15(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _profile(
    space: bytes, tags: dict[bytes, bytes], *, device: bytes = b"mntr", connection: bytes = b"XYZ "
) -> bytes:
    """An ICC profile, version 2.4, with these tags."""
    white = b"XYZ \0\0\0\0" + _s15(0.9642, 1, 0.8249)
    name = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = {b"desc": name, b"cprt": b"text\0\0\0\0none\0", b"wtpt": white} | tags
    table, contents, offset = b"", b"", 132 + 12 * len(tags)
    for kind, value in tags.items():
        table += kind + struct.pack(">II", offset + len(contents), len(value))
        contents += value + bytes(-len(value) % 4)
    head = struct.pack(
        ">I4sI4s4s4s", offset + len(contents), b"test", 0x02400000, device, space, connection
    )
    head += bytes(12) + b"acsp" + bytes(28) + _s15(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + contents


def swapped_profile() -> bytes:
    """A profile that swaps red and blue."""
    srgb = bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    return (
        srgb.replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"????", b"bXYZ", 1)
    )


def gray_profile() -> bytes:
    """Gray of gamma 1: far lighter than the same numbers in sRGB."""
    return _profile(b"GRAY", {b"kTRC": b"curv\0\0\0\0" + struct.pack(">IH", 1, 256)})


def cmyk_profile() -> bytes:
    """Inks of no real press: the first is orange, so a conversion without the profile is far
    off.
    """
    corners = bytearray()
    for ink in range(16):
        orange, magenta, yellow, black = (ink >> bit & 1 for bit in (3, 2, 1, 0))
        lightness = (
            255 * (1 - black) * (1 - 0.25 * orange) * (1 - 0.3 * magenta) * (1 - 0.05 * yellow)
        )
        green_red = 128 + (50 * magenta + 40 * orange) * (1 - black)
        blue_yellow = 128 + (50 * yellow + 60 * orange) * (1 - black)
        corners += bytes([round(lightness), green_red, min(255, blue_yellow)])
    straight = bytes(range(256))
    lut = (
        b"mft1\0\0\0\0\x04\x03\x02\0"
        + _s15(1, 0, 0, 0, 1, 0, 0, 0, 1)
        + straight * 4
        + bytes(corners)
        + straight * 3
    )
    return _profile(b"CMYK", {b"A2B0": lut}, device=b"prtr", connection=b"Lab ")


def png_of(size: tuple[int, int], depth_and_colour: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of these chunks, between a header and the end."""
    header = struct.pack(">II", *size) + depth_and_colour + b"\0\0\0"
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        data += (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )
    return data


def _deep_png() -> bytes:
    """16 bits per channel in colour, which Pillow cannot write."""
    raw, row = colourful().tobytes(), SIZE[0] * 3
    rows = [
        bytes(byte for value in raw[at : at + row] for byte in (value, value))
        for at in range(0, len(raw), row)
    ]
    return png_of(
        SIZE, b"\x10\x02", (b"IDAT", zlib.compress(b"".join(b"\0" + line for line in rows), 1))
    )


# --- what goes in ---


def film(name: str, frames: Sequence[Image.Image], **how: Any) -> bytes:
    how = {"save_all": True, "append_images": frames[1:], "duration": DURATIONS, "loop": 0} | how
    return encoded(frames[0], name, **how)


def four_frames(
    cut: Callable[[Image.Image, int], Image.Image] = lambda image, _: image,
) -> list[Image.Image]:
    return [cut(colourful(seed=seed), 4 * seed) for seed in range(1, 5)]


def _keyed(mode: str) -> Image.Image:
    """A picture with one colour marked as transparent."""
    image = colourful().convert(mode)
    image.paste((1, 2, 3) if mode == "RGB" else 7, (0, 0, *HALF))
    return image


def palette_with_alpha() -> Image.Image:
    return see_through(colourful()).quantize(256, Image.Quantize.FASTOCTREE)


RAW: dict[str, Any] = {"compress_level": 0}
FINE: dict[str, Any] = {"quality": 98}

SAMPLES: dict[str, Callable[[], bytes]] = {
    "JPEG rgb": lambda: encoded(colourful(), **FINE),
    "JPEG progressive": lambda: encoded(colourful(), progressive=True, **FINE),
    "JPEG gray": lambda: encoded(gray(), **FINE),
    "JPEG profile": lambda: encoded(colourful(), icc_profile=swapped_profile(), **FINE),
    "JPEG gray profile": lambda: encoded(gray(), icc_profile=gray_profile(), **FINE),
    "JPEG cmyk": lambda: encoded(colourful().convert("CMYK"), **FINE),
    "JPEG cmyk profile": lambda: encoded(
        colourful().convert("CMYK"), icc_profile=cmyk_profile(), **FINE
    ),
    "PNG rgb": lambda: encoded(colourful(), "PNG", **RAW),
    "PNG alpha": lambda: encoded(see_through(colourful()), "PNG", **RAW),
    "PNG gray": lambda: encoded(gray(), "PNG", **RAW),
    "PNG gray alpha": lambda: encoded(see_through(gray()).convert("LA"), "PNG", **RAW),
    "PNG palette": lambda: encoded(colourful().quantize(200), "PNG", **RAW),
    "PNG palette alpha": lambda: encoded(palette_with_alpha(), "PNG", **RAW),
    "PNG 16-bit gray": lambda: encoded(sixteen_bits(gray()), "PNG", **RAW),
    "PNG 16-bit rgb": _deep_png,
    "PNG 1-bit": lambda: encoded(colourful().convert("1"), "PNG", **RAW),
    "PNG profile": lambda: encoded(colourful(), "PNG", icc_profile=swapped_profile(), **RAW),
    "PNG alpha profile": lambda: encoded(
        see_through(colourful()), "PNG", icc_profile=swapped_profile(), **RAW
    ),
    "PNG palette profile": lambda: encoded(
        colourful().quantize(200), "PNG", icc_profile=swapped_profile(), **RAW
    ),
    "PNG gray profile": lambda: encoded(gray(), "PNG", icc_profile=gray_profile(), **RAW),
    "PNG rgb key": lambda: encoded(_keyed("RGB"), "PNG", transparency=(1, 2, 3), **RAW),
    "PNG gray key": lambda: encoded(_keyed("L"), "PNG", transparency=7, **RAW),
    "PNG animated": lambda: film("PNG", four_frames(), **RAW),
    "PNG animated alpha": lambda: film("PNG", four_frames(see_through), **RAW),
    "WEBP rgb": lambda: encoded(colourful(), "WEBP", **FINE),
    "WEBP alpha": lambda: encoded(see_through(colourful()), "WEBP", **FINE),
    "WEBP profile": lambda: encoded(colourful(), "WEBP", icc_profile=swapped_profile(), **FINE),
    "WEBP lossless": lambda: encoded(colourful(), "WEBP", lossless=True, quality=0, method=0),
    "WEBP lossless alpha": lambda: encoded(
        see_through(colourful()), "WEBP", lossless=True, quality=0, method=0
    ),
    "WEBP animated": lambda: film("WEBP", four_frames(), **FINE),
    "WEBP animated alpha": lambda: film("WEBP", four_frames(see_through), **FINE),
    "GIF palette": lambda: encoded(colourful().quantize(256), "GIF"),
    "GIF gray": lambda: encoded(gray(), "GIF"),
    "GIF alpha": lambda: encoded(cut_out(colourful()), "GIF"),
    "GIF animated": lambda: film("GIF", four_frames()),
    "GIF animated alpha": lambda: film("GIF", four_frames(cut_out), disposal=2),
    "AVIF rgb": lambda: encoded(colourful(), "AVIF", speed=10, **FINE),
    "AVIF alpha": lambda: encoded(see_through(colourful()), "AVIF", speed=10, **FINE),
    "AVIF gray": lambda: encoded(gray(), "AVIF", speed=10, **FINE),
    "AVIF profile": lambda: encoded(
        colourful(), "AVIF", speed=10, icc_profile=swapped_profile(), **FINE
    ),
    "AVIF animated": lambda: film("AVIF", four_frames(), speed=10, **FINE),
    "AVIF animated alpha": lambda: film("AVIF", four_frames(see_through), speed=10, **FINE),
    "TIFF rgb": lambda: encoded(colourful(), "TIFF"),
    "TIFF BigTIFF": lambda: encoded(colourful(), "TIFF", big_tiff=True),
    "TIFF alpha": lambda: encoded(see_through(colourful()), "TIFF"),
    "TIFF gray": lambda: encoded(gray(), "TIFF"),
    "TIFF gray alpha": lambda: encoded(see_through(gray()).convert("LA"), "TIFF"),
    "TIFF palette": lambda: encoded(colourful().quantize(200), "TIFF"),
    "TIFF 16-bit gray": lambda: encoded(sixteen_bits(gray()), "TIFF"),
    "TIFF 16-bit gray, big-endian": lambda: encoded(sixteen_bits(gray(), "I;16B"), "TIFF"),
    "TIFF 1-bit": lambda: encoded(colourful().convert("1"), "TIFF"),
    "TIFF profile": lambda: encoded(colourful(), "TIFF", icc_profile=swapped_profile()),
    "TIFF cmyk": lambda: encoded(colourful().convert("CMYK"), "TIFF"),
    "TIFF cmyk profile": lambda: encoded(
        colourful().convert("CMYK"), "TIFF", icc_profile=cmyk_profile()
    ),
    "TIFF pages": lambda: encoded(
        four_frames()[0], "TIFF", save_all=True, append_images=four_frames()[1:]
    ),
}
ANIMATED = [name for name in SAMPLES if "animated" in name]
SEVERAL = [*ANIMATED, "TIFF pages"]


@cache
def sample(name: str) -> bytes:
    return SAMPLES[name]()


def source_format(name: str) -> Format:
    return Format(name.split()[0])


def is_transparent(name: str) -> bool:
    return "alpha" in name or "key" in name


def wasteful(name: str) -> bytes:
    """The sample with so much data after its end that every result is smaller, so compress() never
    keeps the original.
    """
    rest = b"<script>alert(1)</script>" * 8000
    if source_format(name) is Format.AVIF:
        return sample(name) + struct.pack(">I", len(rest) + 8) + b"free" + rest
    return sample(name) + rest


# --- looking at images ---


@dataclass(frozen=True)
class Look:
    """What a viewer shows of a file: upright frames in sRGB with alpha, and each frame's
    duration.
    """

    frames: list[Image.Image]
    durations: list[int]


def look(data: bytes) -> Look:
    frames, durations = [], []
    with Image.open(io.BytesIO(data)) as image:
        icc = image.info.get("icc_profile")
        for frame in ImageSequence.Iterator(image):
            shown = ImageOps.exif_transpose(frame.copy())
            frames.append(in_srgb(shown, icc))
            durations.append(round(frame.info.get("duration", 0)))
    return Look(frames, durations)


def in_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    clear = image.has_transparency_data
    alpha = image.convert("RGBA").getchannel("A") if clear else Image.new("L", image.size, 255)
    if image.mode == "P":
        image = image.convert("RGBA" if clear else "RGB")
    colour = image.convert({"RGBA": "RGB", "LA": "L", "1": "L"}.get(image.mode, image.mode))
    if icc:
        moved = ImageCms.profileToProfile(
            colour,
            ImageCms.ImageCmsProfile(io.BytesIO(icc)),
            ImageCms.createProfile("sRGB"),
            outputMode="RGB",
        )
        assert moved is not None
        colour = moved
    colour = colour.convert("RGB")
    colour.putalpha(alpha)
    return colour


def on_ground(ground: str, image: Image.Image) -> Image.Image:
    base = Image.new("RGBA", image.size, ground)
    base.alpha_composite(image)
    return base.convert("RGB")


def colour_difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference per channel on white and on black, the larger of both. Blurred, so that
    dither does not count.
    """
    blur = ImageFilter.BoxBlur(2)
    pairs = [
        (on_ground(ground, one).filter(blur), on_ground(ground, other).filter(blur))
        for ground in ("white", "black")
    ]
    return max(sum(ImageStat.Stat(ImageChops.difference(*pair)).mean) / 3 for pair in pairs)


def alpha_difference(one: Image.Image, other: Image.Image) -> float:
    return float(
        ImageStat.Stat(ImageChops.difference(one.getchannel("A"), other.getchannel("A"))).mean[0]
    )


def assert_alike(result: bytes, source: Look, size: tuple[int, int] = SIZE) -> None:
    """The result shows the source's frames, in this size."""
    seen = look(result)
    assert [frame.size for frame in seen.frames] == [size] * len(source.frames)
    for after, before in zip(seen.frames, source.frames, strict=True):
        expected = before if before.size == size else before.resize(size, Image.Resampling.BOX)
        if sniff(result) is Format.GIF:
            expected.putalpha(expected.getchannel("A").point(lambda value: 255 * (value > 127)))
        assert alpha_difference(after, expected) < ALPHA_TOLERANCE
        assert colour_difference(after, expected) < COLOUR_TOLERANCE


def compress_image(data: bytes, limits: CodecLimits | None = None, **options: Any) -> Compressed:
    return compress(data, ImageOptions(**options), limits or CodecLimits())


def compressed_bytes(data: bytes, **options: Any) -> tuple[bytes, Compressed]:
    """The result's bytes, for inputs that must not be kept."""
    result = compress_image(data, **options)
    assert result.action is Action.COMPRESSED
    assert result.data is not None
    return result.data, result


def refusal(data: bytes, limits: CodecLimits | None = None, **options: Any) -> ImageErrorCode:
    with pytest.raises(ImageRefused) as refused:
        compress_image(data, limits, **options)
    assert refused.value.message.endswith(".")
    return refused.value.code


def is_explained(data: bytes, limits: CodecLimits, **options: Any) -> bool:
    """Whether the image was compressed, kept or refused. Any other exception passes through.

    A compressed image is smaller than its source. A kept one is never larger: it has the same
    number of bytes if only a wrong length in its head was corrected.
    """
    try:
        result = compress_image(data, limits, **options)
    except ImageRefused:
        return True
    if result.data is None:
        return True
    is_kept = result.action is Action.KEPT_ORIGINAL
    return len(result.data) < len(data) or (is_kept and len(result.data) == len(data))


def exif_of(**tags: Any) -> Image.Exif:
    exif = Image.Exif()
    for name, value in tags.items():
        exif[
            {"orientation": ORIENTATION, "copyright": COPYRIGHT, "description": DESCRIPTION}[name]
        ] = value
    return exif


def refused_message(data: bytes) -> str | None:
    """The message of a refusal to the client, or None if the image is not refused."""
    try:
        compress_image(data)
    except ImageRefused as refused:
        return refused.message
    return None
