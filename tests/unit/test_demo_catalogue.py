"""The demo's pictures ship with the command: few, small, and of every format."""

from pathlib import Path

from PIL import Image

from halftone_cli.demo.catalogue import (
    BROKEN_LINK,
    CATALOGUE,
    MAX_IMAGE_BYTES,
    OVERSIZED,
    PICTURES,
)

MAX_PICTURES_BYTES = 3_000_000


def test_catalogue_names_every_picture_and_one_that_is_missing() -> None:
    named = [name for names in CATALOGUE.values() for name in names]
    assert sorted(named) == sorted([*(file.name for file in _pictures()), BROKEN_LINK])


def test_pictures_have_every_format_and_transparency() -> None:
    formats, transparent = set(), []
    for file in _pictures():
        with Image.open(file) as image:
            formats.add(image.format)
            if "A" in image.getbands() and image.getchannel("A").getextrema()[0] == 0:
                transparent.append(file.name)
    assert formats == {"JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF"}
    assert transparent == ["mug-2.png"]


def test_pictures_are_small_but_for_the_oversized_one() -> None:
    sizes = {file.name: file.stat().st_size for file in _pictures()}
    assert sum(sizes.values()) <= MAX_PICTURES_BYTES
    assert [name for name, size in sizes.items() if size > MAX_IMAGE_BYTES] == [OVERSIZED]


def _pictures() -> list[Path]:
    return sorted(PICTURES.iterdir())
