"""Image options: what the declaration parses, refuses, stores and reads back."""

import re
from pathlib import Path
from typing import Any

import pytest

import halftone_workers
from halftone_shared.model.option_values import Colour, Crop, Filter
from halftone_shared.model.options import (
    IMAGE_OPTIONS,
    ImageOptions,
    InvalidOption,
    Mode,
    UnknownOption,
    parse_options,
)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({}, {"mode": "quality", "quality": 50, "format": "keep"}),
        ({"mode": "scale"}, {"mode": "scale", "scale": 0.5, "quality": 80, "format": "keep"}),
        ({"mode": "bytes"}, {"mode": "bytes", "ratio": 0.5, "format": "keep"}),
        ({"mode": "visual"}, {"mode": "visual", "target": 70, "format": "keep"}),
        (
            {"width": "200", "filters": "grayscale, blur:2", "background": "Tomato"},
            {
                "mode": "quality",
                "quality": 50,
                "format": "keep",
                "width": 200,
                "background": "#ff6347",
                "filters": ["grayscale", "blur:2"],
            },
        ),
    ],
)
def test_stored_options_are_those_of_the_mode_and_those_given(
    given: dict[str, str], stored: dict[str, Any]
) -> None:
    options = parse_options(given)

    assert options.to_json() == stored
    assert ImageOptions.from_json(stored) == options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mode", "fast"),
        ("quality", "0"),
        ("quality", "96"),
        ("quality", "5.5"),
        ("width", "0"),
        ("width", "16385"),
        ("height", "-1"),
        ("max_bytes", "999"),
        ("trim", "101"),
        ("crop", "1,2,3"),
        ("crop", "0,0,0,5"),
        ("crop", "1%,1%,5,5"),
        ("crop", "1.5,1,5,5"),
        ("filters", "blur:0"),
        ("filters", "blur:51"),
        ("filters", "contrast:4.1"),
        ("filters", "grayscale:1"),
        ("filters", "emboss"),
        ("background", "#12345"),
        ("background", "no-such-colour"),
        ("enlarge", "perhaps"),
        ("watermark_url", "ftp://shop.example/logo.png"),
        ("watermark_position", "north"),
        ("names", "plain"),
        ("names", "../{key}"),
        ("names", "{secret}"),
        ("names", "{key!r}"),
        ("variants", "{}"),
        ("variants", '[{"width": 10}]'),
        ("variants", '[{"name": "A B"}]'),
        ("variants", '[{"name": "a"}, {"name": "a"}]'),
        ("variants", '[{"name": "a", "width": 0}]'),
        ("variants", '[{"name": "a", "preset": "ebay"}]'),
        ("variants", '[{"name": "a", "variants": []}]'),
        ("fit", "pad"),
        ("target", "70"),
        ("no_such_option", "1"),
    ],
)
def test_bad_value_is_refused_with_the_option(name: str, value: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        parse_options({name: value})

    assert refused.value.option == name
    assert refused.value.reason


@pytest.mark.parametrize("name", ["quality", "scale", "ratio", "target"])
@pytest.mark.parametrize("mode", list(Mode))
def test_mode_takes_its_own_options_only(name: str, mode: Mode) -> None:
    given = {"mode": mode.value, name: "70" if name in ("quality", "target") else "0.7"}
    if IMAGE_OPTIONS[name].belongs_to(mode):
        assert name in parse_options(given).to_json()
    else:
        with pytest.raises(InvalidOption, match=f"mode={mode} has no {name}"):
            parse_options(given)


def test_variant_takes_over_what_it_does_not_say_but_for_the_size() -> None:
    variants = '[{"name": "thumb", "width": 200}, {"name": "big", "mode": "scale"}]'
    given = {"quality": "70", "format": "webp", "width": "900", "height": "900", "fit": "pad"}

    thumb, big = parse_options({**given, "variants": variants}).variants

    assert (thumb.name, thumb.options.width, thumb.options.height) == ("thumb", 200, None)
    assert thumb.options.to_json() == {
        "mode": "quality",
        "quality": 70,
        "format": "webp",
        "width": 200,
    }
    assert big.options.to_json() == {
        "mode": "scale",
        "scale": 0.5,
        "quality": 80,
        "format": "webp",
    }


def test_preset_gives_defaults_that_options_win_over() -> None:
    preset = {"width": 1500, "height": 1500, "fit": "pad", "quality": 90}

    options = parse_options({"quality": "80", "preset": "google-merchant"}, preset)

    assert (options.width, options.quality, options.preset) == (1500, 80, "google-merchant")


@pytest.mark.parametrize(
    "stored",
    [
        {"mode": "quality", "quality": 50, "format": "keep", "sepia": True},
        {"mode": "quality", "quality": 50, "format": "jpeg-2050"},
        {"mode": "quality", "variants": [{"name": "a", "sepia": True}]},
    ],
)
def test_stored_option_of_a_newer_version_is_named(stored: dict[str, Any]) -> None:
    with pytest.raises(UnknownOption):
        ImageOptions.from_json(stored)


def test_outputs_are_the_main_one_and_the_variants() -> None:
    options = parse_options({"variants": '[{"name": "thumb", "width": 50}]'})

    assert [output.name for output in options.outputs] == ["", "thumb"]
    assert options.outputs[0].options.variants == ()
    assert ImageOptions.from_json(options.to_json()) == options
    assert hash(options) == hash(ImageOptions.from_json(options.to_json()))


def test_values_are_written_as_they_are_read() -> None:
    options = parse_options({"crop": "10%,0%,50.5%,100%", "filters": '["saturation:1.5"]'})

    assert options.crop == Crop(10, 0, 50.5, 100, percent=True)
    assert str(options.crop) == "10%,0%,50.5%,100%"
    assert options.filters == (Filter("saturation", 1.5),)
    assert parse_options({"background": "#abc"}).background == Colour((0xAA, 0xBB, 0xCC))
    assert parse_options({"background": "transparent"}).background == Colour(None)


@pytest.mark.parametrize(
    ("crop", "box"),
    [
        ("0,0,10,10", (0, 0, 10, 10)),
        ("90,40,100,100", (90, 40, 100, 50)),
        ("500,500,10,10", (99, 49, 100, 50)),
        ("50%,0%,50%,50%", (50, 0, 100, 25)),
    ],
)
def test_crop_is_cut_to_the_image(crop: str, box: tuple[int, int, int, int]) -> None:
    found = parse_options({"crop": crop}).crop

    assert found is not None
    assert found.box(100, 50) == box


def test_every_option_says_what_it_means_and_has_a_schema() -> None:
    for name, option in IMAGE_OPTIONS.items():
        assert option.meaning.endswith("."), name
        assert "type" in option.schema, name


@pytest.mark.parametrize(
    "name", [name for name, option in IMAGE_OPTIONS.items() if option.in_variants]
)
def test_every_option_of_an_output_has_an_effect(name: str) -> None:
    """A declared option that nothing reads would be accepted and ignored."""
    package = Path(halftone_workers.__file__).parent
    code = "".join(path.read_text() for path in package.rglob("*.py"))
    assert re.search(rf"\boptions\.{name}\b", code), f"no worker reads options.{name}"
