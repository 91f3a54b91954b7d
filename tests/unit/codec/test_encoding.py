"""compress(): how each format is encoded."""

import struct
from functools import cache, partial
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageSequence, ImageStat

from halftone_samples import PRODUCTS, render_cutout, render_photo
from halftone_shared.model.image_formats import WRITTEN, Format
from halftone_shared.model.options import Effort, Mode
from halftone_workers.codec import palettes, requantising
from halftone_workers.codec.sources.webp import is_lossless
from tests.support.codec import (
    RAW,
    SIZE,
    assert_alike,
    both_ways,
    colour_difference,
    colourful,
    compressed_bytes,
    film,
    four_frames,
    look,
    on_ground,
    sample,
    wasteful,
)
from tests.support.images import encoded, opened, picture

# --- how each format is compressed ---


@both_ways
@pytest.mark.parametrize("effort", Effort)
def test_higher_quality_is_nearer_to_the_source_and_takes_more_bytes(effort: Effort) -> None:
    photograph = render_photo(PRODUCTS[0], 1, (320, 240))
    source = encoded(photograph, quality=98)
    found = [
        compressed_bytes(source, quality=quality, effort=effort)[0]
        for quality in (1, 10, 30, 50, 70, 90)
    ]
    assert [len(data) for data in found] == sorted(len(data) for data in found)
    errors = [_noise(opened(data), photograph) for data in found]
    assert errors == sorted(errors, reverse=True)


@both_ways
@pytest.mark.parametrize("quality", [30, 50, 70])
def test_quality_looks_as_pillows_jpeg_of_that_number(quality: int) -> None:
    ssimulacra2 = pytest.importorskip("halftone_jpeg").ssimulacra2
    for product in PRODUCTS[:3]:
        photograph = render_photo(product, 1, (480, 360))
        source = encoded(photograph, quality=98)
        ours = opened(compressed_bytes(source, quality=quality)[0])
        pillows = opened(encoded(photograph, quality=quality))
        scores = [
            ssimulacra2(photograph.tobytes(), image.tobytes(), *image.size)
            for image in (ours, pillows)
        ]
        assert abs(scores[0] - scores[1]) < 6


@pytest.mark.parametrize("quality", [50, 94, 95])
@pytest.mark.parametrize("size", [(2, 33_000), (3, 60_000)])
def test_strip_of_noise_becomes_a_jpeg_of_any_quality(size: tuple[int, int], quality: int) -> None:
    source = encoded(Image.effect_noise(size, 70).convert("RGB"), "TIFF") + bytes(1_000_000)
    data, _ = compressed_bytes(source, quality=quality, format=Format.JPEG)
    assert (opened(data).format, opened(data).size) == ("JPEG", size)


@pytest.mark.parametrize("name", ["WEBP lossless", "WEBP lossless alpha"])
def test_lossless_webp_stays_lossless(name: str) -> None:
    data, _ = compressed_bytes(wasteful(name))
    assert is_lossless(data)
    before, after = look(sample(name)).frames[0], look(data).frames[0]
    assert (
        ImageChops.difference(on_ground("white", before), on_ground("white", after)).getbbox()
        is None
    )


def test_animated_lossless_webp_stays_lossless() -> None:
    source = film("WEBP", four_frames(), lossless=True, quality=0, method=0)
    data, _ = compressed_bytes(source + bytes(400_000))
    assert is_lossless(data)
    for before, after in zip(look(source).frames, look(data).frames, strict=True):
        assert ImageChops.difference(before.convert("RGB"), after.convert("RGB")).getbbox() is None


def test_lossless_webp_becomes_lossy_where_its_bytes_are_too_many() -> None:
    source = encoded(colourful(), "WEBP", lossless=True)
    data, result = compressed_bytes(source, mode=Mode.BYTES, ratio=0.5)
    assert not is_lossless(data)
    assert len(data) <= len(source) // 2
    assert result.warnings == ()


def test_lossless_webp_stays_lossless_where_its_bytes_are_few_enough() -> None:
    data, _ = compressed_bytes(wasteful("WEBP lossless"), mode=Mode.BYTES, ratio=0.5)
    assert is_lossless(data)


def test_lossy_webp_stays_lossy() -> None:
    assert not is_lossless(compressed_bytes(sample("WEBP rgb"))[0])


_cut_out_product = cache(partial(render_cutout, seed=1, size=(320, 320)))


