"""Reads an image's orientation and copyright notice from EXIF."""

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

ORIENTATION_TAG, COPYRIGHT_TAG = 0x0112, 0x8298
EXIF_HEAD = b"Exif\0\0"

# The transposition that turns each orientation upright. 1 is upright and has none.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_THEIR_SIDE = frozenset({5, 6, 7, 8})


def kept_exif(image: Image.Image) -> Image.Exif:
    """`only_kept` of an image's EXIF. A loaded TIFF has no orientation: Pillow has turned it."""
    return only_kept(read_exif(image))


def read_exif(image: Image.Image) -> Image.Exif:
    """An image's EXIF, empty if it is broken: viewers show the picture anyway.

    Pillow would also read the orientation from XMP. Browsers do not, because it is often outdated.
    """
    image.info.pop("xmp", None)
    with _broken_is_none():
        return image.getexif()
    return Image.Exif()


def only_kept(exif: Image.Exif) -> Image.Exif:
    """The orientation, unless that is upright, and the copyright notice, in bytes."""
    kept = Image.Exif()
    with _broken_is_none():  # Pillow reads values lazily
        if exif.get(ORIENTATION_TAG) in TURNS:
            kept[ORIENTATION_TAG] = exif[ORIENTATION_TAG]
        if notice := exif.get(COPYRIGHT_TAG):
            kept[COPYRIGHT_TAG] = str(notice).encode("latin-1", "replace")
    return kept


@contextmanager
def _broken_is_none() -> Iterator[None]:
    """Ignore any exception of Pillow for broken metadata: viewers show the picture anyway."""
    try:
        yield
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001, S110 - as said above
        pass


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as displayed, after the orientation is applied."""
    width, height = image.size
    # For a TIFF, Pillow already returns the displayed size.
    if image.format != "TIFF" and kept_exif(image).get(ORIENTATION_TAG) in _ON_THEIR_SIDE:
        return height, width
    return width, height
