"""halftone-jpeg: its results compared with Pillow's, and what it leaves to Pillow."""

import io
import math
import random
import struct
import subprocess
import sys
import threading
import time
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageStat

from halftone_samples import PRODUCTS, render_photo
from halftone_shared.model.options import Effort, ImageOptions, Mode
from halftone_workers.codec import requantising
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.pipeline import compress
from halftone_workers.codec.sources.jpeg import SCAN, segments
from tests.support.images import encoded, jpeg, opened, picture

halftone_jpeg = pytest.importorskip(
    "halftone_jpeg", reason="halftone-jpeg is not installed: see scripts/setup.sh"
)


SEARCH: dict[str, Any] = {"bit_prices": (0.12, 0.12), "masking": 0.3, "masking_floor": 20.0}
# Rounding, rounding with a dead zone, and the searches: every path through the C code.
CHOICES: dict[str, dict[str, Any]] = {
    "rounded": {},
    "dead zone": {"dead_zone": 0.2},
    "searched": SEARCH,
    "searched in two passes": SEARCH | {"sampled_rows": 1},
    "searched, sampled, progressive": SEARCH | {"sampled_rows": 4, "progressive_from": 1},
}
every_choice = pytest.mark.parametrize("choice", CHOICES)


def _recipe(quality: int = 50, choice: str = "rounded") -> Any:
    """With the tables that Pillow writes at this quality."""
    tables = _tables(jpeg_at(quality))
    return halftone_jpeg.Recipe((tables[0], tables[1], tables[1]), **CHOICES[choice])


def _requantise(data: bytes, quality: int = 50, choice: str = "rounded", **how: Any) -> bytes:
    how = {"max_pixels": 1_000_000, "max_bytes": 10_000_000} | how
    result: bytes = halftone_jpeg.requantise(data, _recipe(quality, choice), **how)
    return result


def _by_pillow(data: bytes, quality: int = 50) -> bytes:
    return encoded(opened(data), quality=quality, optimize=True, icc_profile=None, exif=b"")


def _decibels(one: Image.Image, other: Image.Image) -> float:
    """Peak signal-to-noise ratio between the two images."""
    noise = sum(value**2 for value in ImageStat.Stat(ImageChops.difference(one, other)).rms) / len(
        one.getbands()
    )
    return 10 * math.log10(255**2 / noise)


def _tables(data: bytes) -> dict[int, tuple[int, ...]]:
    with Image.open(io.BytesIO(data)) as image:
        tables: dict[int, list[int]] = image.quantization  # type: ignore[attr-defined]
        return {number: tuple(table) for number, table in tables.items()}


def _with_wide_table(data: bytes) -> bytes:
    """With luma quantisers that need 16 bits."""
    frame = data.index(b"\xff\xc0")
    return data[:frame] + b"\xff\xdb\0\x83\x10" + struct.pack(">64H", *[300] * 64) + data[frame:]


# --- results ---


@pytest.mark.parametrize(("mode", "chroma_scans"), [("RGB", 3), ("L", 0)])
def test_luma_has_progressive_scans_of_its_own(mode: str, chroma_scans: int) -> None:
    result = _requantise(
        encoded(picture((320, 240)).convert(mode)), choice="searched, sampled, progressive"
    )
    # After its length: the number of components, each with its tables, then the band of details.
    scans = [result[start + 2 :] for marker, start in segments(result) if marker == SCAN]
    of_luma = [scan for scan in scans if scan[0] == 1 and scan[1] == 1]
    assert [(scan[3], scan[4]) for scan in of_luma] == [(0, 0), (1, 1), (2, 2), (3, 63)]
    assert len(scans) - len(of_luma) == chroma_scans


@every_choice
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(320, 240), (321, 243), (8, 8), (1, 1), (7, 400)])
def test_result_shows_what_the_source_does(
    choice: str, mode: str, progressive: bool, size: tuple[int, int]
) -> None:
    source = encoded(picture(size).convert(mode), progressive=progressive)
    result = opened(_requantise(source, choice=choice))
    assert (result.mode, result.size) == (mode, size)
    assert bool(result.info.get("progressive")) == ("progressive" in choice)
    # A search drops coefficients that cost many bits for the error that they save.
    allowed = 1 if choice == "rounded" else 6
    pillows = _decibels(opened(_by_pillow(source)), opened(source))
    assert _decibels(result, opened(source)) > min(pillows - allowed, 40)


def _score(data: bytes, photograph: Image.Image) -> float:
    score: float = halftone_jpeg.ssimulacra2(
        photograph.tobytes(), opened(data).tobytes(), *photograph.size
    )
    return score


