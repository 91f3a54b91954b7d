"""JPEG to JPEG without pixels, by halftone-jpeg, where that is installed and the image is one that
it takes.

Faster than decoding and encoding, and nothing is rounded but the coefficients that are divided
anew.
"""

from contextlib import suppress
from importlib import import_module
from typing import Any

from PIL import Image

from halftone_workers.codec.exif import ORIENTATION_TAG, kept_exif
from halftone_workers.errors import MustDecode

accelerator: Any = None
with suppress(ImportError):
    accelerator = import_module("halftone_jpeg")


def can_requantise(image: Image.Image) -> bool:
    """Whether this JPEG, opened and not decoded, may do without pixels: the accelerator is here,
    and it stands upright.

    What else is not taken, CMYK or other chroma than 4:2:0, only `requantise` finds out.
    """
    return accelerator is not None and ORIENTATION_TAG not in kept_exif(image)


def requantise(
    data: bytes, quality: int, *, max_pixels: int, icc: bytes | None, exif: bytes
) -> bytes:
    """The JPEG at this quality, with this profile and EXIF and no other metadata; itself, where
    that is no larger.

    Raises MustDecode.
    """
    try:
        result: bytes = accelerator.requantise(
            data, quality, max_pixels=max_pixels, max_bytes=len(data), icc=icc or b"", exif=exif
        )
    except accelerator.TooLarge:
        return data
    except accelerator.NotPossible:
        raise MustDecode from None
    return result
