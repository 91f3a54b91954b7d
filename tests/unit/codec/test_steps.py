"""The steps between decoding and encoding, compared with libvips, which shares no code with
them.
"""

import io
import itertools
from typing import Any

import pytest
import pyvips
from PIL import Image, ImageChops, ImageFilter, ImageStat

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.options import parse_options
from halftone_workers.codec.options import CodecLimits, Compressed
from halftone_workers.codec.pipeline import compress_outputs
from halftone_workers.codec.steps.trim import inside_border
from halftone_workers.errors import ImageRefused
from tests.support.codec import (
    ANIMATED,
    DURATIONS,
    SAMPLES,
    SEVERAL,
    SIZE,
    colourful,
    cut_out,
    exif_of,
    gray,
    is_transparent,
    look,
    on_ground,
    sample,
    see_through,
    source_format,
    wasteful,
)
from tests.support.images import encoded, opened, picture

MARK_URL = "https://shop.example/mark.png"
MARK = encoded(Image.new("RGBA", (20, 10), (255, 0, 0, 255)), "PNG")
# Steps as form fields, and the size of a sample after them.
ASKED: dict[str, tuple[dict[str, str], tuple[int, int]]] = {
    "crop": ({"crop": "10,10,50,40"}, (50, 40)),
    "crop by per cent": ({"crop": "25%,25%,50%,50%"}, (56, 42)),
    "width": ({"width": "56"}, (56, 42)),
    "height": ({"height": "21"}, (28, 21)),
    "inside": ({"width": "60", "height": "60"}, (60, 45)),
    "enlarged": ({"width": "224", "enlarge": "true"}, (224, 168)),
    "not enlarged": ({"width": "224"}, SIZE),
    "pad": ({"width": "60", "height": "60", "fit": "pad"}, (60, 60)),
    "pad, not enlarged": ({"width": "200", "height": "200", "fit": "pad"}, (200, 200)),
    "cover": ({"width": "40", "height": "40", "fit": "cover"}, (40, 40)),
    "grayscale": ({"filters": "grayscale"}, SIZE),
    "blur": ({"filters": "blur:2"}, SIZE),
    "many filters": ({"filters": "contrast:1.2,saturation:0.5,sharpen"}, SIZE),
    "watermark": ({"watermark_url": MARK_URL}, SIZE),
    "all": (
        {
            "crop": "10%,10%,80%,80%",
            "width": "50",
            "height": "50",
            "fit": "pad",
            "filters": "brightness:1.1",
            "watermark_url": MARK_URL,
        },
        (50, 50),
    ),
}


def made(data: bytes, given: dict[str, Any] | None = None, **more: Any) -> Compressed:
    options = parse_options((given or {}) | {name: str(value) for name, value in more.items()})
    return compress_outputs(data, options, CodecLimits(), {MARK_URL: MARK})


def shown(result: Compressed, source: bytes = b"") -> Image.Image:
    return look(result.data or source).frames[0]


def difference(one: Image.Image, other: Image.Image) -> float:
    pair = on_ground("white", one.convert("RGBA")), on_ground("white", other.convert("RGBA"))
    assert pair[0].size == pair[1].size
    return sum(ImageStat.Stat(ImageChops.difference(*pair)).mean) / 3


def by_vips(data: bytes) -> pyvips.Image:
    return pyvips.Image.new_from_buffer(data, "")


def pillow(image: pyvips.Image) -> Image.Image:
    return opened(image.cast("uchar").write_to_buffer(".png"))


# --- every option with every kind of image ---


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("name", SAMPLES)
def test_every_step_takes_every_kind_of_image(name: str, asked: str) -> None:
    given, size = ASKED[asked]
    result = made(wasteful(name), given, quality=90)
    assert (result.width, result.height) == size
    assert (result.source_width, result.source_height) == SIZE
    assert result.format == source_format(name)
    seen = look(result.data or b"")
    assert {frame.size for frame in seen.frames} == {size}
    assert len(seen.frames) == (4 if name in SEVERAL else 1)
    if name in ANIMATED and source_format(name) != "GIF":
        assert seen.durations == DURATIONS
    if is_transparent(name) and asked not in ("crop by per cent", "many filters"):
        alpha = seen.frames[0].getchannel("A")
        assert alpha.getextrema()[0] == 0 or "key" in name