def _drawing() -> Image.Image:
    """A gradient, and shapes with soft edges."""
    level = Image.linear_gradient("L").resize((960, 480))
    image = Image.merge(
        "RGB", [level.point(lambda value, part=part: 255 - value // part) for part in (2, 3, 5)]
    )
    for at, colour in enumerate(("#d33", "#fa0", "#283", "#06c")):
        ImageDraw.Draw(image).ellipse(
            (60 + 220 * at, 120, 240 + 220 * at, 300), fill=colour, outline="white", width=9
        )
    return image.resize((480, 240), Image.Resampling.LANCZOS)


def _noise(one: Image.Image, other: Image.Image) -> float:
    """Mean square over channels, and over white and black backgrounds."""
    pairs = [
        (on_ground(ground, one.convert("RGBA")), on_ground(ground, other.convert("RGBA")))
        for ground in ("white", "black")
    ]
    return (
        sum(
            sum(value**2 for value in ImageStat.Stat(ImageChops.difference(*pair)).rms)
            for pair in pairs
        )
        / 6
    )


def _soft_shadow() -> Image.Image:
    """A disc over its shadow, which fades to transparent."""
    shadow = Image.new("L", (320, 320), 0)
    ImageDraw.Draw(shadow).ellipse((60, 110, 260, 290), fill=180)
    image = Image.new("RGBA", (320, 320), (20, 30, 60, 0))
    image.putalpha(shadow.filter(ImageFilter.GaussianBlur(30)))
    ImageDraw.Draw(image).ellipse((90, 90, 230, 230), fill=(220, 90, 30, 255))
    return image


@pytest.mark.parametrize(
    "image",
    [
        _cut_out_product("mug"),
        _cut_out_product("bottle"),
        _cut_out_product("vase"),
        render_cutout("candle", 1, (900, 900)),
        _soft_shadow(),
        _drawing(),
    ],
    ids=["mug", "bottle", "vase", "large candle", "soft shadow", "drawing"],
)
def test_png_of_quality_50_looks_as_good_as_the_jpeg(image: Image.Image) -> None:
    ssimulacra2 = pytest.importorskip("halftone_jpeg").ssimulacra2
    seen = on_ground("white", image.convert("RGBA"))
    png = opened(compressed_bytes(encoded(image, "PNG", **RAW))[0]).convert("RGBA")
    scores = [
        ssimulacra2(seen.tobytes(), other.convert("RGB").tobytes(), *seen.size)
        for other in (on_ground("white", png), opened(encoded(seen, quality=50)))
    ]
    assert scores[0] > scores[1] - 3


def test_shadow_of_a_cut_out_is_finer_than_pillows_octree_makes_it() -> None:
    image = _cut_out_product("mug")
    shown = opened(compressed_bytes(encoded(image, "PNG", **RAW))[0]).convert("RGBA")
    octree = image.quantize(256).convert("RGBA")
    errors = [
        ImageStat.Stat(ImageChops.difference(image, other).getchannel("A")).rms[0]
        for other in (shown, octree)
    ]
    assert errors[0] < errors[1] / 2


@pytest.mark.parametrize("name", ["PNG rgb", "PNG alpha"])
def test_more_effort_makes_a_png_smaller_without_changing_it(name: str) -> None:
    results = [compressed_bytes(sample(name), effort=effort)[0] for effort in Effort]
    sizes = [len(data) for data in results]
    assert sizes == sorted(sizes, reverse=True)
    assert len({opened(data).convert("RGBA").tobytes() for data in results}) == 1


def test_photograph_that_is_evenly_translucent_keeps_its_colours() -> None:
    image = picture((240, 180)).convert("RGBA")
    image.putalpha(128)
    shown = opened(compressed_bytes(encoded(image, "PNG", **RAW))[0])
    assert _noise(shown, image) <= _noise(image.quantize(256), image)


@pytest.mark.parametrize("name", ["PNG rgb", "PNG alpha", "PNG 16-bit rgb", "PNG profile"])
def test_png_gets_a_palette_of_at_most_256_colours(name: str) -> None:
    image = opened(compressed_bytes(sample(name))[0])
    assert image.mode == "P"
    colours = image.convert("RGBA").getcolors(SIZE[0] * SIZE[1])
    assert colours is not None
    assert 64 < len(colours) <= 256


def test_png_keeps_a_soft_shadow_soft() -> None:
    shadow = Image.new("RGBA", SIZE, "black")
    shadow.putalpha(ImageChops.invert(Image.radial_gradient("L")).resize(SIZE))
    source = encoded(shadow, "PNG", **RAW)
    assert_alike(compressed_bytes(source)[0], look(source))


@pytest.mark.parametrize("quality", [1, 10, 50])
@pytest.mark.parametrize("image", [_cut_out_product("jar"), _soft_shadow()], ids=["jar", "shadow"])
def test_png_keeps_clear_pixels_clear_and_solid_ones_solid(
    image: Image.Image, quality: int
) -> None:
    source = encoded(image, "PNG", **RAW)
    alpha = opened(compressed_bytes(source, quality=quality)[0]).convert("RGBA").getchannel("A")
    for level in (0, 255):
        there = image.getchannel("A").point(lambda value, level=level: 255 * (value == level))
        changed = alpha.point(lambda value, level=level: 255 * (value != level))
        assert ImageChops.darker(there, changed).getbbox() is None


def _many_hues() -> Image.Image:
    """Two gradients that no palette of 256 colours can represent without steps."""
    across = Image.linear_gradient("L").rotate(90).resize((480, 480))
    down = Image.linear_gradient("L").resize((480, 480))
    parts = ((across, 90, 0.5), (down, 60, 0.5), (Image.blend(across, down, 0.5), 200, -0.35))
    return Image.merge(
        "RGB", [level.point(lambda v, a=a, b=b: round(a + b * v)) for level, a, b in parts]
    )


@pytest.mark.parametrize("alpha", [False, True])
def test_png_shows_no_bands_where_the_image_is_smooth(alpha: bool) -> None:
    image = _many_hues()
    if alpha:  # transparent in a corner, all colours kept
        image.putalpha(Image.new("L", image.size, 255))
        image.paste((0, 0, 0, 0), (0, 0, 40, 40))
    shown = opened(compressed_bytes(encoded(image, "PNG", **RAW), quality=51)[0])
    # With dither, the average over an area has the image's colours. Nearest colours alone would
    # leave visible steps, off by 2.0.
    far, near = (one.convert("RGB").crop((40, 40, 480, 480)).reduce(8) for one in (shown, image))
    assert max(ImageStat.Stat(ImageChops.difference(far, near)).rms) < 1


def test_png_keeps_a_colour_that_few_pixels_have() -> None:
    noise = [
        Image.effect_noise((400, 400), 12).point(lambda v, at=at: v // 2 + at)
        for at in (90, 100, 110)
    ]
    image = Image.merge("RGB", noise)
    image.paste("#d01020", (200, 200, 206, 206))
    shown = opened(compressed_bytes(encoded(image, "PNG", **RAW))[0]).convert("RGB")
    dot = ImageChops.difference(shown, image).crop((200, 200, 206, 206))
    assert max(ImageStat.Stat(dot).rms) <= 4


@pytest.mark.parametrize("image", [_many_hues(), picture((480, 360))], ids=["drawing", "photo"])
def test_colours_sought_on_a_part_of_a_large_png_fit_all_of_it(
    image: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = encoded(image, "PNG", **RAW)
    monkeypatch.setattr(palettes, "_CLUSTERED_SIDE", 200)
    monkeypatch.setattr(palettes, "_MAX_CLUSTERED_PIXELS", 10_000_000)
    whole = opened(compressed_bytes(source)[0])
    monkeypatch.setattr(palettes, "_MAX_CLUSTERED_PIXELS", 90_000)
    part = opened(compressed_bytes(source)[0])
    assert part.getpalette() != whole.getpalette()
    assert _noise(part, image) <= 1.5 * _noise(whole, image)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_png_of_few_colours_is_dithered(mode: str) -> None:
    source = encoded(Image.linear_gradient("L").convert(mode), "PNG", **RAW)
    data, _ = compressed_bytes(source, quality=5)
    # Without dither, 25 grays are off by 2.5 on average at any viewing distance.
    assert colour_difference(look(data).frames[0], look(source).frames[0]) < 1.5


@pytest.mark.parametrize(
    "name", ["TIFF rgb", "TIFF gray", "TIFF cmyk", "TIFF pages", "TIFF 16-bit gray"]
)
def test_tiff_is_compressed_as_jpeg(name: str) -> None:
    data, _ = compressed_bytes(sample(name))
    assert {frame.info["compression"] for frame in ImageSequence.Iterator(opened(data))} == {"jpeg"}


@pytest.mark.parametrize(
    ("mode", "width", "compression"),
    [
        ("RGB", 21_846, "jpeg"),
        ("CMYK", 16_385, "jpeg"),
        ("L", 65_496, "jpeg"),
        ("L", 65_535, "tiff_adobe_deflate"),
    ],
)
def test_tiff_may_be_wide(mode: str, width: int, compression: str) -> None:
    data, result = compressed_bytes(encoded(picture((width, 20), mode), "TIFF"))
    assert (result.width, result.height) == opened(data).size == (width, 20)
    assert opened(data).info["compression"] == compression


def test_tiff_of_a_wide_page_and_of_a_long_one_is_compressed() -> None:
    pages = [picture((21_846, 9)), picture((1, 70_000), "L")]
    data, _ = compressed_bytes(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    assert [page.size for page in ImageSequence.Iterator(opened(data))] == [
        page.size for page in pages
    ]


_STEERED = [
    "JPEG rgb",
    "PNG rgb",
    "PNG alpha",
    "PNG palette",
    "PNG gray",
    "WEBP rgb",
    "GIF palette",
    "GIF animated",
]


@both_ways
@pytest.mark.parametrize("name", [*_STEERED, "AVIF rgb", "TIFF rgb"])
def test_lower_quality_makes_a_smaller_file(name: str) -> None:
    high, low = (compressed_bytes(wasteful(name), quality=quality)[0] for quality in (90, 5))
    assert len(low) < 0.9 * len(high)


@both_ways
@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.5, 0.9])
def test_bytes_takes_nearly_all_bytes_or_the_highest_quality_that_fits(ratio: float) -> None:
    source = encoded(colourful(), quality=97)
    data, result = compressed_bytes(source, mode=Mode.BYTES, ratio=ratio)
    assert result.warnings == ()
    sizes = {quality: len(compressed_bytes(source, quality=quality)[0]) for quality in range(1, 96)}
    limit = len(source) * ratio
    most = max(size for size in sizes.values() if size <= limit)
    assert min(most, 0.97 * limit) <= len(data) <= limit


@pytest.mark.parametrize("output", [None, Format.WEBP])
@pytest.mark.parametrize("target", [50, 75])
def test_visual_reaches_the_score_that_was_asked(output: Format | None, target: int) -> None:
    ssimulacra2 = pytest.importorskip("halftone_jpeg").ssimulacra2
    source = encoded(render_photo(PRODUCTS[0], 1, (480, 360)), quality=98)
    data, result = compressed_bytes(source, mode=Mode.VISUAL, target=target, format=output)
    before, after = opened(source).convert("RGB"), opened(data).convert("RGB")
    score = ssimulacra2(before.tobytes(), after.tobytes(), *before.size)
    assert result.score == pytest.approx(score, abs=0.01)
    assert abs(score - target) < 2


def test_visual_without_the_metric_goes_by_the_calibration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requantising, "accelerator", None)
    source = encoded(render_photo(PRODUCTS[0], 1, (480, 360)), quality=98)
    better, worse = (
        compressed_bytes(source, mode=Mode.VISUAL, target=target) for target in (80, 50)
    )
    assert len(better[0]) > len(worse[0])
    assert better[1].score is None


@pytest.mark.parametrize("name", ["GIF palette", "PNG palette", "PNG gray", "GIF animated"])
def test_bytes_takes_fewer_colours_where_that_is_what_the_share_needs(name: str) -> None:
    source = (
        encoded(opened(sample(name)), "PNG", optimize=True)
        if name.startswith("PNG")
        else sample(name)
    )
    data, result = compressed_bytes(source, mode=Mode.BYTES, ratio=0.6)
    assert len(data) <= 0.6 * len(source)
    assert result.warnings == ()


@both_ways
def test_bytes_that_cannot_be_had_gives_the_smallest_and_says_so() -> None:
    source = encoded(colourful(), quality=97)
    data, result = compressed_bytes(source, mode=Mode.BYTES, ratio=0.001)
    assert len(data) == len(compressed_bytes(source, quality=1)[0])
    assert len(result.warnings) == 1


@both_ways
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (3, 2)])
@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize(
    "options", [{}, {"mode": Mode.SCALE}, {"mode": Mode.BYTES}], ids=["quality", "scale", "bytes"]
)
def test_tiny_image_stays_an_image(
    form: Format, size: tuple[int, int], options: dict[str, Any]
) -> None:
    source = encoded(colourful(size), form)
    filler = struct.pack(">I", 4008) + b"free" + bytes(4000) if form is Format.AVIF else bytes(4000)
    data, result = compressed_bytes(source + filler, **options)
    half = options.get("mode") is Mode.SCALE
    for before, after in zip(size, (result.width, result.height), strict=True):
        assert after in ({max(1, before // 2), (before + 1) // 2} if half else {before})
    assert opened(data).size == (result.width, result.height)


def test_scale_ends_at_one_pixel() -> None:
    _, result = compressed_bytes(sample("JPEG rgb"), mode=Mode.SCALE, scale=0.0001)
    assert (result.width, result.height) == (1, 1)
