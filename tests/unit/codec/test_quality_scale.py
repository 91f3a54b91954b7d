"""The quality scale: parameters by quality and content, and how content is measured."""

from dataclasses import astuple, replace
from itertools import product, repeat
from typing import Any

import pytest
from PIL import Image, ImageFilter

from halftone_samples import PRODUCTS, render_cutout, render_photo
from halftone_shared.model.image_formats import Format
from halftone_shared.model.options import Effort, ImageOptions
from halftone_workers.codec import content
from halftone_workers.codec.content import content_of_jpeg, content_of_pixels
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.pipeline import compress
from halftone_workers.codec.quality_scale import (
    MAX_QUALITY,
    MIN_QUALITY,
    TYPICAL,
    Content,
    encoder_parameter,
)
from tests.support.codec import compressed_bytes, on_ground
from tests.support.images import encoded, opened, picture

ENCODERS = [
    "JPEG plain",
    *(f"{name} {effort}" for name, effort in product(("JPEG", "WEBP", "AVIF"), Effort)),
]
CONTENTS = [
    Content(detail, saturation, structure, texture)
    for detail in (-9.0, -1.0, TYPICAL.detail, 1.0, 9.0)
    for saturation, structure, texture in ((0.0, 2.0, 1.0), (0.5, 8.0, 6.0))
]


# --- parameters ---


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("shown", CONTENTS)
def test_higher_quality_never_has_a_worse_parameter(encoder: str, shown: Content) -> None:
    qualities = range(MIN_QUALITY, MAX_QUALITY + 1)
    found = [round(encoder_parameter(encoder, quality, shown), 6) for quality in qualities]
    assert found == sorted(found, reverse=encoder.startswith("JPEG"))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_content_beyond_the_calibration_counts_as_its_limit(encoder: str) -> None:
    for detail in (9.0, -9.0):
        parameters = {encoder_parameter(encoder, 50, Content(detail * by)) for by in (1, 2)}
        assert len(parameters) == 1


@pytest.mark.parametrize("encoder", ENCODERS)
def test_unknown_colours_count_as_typical_ones(encoder: str) -> None:
    grays, colours = (Content(TYPICAL.detail, each) for each in (0.0, 1.0))
    limits = sorted(encoder_parameter(encoder, 50, each) for each in (grays, colours))
    assert limits[0] <= encoder_parameter(encoder, 50, TYPICAL) <= limits[1]


# --- content ---


def _photograph(blurred: float = 0) -> Image.Image:
    return picture((640, 480)).filter(ImageFilter.GaussianBlur(blurred))


def test_busy_image_has_more_detail_than_a_soft_one() -> None:
    noisy = Image.effect_noise((640, 480), 60).convert("RGB")
    details = [
        content_of_pixels(image).detail for image in (noisy, _photograph(), _photograph(blurred=8))
    ]
    assert details == sorted(details, reverse=True)
    assert details[0] > details[2] + 1


@pytest.mark.parametrize("quality", [60, 75, 92, 98])
def test_detail_of_a_jpeg_is_estimated_from_its_bytes(quality: int) -> None:
    for name in PRODUCTS[:3]:
        photograph = render_photo(name, 1, (640, 480))
        jpeg = encoded(photograph, quality=quality)
        estimated = content_of_jpeg(jpeg, quality, 640 * 480)
        assert estimated.detail == pytest.approx(content_of_pixels(photograph).detail, abs=0.4)


@pytest.mark.parametrize("progressive", [False, True])
def test_metadata_and_appended_files_are_no_detail(progressive: bool) -> None:
    how: dict[str, Any] = {"quality": 90, "progressive": progressive}
    plain = encoded(_photograph(), **how)
    thumbnail = b"Exif\0\0" + encoded(picture((160, 120)))
    several = encoded(_photograph(), exif=thumbnail, icc_profile=bytes(9000), **how)
    index = b"\xff\xe2\0\x10MPF\0" + bytes(10)
    several = several[:2] + index + several[2:] + encoded(picture((320, 240)))
    found = [content_of_jpeg(data, 90, 640 * 480) for data in (plain, several, plain + bytes(9999))]
    assert found == list(repeat(found[0], 3))