# --- geometry ---


@pytest.mark.parametrize("target", [(56, 42), (32, 24), (100, 75), (224, 168)])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_resized_image_is_what_libvips_makes(target: tuple[int, int], form: str) -> None:
    image = picture((400, 300))
    source = encoded(image, form, **({"quality": 98} if form == "JPEG" else {}))
    result = made(source, width=target[0], height=target[1], enlarge="true", quality=95)
    expected = by_vips(source).thumbnail_image(target[0], height=target[1], size="force")
    assert difference(shown(result), pillow(expected)) < 10


def test_large_jpeg_is_decoded_smaller_and_looks_the_same() -> None:
    source = encoded(picture((1600, 1200)), quality=98)
    result = made(source, width=200, quality=95)
    expected = pillow(by_vips(source).thumbnail_image(200))
    assert (result.width, result.height) == (200, 150)
    assert difference(shown(result), expected) < 3.5


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_sizes_are_those_of_the_upright_image(orientation: int) -> None:
    image = picture((400, 300))
    source = encoded(image, exif=exif_of(orientation=orientation).tobytes())
    result = made(source, crop="0,0,50%,50%".replace("0,0,", "0%,0%,"), width=60, quality=95)
    upright = pillow(by_vips(source).autorot())
    expected = upright.crop((0, 0, upright.width // 2, upright.height // 2))
    expected = expected.resize((60, round(60 * expected.height / expected.width)))
    assert difference(shown(result), expected) < 8


@pytest.mark.parametrize(
    ("gravity", "corner"),
    [
        ("center", (50, 0)),
        ("west", (0, 0)),
        ("northwest", (0, 0)),
        ("east", (100, 0)),
        ("southeast", (100, 0)),
    ],
)
def test_cover_keeps_what_gravity_says(gravity: str, corner: tuple[int, int]) -> None:
    image = picture((400, 300))
    source = encoded(image, "PNG")
    result = made(source, width=150, height=150, fit="cover", gravity=gravity, format="webp",
                  quality=95)  # fmt: skip
    box = (corner[0], 0, corner[0] + 300, 300)
    expected = image.crop(box).resize((150, 150), Image.Resampling.LANCZOS)
    assert difference(shown(result), expected) < 4


@pytest.mark.parametrize("place", [20, 180, 330])
def test_attention_keeps_the_part_with_detail(place: int) -> None:
    image = Image.new("RGB", (450, 100), "white")
    image.paste(picture((90, 80)), (place, 10))
    result = made(encoded(image, "PNG"), width=100, height=100, fit="cover", gravity="attention")
    seen = shown(result).convert("L")
    dark = seen.point([255 * (level < 240) for level in range(256)]).getbbox()
    assert dark is not None
    assert dark[2] - dark[0] >= 88


def test_cover_of_a_small_image_keeps_the_shape_and_says_so() -> None:
    result = made(encoded(colourful(), "PNG"), width=400, height=200, fit="cover")
    assert (result.width, result.height) == (112, 56)
    assert "was not enlarged" in result.warnings[0]


@pytest.mark.parametrize("form", ["keep", "jpeg", "webp"])
@pytest.mark.parametrize("background", ["white", "#ff8000", "transparent"])
def test_pad_puts_the_image_in_the_middle(form: str, background: str) -> None:
    image = picture((400, 200))
    result = made(encoded(image, "PNG"), width=100, height=100, fit="pad", format=form,
                  background=background, quality=95)  # fmt: skip
    seen = shown(result)
    assert seen.size == (100, 100)
    top = seen.getpixel((50, 3))
    assert isinstance(top, tuple)
    if background == "transparent" and form != "jpeg":
        assert top[3] == 0
    else:
        wanted = {"#ff8000": (255, 128, 0)}.get(background, (255, 255, 255))
        assert all(abs(a - b) < 12 for a, b in zip(top, wanted, strict=False)), top
    middle = image.resize((100, 50), Image.Resampling.LANCZOS)
    assert difference(seen.crop((0, 25, 100, 75)), middle) < 9


def test_padding_is_of_the_colour_that_is_asked_whatever_the_profile() -> None:
    result = made(sample("PNG profile"), width=200, height=200, fit="pad", background="#ff0000")
    corner = shown(result).getpixel((1, 1))
    assert corner == (255, 0, 0, 255)


@pytest.mark.parametrize("background", ["white", "black", "#00ff00"])
@pytest.mark.parametrize("name", ["PNG alpha", "WEBP alpha", "GIF alpha", "PNG gray alpha"])
def test_lost_transparency_shows_the_background(name: str, background: str) -> None:
    result = made(wasteful(name), format="jpeg", background=background, quality=95)
    expected = on_ground(background, look(sample(name)).frames[0])
    assert difference(shown(result), expected) < 9
    word = "white" if background == "white" else {"black": "#000000"}.get(background, background)
    assert result.warnings == (f"JPEG has no transparency; the image was put on {word}.",)


# --- crop and trim ---


def test_crop_outside_the_image_is_told() -> None:
    result = made(encoded(colourful(), "PNG"), crop="500,0,10,10")
    assert (result.width, result.height) == SIZE
    assert "outside the image of 112 × 84" in result.warnings[0]


def test_crop_keeps_the_pixels() -> None:
    image = colourful().quantize(100)
    result = made(encoded(image, "PNG"), crop="10,20,60,50", quality=95)
    assert difference(shown(result), image.crop((10, 20, 70, 70))) < 1


def _bordered(colour: Any, mode: str = "RGB") -> Image.Image:
    canvas = Image.new(mode, (120, 100), colour)
    canvas.paste(colourful((60, 40)).convert(mode), (30, 20))
    return canvas


@pytest.mark.parametrize(
    ("image", "tolerance"),
    [
        (_bordered("white"), 0),
        (_bordered("#f0f0f0"), 10),
        (_bordered("navy"), 0),
        (_bordered(255, "L"), 10),
        (_bordered((9, 9, 9, 0), "RGBA"), 10),
        (_bordered("white").quantize(256), 10),
    ],
    ids=["white", "gray", "navy", "L", "clear", "palette"],
)
def test_border_of_one_colour_is_trimmed(image: Image.Image, tolerance: int) -> None:
    result = made(encoded(image, "PNG"), trim=tolerance, quality=95)
    assert (result.width, result.height) == (60, 40)
    expected = colourful((60, 40)).convert("L" if image.mode == "L" else "RGB")
    assert difference(shown(result), expected) < 9


def test_trimmed_box_is_that_of_libvips() -> None:
    source = encoded(_bordered("white"), "PNG")
    left, top, width, height = by_vips(source).find_trim(threshold=12, background=[255] * 3)
    result = made(source, trim=12)
    assert abs(result.width - width) <= 2
    assert abs(result.height - height) <= 2
    assert left
    assert top


def _with_soft_shadow(mode: str) -> Image.Image:
    """A dark square of 100 pixels, and right of it a shadow that fades over 160 pixels."""
    fading = Image.linear_gradient("L").rotate(-90).resize((160, 100))
    darkness = Image.new("L", (400, 200))
    darkness.paste(fading.point([level // 4 for level in range(256)]), (150, 50))
    darkness.paste(255, (50, 50, 150, 150))
    if mode == "RGBA":
        clear = Image.new("RGBA", darkness.size)
        clear.putalpha(darkness)
        return clear
    return ImageChops.invert(darkness).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_soft_shadow_fades_out_where_trim_cuts_it(mode: str) -> None:
    source = _with_soft_shadow(mode)
    result = made(encoded(source, "PNG"), trim=20, quality=95)
    image = on_ground("white", shown(result).convert("RGBA")).convert("L")
    # The box at this tolerance is 210 pixels wide; the shadow gets a margin of 4 % at the right.
    assert image.height == 100
    assert 210 <= image.width <= 222
    levels = image.crop((0, 50, image.width, 51)).tobytes()
    assert levels[-1] >= 253
    steps = [abs(a - b) for a, b in itertools.pairwise(levels[105:])]
    assert max(steps) <= 6
    assert difference(image.crop((0, 0, 100, 100)), Image.new("L", (100, 100))) < 3


def test_noise_in_the_border_is_no_shadow() -> None:
    noise = Image.effect_noise((400, 200), 5).point([240 + (n - 128) // 2 for n in range(256)])
    noise.paste(240, (0, 0, 1, 1))
    noise.paste(0, (50, 50, 150, 150))
    result = made(encoded(noise, "PNG"), trim=20, format="webp", quality=95)
    assert (result.width, result.height) == (100, 100)


@pytest.mark.parametrize("tolerance", [5, 20])
@pytest.mark.parametrize("quality", [40, 75, 95])
@pytest.mark.parametrize("colour", [(20, 20, 20), (120, 140, 90), (230, 230, 225)])
def test_noise_of_a_jpeg_is_no_shadow(
    colour: tuple[int, int, int], quality: int, tolerance: int
) -> None:
    image = Image.new("RGB", (600, 500), "white")
    image.paste(colour, (153, 101, 450, 400))
    with Image.open(io.BytesIO(encoded(image, "JPEG", quality=quality))) as shown_image:
        box = inside_border(shown_image, tolerance)
    assert box is not None
    result = made(encoded(image, "JPEG", quality=quality), trim=tolerance, format="webp")
    assert (result.width, result.height) == (box[2] - box[0], box[3] - box[1])


def test_border_of_a_second_shade_is_no_shadow() -> None:
    image = Image.new("RGB", (400, 300), "white")
    image.paste((249, 249, 249), (20, 20, 380, 280))
    image.paste("black", (100, 100, 200, 180))
    result = made(encoded(image, "PNG"), trim=10)
    assert (result.width, result.height) == (100, 80)


def test_image_of_one_colour_is_not_trimmed_away() -> None:
    result = made(encoded(Image.new("RGB", (50, 40), "white"), "PNG"), trim=10)
    assert (result.width, result.height) == (50, 40)
    assert result.warnings == ("The image has one colour; nothing was trimmed.",)


def test_animation_is_trimmed_to_what_any_frame_shows() -> None:
    frames = [Image.new("RGB", (100, 80), "white") for _ in range(3)]
    for at, frame in enumerate(frames):
        frame.paste((255, 0, 0), (20 + 10 * at, 30, 30 + 10 * at, 50))
    source = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)
    result = made(source, trim=5)
    assert (result.width, result.height) == (30, 20)
    assert len(look(result.data or source).frames) == 3


# --- filters ---


def _filtered(name: str, image: Image.Image) -> Image.Image:
    result = made(encoded(image, "PNG"), filters=name, format="webp", quality=95)
    return shown(result)


def test_grayscale_is_that_of_libvips() -> None:
    image = picture((200, 150))
    expected = pillow(by_vips(encoded(image, "PNG")).colourspace("b-w"))
    assert difference(_filtered("grayscale", image), expected) < 12
    channels = _filtered("grayscale", image).convert("RGB").split()
    assert difference(channels[0], channels[2]) < 1


@pytest.mark.parametrize("radius", [1, 3, 8])
def test_blur_is_that_of_libvips(radius: int) -> None:
    image = picture((200, 150))
    expected = pillow(by_vips(encoded(image, "PNG")).gaussblur(radius))
    assert difference(_filtered(f"blur:{radius}", image), expected) < 4


def test_blur_draws_no_colour_from_clear_pixels() -> None:
    image = Image.new("RGBA", (60, 60), (0, 255, 0, 0))
    image.paste((255, 0, 0, 255), (20, 20, 40, 40))
    seen = _filtered("blur:3", image).getpixel((19, 30))
    assert isinstance(seen, tuple)
    assert seen[0] > 200
    assert seen[1] < 50
    assert 0 < seen[3] < 255


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.5])
def test_brightness_multiplies(factor: float) -> None:
    image = picture((200, 150))
    expected = pillow(by_vips(encoded(image, "PNG")) * factor)
    assert difference(_filtered(f"brightness:{factor}", image), expected) < 4


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0])
def test_contrast_moves_away_from_middle_gray(factor: float) -> None:
    image = picture((200, 150))
    expected = pillow((by_vips(encoded(image, "PNG")) - 127.5) * factor + 127.5)
    assert difference(_filtered(f"contrast:{factor}", image), expected) < 4


def test_saturation_of_none_is_gray_and_of_one_changes_nothing() -> None:
    image = picture((200, 150))
    assert difference(_filtered("saturation:0", image), image.convert("L")) < 2
    assert difference(_filtered("saturation:1", image), image) < 2
    more = ImageStat.Stat(_filtered("saturation:2", image).convert("HSV")).mean[1]
    assert more > 1.2 * ImageStat.Stat(image.convert("HSV")).mean[1]


def test_sharpen_makes_edges_steeper() -> None:
    image = picture((200, 150))
    before, after = (
        ImageStat.Stat(one.convert("L").filter(ImageFilter.FIND_EDGES)).mean[0]
        for one in (image, _filtered("sharpen", image))
    )
    assert after > 1.1 * before


def test_autocontrast_reaches_black_and_white() -> None:
    dull = picture((200, 150)).point([100 + level // 4 for level in range(256)] * 3)
    lowest, highest = _filtered("autocontrast", dull).convert("L").getextrema()
    assert isinstance(lowest, int)
    assert isinstance(highest, int)
    assert lowest < 40
    assert highest > 215


def test_filters_are_applied_in_the_order_given() -> None:
    image = picture((200, 150))
    one = _filtered("brightness:2,contrast:0.5", image)
    other = _filtered("contrast:0.5,brightness:2", image)
    assert difference(one, other) > 5


# --- watermark ---


@pytest.mark.parametrize(
    ("position", "inside"),
    [
        ("southeast", (105, 80)),
        ("northwest", (5, 4)),
        ("center", (56, 42)),
        ("north", (56, 4)),
        ("east", (105, 42)),
    ],
)
def test_watermark_is_where_it_is_asked(position: str, inside: tuple[int, int]) -> None:
    source = encoded(Image.new("RGB", SIZE, "white"), "PNG") + bytes(20_000)
    result = made(source, watermark_url=MARK_URL, watermark_position=position,
                  watermark_opacity=0.5, format="webp", quality=95)  # fmt: skip
    seen = shown(result)
    marked = seen.getpixel(inside)
    assert isinstance(marked, tuple)
    assert marked[0] > 245
    assert 115 < marked[1] < 140
    free = seen.convert("L").point([255 * (level < 230) for level in range(256)]).getbbox()
    assert free is not None
    assert abs(free[2] - free[0] - 20) <= 2
    assert abs(free[3] - free[1] - 10) <= 2


def test_watermark_that_is_larger_than_the_output_is_made_smaller() -> None:
    source = encoded(Image.new("RGB", SIZE, "white"), "PNG")
    result = made(source, watermark_url=MARK_URL, width=10, watermark_opacity=1)
    assert (result.width, result.height) == (10, 8)


def test_watermark_that_is_no_image_is_refused() -> None:
    options = parse_options({"watermark_url": MARK_URL})
    with pytest.raises(ImageRefused) as refused:
        compress_outputs(encoded(colourful()), options, CodecLimits(), {MARK_URL: b"<html>"})
    assert refused.value.code is ImageErrorCode.NOT_AN_IMAGE
    assert "watermark" in refused.value.message


# --- bytes, variants, formats ---


@pytest.mark.parametrize("form", ["jpeg", "webp", "avif", "png", "gif"])
def test_no_output_is_larger_than_max_bytes(form: str) -> None:
    source = encoded(picture((400, 300)), "PNG", compress_level=0)
    free = made(source, format=form, quality=90)
    assert free.data is not None
    limit = max(1000, len(free.data) * 2 // 3)
    bounded = made(source, format=form, quality=90, max_bytes=limit)
    assert bounded.data is not None
    assert len(bounded.data) <= limit or bounded.warnings


def test_variants_are_what_each_would_be_alone() -> None:
    source = encoded(picture((800, 600)))
    options = parse_options(
        {
            "variants": '[{"name": "thumb", "width": 100}, {"name": "web", "format": "webp"},'
            ' {"name": "square", "width": 300, "height": 300, "fit": "cover"}]'
        }
    )
    result = compress_outputs(source, options, CodecLimits())
    assert list(result.variants) == ["thumb", "web", "square"]
    assert (result.width, result.height) == (800, 600)
    for variant in options.variants:
        alone = compress_outputs(source, variant.options, CodecLimits())
        together = result.variants[variant.name]
        assert (together.width, together.height) == (alone.width, alone.height)
        assert together.format == alone.format
        assert difference(shown(together), shown(alone)) < 3


def test_variants_take_one_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import JpegImagePlugin

    loads = []
    load = JpegImagePlugin.JpegImageFile.load_prepare

    def counted(image: JpegImagePlugin.JpegImageFile) -> None:
        loads.append(image)
        load(image)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load_prepare", counted)
    variants = [{"name": f"v{at}", "width": 50 * at} for at in range(1, 6)]
    options = parse_options({"variants": str(variants).replace("'", '"'), "width": "300"})
    compress_outputs(encoded(picture((800, 600))), options, CodecLimits())
    assert len(loads) == 1


@pytest.mark.parametrize("form", ["jpeg", "png", "webp", "avif", "gif", "tiff"])
@pytest.mark.parametrize(
    "image", [colourful(), gray(), see_through(colourful()), cut_out(colourful())]
)
def test_every_output_format_is_written(form: str, image: Image.Image) -> None:
    source = encoded(image, "PNG", compress_level=0) + bytes(60_000)
    result = made(source, format=form, quality=90)
    assert result.format == form.upper()
    with Image.open(io.BytesIO(result.data or b"")) as written:
        assert written.format == form.upper()
    expected = image
    if form == "gif" and image.mode == "RGBA":
        expected = image.copy()
        expected.putalpha(image.getchannel("A").point([255 * (at > 127) for at in range(256)]))
    assert difference(shown(result), expected) < 9


def test_picture_that_is_changed_is_used_even_if_it_is_larger() -> None:
    source = encoded(picture((60, 40)), quality=5)
    result = made(source, width=300, height=300, fit="pad", enlarge="true", quality=95)
    assert result.action == "compressed"
    assert (result.width, result.height) == (300, 300)


def test_same_options_give_the_same_bytes() -> None:
    source = encoded(picture((400, 300)))
    given = ASKED["all"][0]
    assert made(source, given).data == made(source, given).data


def test_output_that_is_too_long_for_its_format_stays_in_the_source_format() -> None:
    source = encoded(Image.new("L", (17_000, 8)), "PNG", compress_level=0)
    result = made(source, format="webp")
    assert result.format == "PNG"
    assert "WEBP holds at most 16383 pixels a side" in result.warnings[0]