@pytest.mark.parametrize("choice", ["searched", "searched in two passes"])
def test_search_takes_fewer_bytes_for_the_same_score(choice: str) -> None:
    for product in PRODUCTS[:3]:
        photograph = render_photo(product, 1, (640, 480))
        source = encoded(photograph)
        found, rounded = _requantise(source, 55, choice), _requantise(source, 50)
        assert _score(found, photograph) > _score(rounded, photograph) - 0.5
        assert len(found) < 0.97 * len(rounded)


def _grays(data: bytes) -> set[int]:
    return set(opened(data).convert("L").tobytes())


@pytest.mark.parametrize("choice", ["rounded", "searched"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("value", [0, 64, 127, 250, 254, 255])
def test_plain_ground_is_as_near_as_pillows(mode: str, value: int, choice: str) -> None:
    for source_quality in range(75, 101):
        source = encoded(Image.new(mode, (40, 40), (value,) * len(mode)), quality=source_quality)
        for quality in (30, 40, 50, 60, 75):
            ours, pillows = (
                _grays(_requantise(source, quality, choice)),
                _grays(_by_pillow(source, quality)),
            )
            assert len(ours) == 1
            assert abs(max(ours) - max(_grays(source))) <= abs(max(pillows) - max(_grays(source)))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_white_stays_as_white_as_pillow_has_it(mode: str) -> None:
    for source_quality in range(51, 101):
        source = encoded(Image.new(mode, (40, 40), "white"), quality=source_quality)
        for quality in (30, 40, 50, 60, 75):
            assert _grays(_requantise(source, quality)) == _grays(_by_pillow(source, quality))


def test_quantisers_are_those_that_pillow_writes() -> None:
    for quality in (1, 25, 50, 95):
        assert _tables(_requantise(encoded(picture(), quality=100), quality)) == _tables(
            jpeg_at(quality)
        )


def jpeg_at(quality: int) -> bytes:
    return encoded(picture(), quality=quality)


def test_quantiser_that_is_coarser_already_stays() -> None:
    source = jpeg_at(30)
    result = _requantise(source, 60)
    assert _tables(result) == _tables(source)
    assert ImageChops.difference(opened(result), opened(source)).getbbox() is None
    assert len(result) <= len(source)


def _grain() -> Image.Image:
    """Grain that is stronger in ever smaller areas: some symbols are so rare that their optimal
    codes would be longer than 16 bits.
    """
    side = 1600
    image = Image.new("L", (side, side), 128)
    noise = Image.frombytes("L", image.size, random.Random(1).randbytes(side * side))
    for strength in (1, 2, 4, 8, 16, 32, 64, 128):
        side = side * 3 // 4
        weaker = noise.point([128 + (value - 128) * strength // 128 for value in range(256)])
        image.paste(weaker.crop((0, 0, side, side)))
    return image


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "size", [(320, 240), (321, 243), (8, 8), (1, 1), (7, 400), (17, 16), (16, 17)]
)
def test_huffman_tables_are_those_that_libjpeg_finds_best(
    size: tuple[int, int], mode: str, progressive: bool
) -> None:
    source = picture(size, mode)
    best = encoded(source, quality=50, optimize=True)
    result = _requantise(encoded(source, quality=50, progressive=progressive), 95)
    assert _from_huffman_tables(result) == _from_huffman_tables(best)


def test_codes_have_16_bits_at_most() -> None:
    best = encoded(_grain(), quality=90, optimize=True)
    result = _requantise(encoded(_grain(), quality=90), 95, max_pixels=10_000_000)
    assert _from_huffman_tables(result) == _from_huffman_tables(best)


def _from_huffman_tables(data: bytes) -> bytes:
    return data[data.index(b"\xff\xc4") :]


def test_result_requantised_again_is_itself() -> None:
    once = _requantise(jpeg())
    assert _requantise(once) == once


def test_dead_zone_saves_bytes() -> None:
    assert len(_requantise(jpeg(), choice="dead zone")) < 0.97 * len(_requantise(jpeg()))


def test_chroma_tables_are_kept_apart_where_they_differ() -> None:
    tables = ((20,) * 64, (30,) * 64, (90,) * 64)
    source = encoded(picture(), quality=50, qtables=[list(each) for each in tables], subsampling=2)
    assert _tables(_requantise(source, 95)) == _tables(source) == dict(enumerate(tables))


@pytest.mark.parametrize(
    ("plain_rows", "eighths"), [(0, 0), (3, 0), (4, 1), (16, 4), (31, 7), (32, 7)]
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_plain_share_chooses_the_tables(plain_rows: int, eighths: int, mode: str) -> None:
    image = picture((256, 256)).point(lambda level: level // 2).convert(mode)
    image.paste("white", (0, 0, 256, 8 * plain_rows))
    by_eighths = [((40 + each,) * 64,) * 3 for each in range(8)]
    recipe = halftone_jpeg.Recipe(by_eighths[0], tuple(by_eighths[1:]))
    source = encoded(image, quality=90)
    result = halftone_jpeg.requantise(source, recipe, max_pixels=10**6, max_bytes=10**6)
    assert set(_tables(result)[0]) == {40 + eighths}


def test_recipe_has_tables_for_no_plain_share_or_for_each() -> None:
    tables = ((40,) * 64,) * 3
    with pytest.raises(ValueError, match="expected 7"):
        halftone_jpeg.requantise(
            jpeg(), halftone_jpeg.Recipe(tables, (tables,)), max_pixels=10**6, max_bytes=10**6
        )


def test_chroma_tables_may_differ_where_the_source_has_one() -> None:
    tables = ((20,) * 64, (30,) * 64, (90,) * 64)
    result = halftone_jpeg.requantise(
        jpeg(), halftone_jpeg.Recipe(tables), max_pixels=10**6, max_bytes=10**6
    )
    assert _tables(result) == dict(enumerate(tables))


def test_profile_and_exif_are_written_and_nothing_else() -> None:
    source = encoded(
        picture(), comment=b"SECRET", exif=b"Exif\0\0SECRET", icc_profile=b"SECRET", dpi=(300, 300)
    )
    result = _requantise(source, icc=b"profile" * 20_000, exif=b"Exif\0\0notice")
    assert b"SECRET" not in result
    image = opened(result)
    assert image.info["icc_profile"] == b"profile" * 20_000
    assert image.info["exif"] == b"Exif\0\0notice"
    assert image.info["jfif_unit"] == 0  # no resolution
    assert {"icc_profile", "exif"}.isdisjoint(opened(_requantise(source)).info)


@every_choice
def test_same_source_gives_the_same_bytes_here_and_in_another_process(choice: str) -> None:
    code = (
        "import sys, halftone_jpeg\n"
        f"recipe = halftone_jpeg.{_recipe(50, choice)!r}\n"
        "data = sys.stdin.buffer.read()\n"
        "limits = {'max_pixels': 10**6, 'max_bytes': 10**6}\n"
        "sys.stdout.buffer.write(halftone_jpeg.requantise(data, recipe, **limits))\n"
    )
    there = subprocess.run(
        [sys.executable, "-c", code], input=jpeg(), capture_output=True, check=True
    ).stdout
    assert _requantise(jpeg(), choice=choice) == _requantise(jpeg(), choice=choice) == there


def test_other_threads_run_in_the_meantime() -> None:
    source = encoded(picture((6000, 6000)))
    started, turns = threading.Event(), 0

    def work() -> None:
        started.set()
        _requantise(source, max_pixels=10**9)

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    while thread.is_alive():
        turns += 1
        time.sleep(0.001)
    assert turns > 5


# --- left to Pillow ---


@cache
def _other_kinds() -> dict[str, bytes]:
    image = picture()
    return {
        "4:4:4": encoded(image, subsampling=0),
        "4:2:2": encoded(image, subsampling=1),
        "CMYK": encoded(image.convert("CMYK")),
        "RGB": encoded(image, keep_rgb=True),
        "16-bit quantisers": _with_wide_table(encoded(image, quality=99)),
        "no end": jpeg()[:-2],
        "half": jpeg()[: len(jpeg()) // 2],
        "head": jpeg()[:300],
        "nothing": b"",
        "PNG": encoded(image, "PNG"),
    }


@pytest.mark.parametrize("kind", _other_kinds())
def test_what_cannot_be_requantised_is_said_to_be_so(kind: str) -> None:
    with pytest.raises(halftone_jpeg.NotPossible):
        _requantise(_other_kinds()[kind])


def test_pixels_are_counted_to_the_last_one() -> None:
    assert _requantise(jpeg((100, 50)), max_pixels=5000)
    with pytest.raises(halftone_jpeg.NotPossible):
        _requantise(jpeg((100, 50)), max_pixels=4999)


def test_bytes_are_counted_to_the_last_one() -> None:
    size = len(_requantise(jpeg()))
    assert len(_requantise(jpeg(), max_bytes=size)) == size
    for less in (size - 1, 300, 1, 0):
        with pytest.raises(halftone_jpeg.TooLarge):
            _requantise(jpeg(), max_bytes=less)


@pytest.mark.parametrize("step", [0, 256])
def test_quantisers_that_baseline_cannot_hold_are_refused(step: int) -> None:
    recipe = halftone_jpeg.Recipe(((step,) * 64,) * 3)
    with pytest.raises(halftone_jpeg.NotPossible):
        halftone_jpeg.requantise(jpeg(), recipe, max_pixels=10**6, max_bytes=10**6)


@pytest.mark.parametrize(
    ("how", "said"), [({"dead_zone": 0.5}, "0.5"), ({"quantisers": ((1,) * 63,) * 3}, "64")]
)
def test_recipe_that_makes_no_sense_is_refused(how: dict[str, Any], said: str) -> None:
    recipe = halftone_jpeg.Recipe(**{"quantisers": ((1,) * 64,) * 3} | how)
    with pytest.raises(ValueError, match=said):
        halftone_jpeg.requantise(jpeg(), recipe, max_pixels=10**6, max_bytes=10**6)


def test_metadata_that_no_segment_holds_is_left_to_pillow() -> None:
    for name, size in (("exif", 65_534), ("icc", 17_000_000)):
        with pytest.raises(halftone_jpeg.NotPossible):
            halftone_jpeg.requantise(
                jpeg(), _recipe(), max_pixels=10**6, max_bytes=10**8, **{name: bytes(size)}
            )


# --- hostile bytes ---


@cache
def _sources() -> list[bytes]:
    image = picture((40, 30))
    return [
        encoded(image),
        encoded(image, progressive=True),
        encoded(image.convert("L")),
        encoded(image, restart_marker_blocks=2),
        encoded(image, quality=100),
    ]


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(_sources())))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
        if not data:
            return b""
    return bytes(data[: draw(st.just(len(data)) | st.integers(0, len(data)))])


@settings(max_examples=1000, deadline=None)
@given(
    data=_mutated(),
    quality=st.sampled_from([1, 20, 50, 80, 95]),
    choice=st.sampled_from(sorted(CHOICES)),
    max_bytes=st.just(100_000) | st.integers(0, 2000),
)
@example(data=b"\xff\xd8\xff\xd9", quality=50, choice="searched", max_bytes=100)
def test_broken_jpeg_gives_a_jpeg_or_is_left_to_pillow(
    data: bytes, quality: int, choice: str, max_bytes: int
) -> None:
    try:
        result = _requantise(data, quality, choice, max_bytes=max_bytes)
    except (halftone_jpeg.NotPossible, halftone_jpeg.TooLarge):
        return
    assert len(result) <= max_bytes
    # An image that passes without a warning is complete: Pillow decodes both to the same size and
    # mode.
    before, after = opened(data), opened(result)
    assert (after.size, after.mode) == (before.size, before.mode)


def test_refusals_leave_no_memory_behind() -> None:
    resource = pytest.importorskip("resource")
    source = encoded(picture((1200, 1200)))
    cut = source[: len(source) * 9 // 10]

    def refuse(times: int) -> int:
        for _ in range(times):
            with pytest.raises(halftone_jpeg.NotPossible):
                _requantise(cut, max_pixels=2_000_000)
            with pytest.raises(halftone_jpeg.TooLarge):
                _requantise(source, max_pixels=2_000_000, max_bytes=10_000)
        peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak

    before = refuse(5)
    assert refuse(40) - before < 20_000  # KiB; one image's coefficients are 4,000


# --- in the codec ---


@pytest.mark.parametrize("effort", Effort)
def test_codec_uses_the_accelerator(effort: Effort, monkeypatch: pytest.MonkeyPatch) -> None:
    photograph = render_photo(PRODUCTS[0], 1, (640, 480))
    source, options = encoded(photograph), ImageOptions(quality=50, effort=effort)
    ours = compress(source, options, CodecLimits()).data
    monkeypatch.setattr(requantising, "accelerator", None)
    by_pillow = compress(source, options, CodecLimits()).data
    assert ours is not None
    assert by_pillow is not None
    assert len(ours) < len(by_pillow)
    assert abs(_score(ours, photograph) - _score(by_pillow, photograph)) < 4


def test_more_effort_takes_fewer_bytes() -> None:
    source = encoded(render_photo(PRODUCTS[0], 1, (640, 480)))
    sizes = [
        len(compress(source, ImageOptions(effort=effort), CodecLimits()).data or source)
        for effort in (Effort.BALANCED, Effort.BEST)
    ]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("kind", ["4:4:4", "CMYK"])
def test_codec_decodes_what_the_accelerator_does_not_take(kind: str) -> None:
    source = _other_kinds()[kind]
    result = compress(source, ImageOptions(), CodecLimits())
    assert result.data is not None
    assert _decibels(opened(result.data).convert("RGB"), opened(source).convert("RGB")) > 28


def test_scaled_image_is_decoded() -> None:
    assert compress(jpeg(), ImageOptions(mode=Mode.SCALE), CodecLimits()).width == 160


def test_compressing_a_result_again_keeps_it() -> None:
    result = compress(jpeg(), ImageOptions(), CodecLimits()).data
    assert result is not None
    assert compress(result, ImageOptions(), CodecLimits()).data is None
