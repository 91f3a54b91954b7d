"""Presets: their files, values at and beyond each rule's limit, and what the codec corrects."""

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from PIL import Image

from halftone_shared.model.options import parse_options
from halftone_shared.presets import (
    Measured,
    Rule,
    RuleKind,
    check_image,
    contradictions,
    load_presets,
    read_preset,
)
from halftone_workers.codec.measuring import measure
from halftone_workers.codec.options import CodecLimits, Compressed
from halftone_workers.codec.pipeline import compress_outputs
from tests.support.codec import look, swapped_profile
from tests.support.images import encoded, opened, picture

TODAY = date(2026, 11, 30)
GOOD = Measured(
    width=2048, height=2048, bytes=200_000, format="JPEG", is_srgb=True, white_share=1.0,
    product_share=0.88, quality=90,
)  # fmt: skip

# For each kind of rule, a value that just keeps it and one that just breaks it.
EDGES: dict[RuleKind, Any] = {
    RuleKind.MIN_SIDES: lambda v: ({"width": v, "height": v}, {"width": v, "height": v - 1}),
    RuleKind.MIN_LONGEST_SIDE: lambda v: (
        {"width": v, "height": 9},
        {"width": v - 1, "height": v - 1},
    ),
    RuleKind.MAX_LONGEST_SIDE: lambda v: ({"width": v, "height": 9}, {"width": v + 1}),
    RuleKind.MAX_SUM_OF_SIDES: lambda v: (
        {"width": v // 2, "height": v // 2},
        {"width": v // 2, "height": v // 2 + 1},
    ),
    RuleKind.MAX_MEGAPIXELS: lambda v: (
        {"width": v * 1000, "height": 1000},
        {"width": v * 1000 + 1, "height": 1000},
    ),
    RuleKind.MAX_BYTES: lambda v: ({"bytes": v}, {"bytes": v + 1}),
    RuleKind.FORMATS: lambda v: ({"format": "JPEG"}, {"format": "JXL"}),
    RuleKind.SQUARE: lambda v: ({"width": 900, "height": 900}, {"width": 900, "height": 899}),
    RuleKind.WHITE_BACKGROUND: lambda v: ({"white_share": v}, {"white_share": v - 0.001}),
    RuleKind.MIN_PRODUCT_SHARE: lambda v: ({"product_share": v}, {"product_share": v - 0.001}),
    RuleKind.MAX_PRODUCT_SHARE: lambda v: ({"product_share": v}, {"product_share": v + 0.001}),
    RuleKind.SRGB: lambda v: ({"is_srgb": True}, {"is_srgb": False}),
    RuleKind.MIN_QUALITY: lambda v: ({"quality": v}, {"quality": v - 1}),
}
RULES = [(name, rule.name) for name, preset in load_presets().items() for rule in preset.rules]


def results(measured: Measured, name: str, today: date = TODAY) -> dict[str, str]:
    return {
        check.rule: check.result for check in check_image(measured, load_presets()[name], today)
    }


@pytest.mark.parametrize("name", load_presets())
def test_preset_has_options_that_an_upload_takes(name: str) -> None:
    preset = load_presets()[name]
    assert preset.sources
    assert preset.as_of >= date(2026, 1, 1)
    assert len({rule.name for rule in preset.rules}) == len(preset.rules)
    assert contradictions(parse_options({}, preset=preset.options), preset) == ()


@pytest.mark.parametrize(("name", "rule_name"), RULES)
def test_rule_is_kept_and_broken_at_its_value(name: str, rule_name: str) -> None:
    preset = load_presets()[name]
    (rule,) = (rule for rule in preset.rules if rule.name == rule_name)
    value = rule.value if rule.value < 1 else int(rule.value)
    keeps, breaks = EDGES[rule.kind](value)
    assert results(replace(GOOD, **keeps), name)[rule_name] == "pass"
    assert results(replace(GOOD, **breaks), name)[rule_name] == rule.level_on(TODAY)
    (check,) = (
        check
        for check in check_image(replace(GOOD, **breaks), preset, TODAY)
        if check.rule == rule_name
    )
    assert check.message.endswith(".")


# --- images at and beyond each rule's limit ---


def _file(size: tuple[int, int] = (900, 900), form: str = "PNG", **how: Any) -> bytes:
    return encoded(Image.new("RGB", size, "white"), form, **how)


def _gray(width: int) -> bytes:
    return encoded(Image.new("L", (width, 1000), 255), "PNG", compress_level=1)


def _of_bytes(length: int) -> bytes:
    return (data := _file()) + bytes(length - len(data))


def _with_white(share: float) -> bytes:
    """A picture of 1,000 × 1,000, of whose 40,000 outermost pixels this share is white."""
    gray = round((1 - share) * 40_000 / 20)  # the top and bottom edges have a depth of 10
    image = Image.new("RGB", (1000, 1000), "white")
    for top in (0, 990):
        image.paste("gray", (10, top, 10 + gray, top + 10))
    return encoded(image, "PNG")


def _with_product(share: float) -> bytes:
    image = Image.new("RGB", (1000, 1000), "white")
    image.paste("navy", (10, 300, 10 + round(1000 * share), 600))
    return encoded(image, "PNG")


def _of_format(rule: Rule) -> tuple[bytes, bytes]:
    other = next(form for form in ("AVIF", "TIFF", "BMP") if form not in rule.formats)
    return _file(form=rule.formats[0]), _file(form=other)


def _format_of(data: bytes) -> str:
    with Image.open(io.BytesIO(data)) as image:
        return image.format or ""


# For each kind of rule, an image that just keeps it and one that just breaks it.
IMAGES: dict[RuleKind, Callable[[Rule, int], tuple[bytes, bytes]]] = {
    RuleKind.MIN_SIDES: lambda _, v: (_file((v, v)), _file((v, v - 1))),
    RuleKind.MIN_LONGEST_SIDE: lambda _, v: (_file((v, 9)), _file((v - 1, v - 1))),
    RuleKind.MAX_LONGEST_SIDE: lambda _, v: (_file((v, 9)), _file((v + 1, 9))),
    RuleKind.MAX_SUM_OF_SIDES: lambda _, v: (_file((v - 9, 9)), _file((v - 8, 9))),
    RuleKind.MAX_MEGAPIXELS: lambda _, v: (_gray(v * 1000), _gray(v * 1000 + 1)),
    RuleKind.MAX_BYTES: lambda _, v: (_of_bytes(v), _of_bytes(v + 1)),
    RuleKind.FORMATS: lambda rule, _: _of_format(rule),
    RuleKind.SQUARE: lambda _, __: (_file((900, 900)), _file((900, 899))),
    RuleKind.WHITE_BACKGROUND: lambda rule, _: (
        _with_white(rule.value),
        _with_white(rule.value - 0.001),
    ),
    RuleKind.MIN_PRODUCT_SHARE: lambda rule, _: (
        _with_product(rule.value),
        _with_product(rule.value - 0.001),
    ),
    RuleKind.MAX_PRODUCT_SHARE: lambda rule, _: (
        _with_product(rule.value),
        _with_product(rule.value + 0.001),
    ),
    RuleKind.SRGB: lambda _, __: (_file(), _file(icc_profile=swapped_profile())),
    RuleKind.MIN_QUALITY: lambda _, v: (
        _file(form="JPEG", quality=v),
        _file(form="JPEG", quality=v - 1),
    ),
}


@pytest.mark.parametrize(("name", "rule_name"), RULES)
def test_image_at_a_limit_keeps_the_rule_and_one_beyond_it_does_not(
    name: str, rule_name: str
) -> None:
    (rule,) = (rule for rule in load_presets()[name].rules if rule.name == rule_name)
    outcomes = [
        results(measure(data, _format_of(data), None), name)[rule_name]
        for data in IMAGES[rule.kind](rule, int(rule.value))
    ]
    assert outcomes == ["pass", rule.level_on(TODAY)]


def test_rule_of_the_future_warns_until_its_day() -> None:
    small = replace(GOOD, width=499, height=499)
    assert results(small, "google-merchant")["size_from_2027"] == "warn"
    assert results(small, "google-merchant", date(2027, 1, 31))["size_from_2027"] == "fail"


@pytest.mark.parametrize("name", ["amazon-main", "google-merchant"])
def test_product_that_cannot_be_measured_is_a_warning_that_says_so(name: str) -> None:
    checks = check_image(replace(GOOD, product_share=None), load_presets()[name], TODAY)
    shares = [check for check in checks if check.rule in ("product_share", "product_margin")]
    assert {check.result for check in shares} == {"warn"}
    assert all(check.message.startswith("Not measured, because") for check in shares)


@pytest.mark.parametrize(
    ("quality", "optimised", "action", "outcome"),
    [
        (92, False, "compressed", "pass"),
        (60, False, "compressed", "warn"),
        (60, True, "kept_original", "warn"),
    ],
)
def test_quality_is_at_most_that_of_the_source_jpeg(
    quality: int, optimised: bool, action: str, outcome: str
) -> None:
    source = encoded(picture((900, 900)), quality=quality, optimize=optimised)
    result = made(source, "ebay", quality=95)
    assert result.action == action
    (check,) = (check for check in result.checks if check.rule == "quality")
    assert check.result == outcome
    assert f"Its quality is {quality};" in check.message


def test_quality_of_another_kept_original_is_a_warning_that_says_so() -> None:
    (check,) = (
        check
        for check in check_image(
            replace(GOOD, quality=None, format="GIF"), load_presets()["ebay"], TODAY
        )
        if check.rule == "quality"
    )
    assert check.result == "warn"
    assert check.message.startswith("Not measured, because the original was kept as GIF")


def test_wrong_file_is_named() -> None:
    with pytest.raises(ValueError, match="'mine' is wrong"):
        read_preset("mine", 'title = "x"')


@pytest.mark.parametrize(
    ("name", "given", "word"),
    [
        ("google-merchant", {"width": "300", "height": "300"}, "at least 500"),
        ("google-merchant", {"format": "avif"}, "AVIF"),
        ("google-merchant", {"mode": "scale"}, "mode=scale"),
        ("amazon-main", {"background": "black"}, "white background"),
        ("amazon-main", {"format": "webp"}, "WEBP"),
        ("ebay", {"quality": "50"}, "quality 90"),
        ("vtex", {"width": "1000", "height": "800"}, "squares"),
    ],
)
def test_options_that_break_a_rule_are_told(name: str, given: dict[str, str], word: str) -> None:
    preset = load_presets()[name]
    options = parse_options(given, preset=preset.options)
    assert any(word in sentence for sentence in contradictions(options, preset))


# --- through the codec ---


def made(data: bytes, name: str, **given: Any) -> Compressed:
    fields = {"preset": name} | {key: str(value) for key, value in given.items()}
    options = parse_options(fields, preset=load_presets()[name].options)
    return compress_outputs(data, options, CodecLimits())


def product(size: tuple[int, int], share: float, ground: str = "white") -> Image.Image:
    canvas = Image.new("RGB", size, ground)
    side = round(min(size) * share)
    thing = picture((side, side)).point([level * 3 // 4 for level in range(256)] * 3)
    canvas.paste(thing, ((size[0] - side) // 2, (size[1] - side) // 2))
    return canvas


def of(result: Compressed) -> dict[str, str]:
    return {check.rule: check.result for check in result.checks}


@pytest.mark.parametrize("ground", ["white", "#fafafa", "#f3f4f2"])
@pytest.mark.parametrize("size", [(1200, 900), (800, 1000), (2600, 2600)])
def test_product_on_nearly_white_keeps_amazons_rules(size: tuple[int, int], ground: str) -> None:
    result = made(encoded(product(size, 0.6, ground)), "amazon-main")
    assert result.format == "JPEG"
    assert result.width == result.height
    assert {rule for rule, outcome in of(result).items() if outcome == "fail"} == set()
    corner = opened(result.data or b"").getpixel((0, 0))
    assert corner == (255, 255, 255)


def test_product_on_gray_is_left_as_it_is_and_fails() -> None:
    result = made(encoded(product((1200, 1200), 0.6, "#808080")), "amazon-main")
    assert of(result)["white_background"] == "fail"


def test_preset_never_shrinks_below_its_minimum() -> None:
    source = encoded(picture((900, 900)))
    halved = made(source, "google-merchant", mode="scale")
    assert (halved.width, halved.height) == (500, 500)
    wide = made(encoded(picture((3000, 900))), "google-merchant")
    assert wide.height >= 500
    small = made(encoded(picture((300, 300))), "google-merchant", mode="scale")
    assert (small.width, small.height) == (300, 300)
    assert of(small)["size_from_2027"] == "warn"


def test_size_that_is_asked_for_wins_and_the_check_says_so() -> None:
    result = made(encoded(picture((900, 900))), "google-merchant", width=200, height=200)
    assert result.width == 200
    assert of(result)["size_from_2027"] == "warn"


def test_format_that_a_marketplace_does_not_take_becomes_jpeg() -> None:
    result = made(encoded(picture((900, 900)), "AVIF"), "google-merchant")
    assert result.format == "JPEG"
    assert of(result)["format"] == "pass"


def test_colours_move_to_srgb_where_it_is_wanted() -> None:
    source = encoded(picture((900, 900)), "PNG", icc_profile=swapped_profile())
    result = made(source, "shopify", quality=95)
    assert of(result)["profile"] == "pass"
    assert "icc_profile" not in opened(result.data or b"").info
    before, after = (look(one).frames[0].resize((1, 1)).getpixel((0, 0)) for one in
                     (source, result.data or b""))  # fmt: skip
    assert isinstance(before, tuple)
    assert isinstance(after, tuple)
    assert max(abs(a - b) for a, b in zip(before, after, strict=True)) < 6


def test_image_without_preset_has_no_checks() -> None:
    result = compress_outputs(encoded(picture()), parse_options({}), CodecLimits())
    assert result.checks == ()