def test_transparent_pixels_are_no_detail() -> None:
    image = _photograph().convert("RGBA")
    image.putalpha(0)
    assert content_of_pixels(image) == content_of_pixels(Image.new("RGB", image.size, "white"))


def test_white_around_a_product_does_not_make_it_soft() -> None:
    photograph = _photograph()
    page = Image.new("RGB", (1280, 960), "white")
    page.paste(photograph, (320, 240))
    alone, on_white = content_of_pixels(photograph), content_of_pixels(page)
    # White takes a few bytes, and the photograph's edge has structure.
    assert alone.detail - 0.1 < on_white.detail < alone.detail + 0.6
    assert on_white.saturation == pytest.approx(alone.saturation, abs=0.05)
    assert on_white.structure == pytest.approx(alone.structure, abs=1.5)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_large_image_is_measured_on_bands_of_it(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    photograph = render_photo(PRODUCTS[0], 1, (640, 960)).convert(mode)
    whole = content_of_pixels(photograph)
    pixels = photograph.width * photograph.height
    monkeypatch.setattr(content, "_BANDS", replace(content._BANDS, most_pixels=pixels // 2))
    monkeypatch.setattr(
        content, "_DETAIL_BANDS", replace(content._DETAIL_BANDS, most_pixels=99_000)
    )
    parts = content_of_pixels(photograph)
    assert parts != whole
    assert astuple(parts) == pytest.approx(astuple(whole), abs=0.5)


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "PA", "RGBA", "CMYK"])
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3)])
def test_every_image_has_a_content(mode: str, size: tuple[int, int]) -> None:
    found = content_of_pixels(picture(size).convert("RGB").convert(mode))
    assert found.saturation is not None
    assert 0 <= found.saturation <= 1


# --- results ---


@pytest.mark.parametrize("output", [Format.JPEG, Format.WEBP, Format.AVIF])
def test_cut_out_on_white_looks_as_good_as_pillows_jpeg(output: Format) -> None:
    ssimulacra2 = pytest.importorskip("halftone_jpeg").ssimulacra2
    for name in PRODUCTS[:4]:
        page = on_ground("white", render_cutout(name, 1, (320, 320)))
        source = encoded(page, quality=95)
        shown = [
            opened(compressed_bytes(source, format=output)[0]).convert("RGB"),
            opened(encoded(opened(source), quality=50)),
        ]
        scores = [ssimulacra2(page.tobytes(), one.tobytes(), *one.size) for one in shown]
        assert scores[0] > scores[1] - 6


@pytest.mark.parametrize("output", [Format.WEBP, Format.AVIF])
def test_soft_image_looks_as_good_in_each_format_as_pillows_jpeg(output: Format) -> None:
    ssimulacra2 = pytest.importorskip("halftone_jpeg").ssimulacra2
    photograph = render_photo(PRODUCTS[0], 1, (640, 480))
    source = encoded(photograph, quality=92)
    shown = [
        opened(compressed_bytes(source, format=output)[0]).convert("RGB"),
        opened(encoded(opened(source), quality=50)),
    ]
    scores = [ssimulacra2(photograph.tobytes(), one.tobytes(), *one.size) for one in shown]
    assert abs(scores[0] - scores[1]) < 6


@pytest.mark.parametrize("blurred", [0, 1.5, 6])
@pytest.mark.parametrize("effort", Effort)
def test_result_that_comes_again_is_kept(blurred: float, effort: Effort) -> None:
    pytest.importorskip("halftone_jpeg")
    options = ImageOptions(effort=effort)
    source = encoded(_photograph(blurred), quality=95)
    result = compress(source, options, CodecLimits()).data
    assert result is not None
    assert compress(result, options, CodecLimits()).data is None
