"""Prepares pixels for encoding: upright, 8 bits a channel, in the right colours."""

import io
from array import array
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from PIL import Image, ImageChops, ImageCms
from PIL.TiffImagePlugin import TiffImageFile

from halftone_workers.codec.colour_profiles import usable_profile
from halftone_workers.codec.exif import ORIENTATION_TAG, TURNS, kept_exif

_BITS_TAG, _PHOTOMETRIC_TAG, _SAMPLE_FORMAT_TAG, _ICC_TAG = 0x0102, 0x0106, 0x0153, 0x8773
_WHITE_IS_ZERO, _SIGNED = 0, 2
_SRGB = ImageCms.createProfile("sRGB")


@dataclass(frozen=True)
class Picture:
    """One frame and its ICC profile.

    For pixels with more than 8 bits, `full` is the highest possible value, and `inverted` means
    that 0 is white.
    """

    image: Image.Image
    icc: bytes | None
    full: int = 65535
    inverted: bool = False

    @property
    def has_alpha(self) -> bool:
        return self.image.has_transparency_data


def current_frame(image: Image.Image) -> Picture:
    """The frame at the file's current position, as stored, with its own profile."""
    if not isinstance(image, TiffImageFile):
        return Picture(image, usable_profile(image.info.get("icc_profile"), image.mode))
    # For a page without a profile, Pillow's info still has the profile of the page before.
    tags = image.tag_v2
    icc = tags.get(_ICC_TAG)
    signed = tags.get(_SAMPLE_FORMAT_TAG, (1,))[0] == _SIGNED
    return Picture(
        image,
        usable_profile(icc, image.mode),
        full=2 ** (tags.get(_BITS_TAG, (1,))[0] - signed) - 1,
        inverted=tags.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO,
    )


def upright(picture: Picture) -> Picture:
    """Decode a frame and apply its orientation tag, because every encoder drops that tag.

    Returns a copy if Pillow may decode a further frame into the same image.
    """
    image = picture.image
    image.info.pop("xmp", None)  # Pillow would turn a TIFF by the orientation in XMP
    image.load()
    if (turn := TURNS.get(kept_exif(image).get(ORIENTATION_TAG, 1))) is not None:
        return replace(picture, image=image.transpose(turn))
    # Avoid copying a still WebP: a copy of the largest takes 200 MB.
    is_still_webp = image.format == "WEBP" and getattr(image, "n_frames", 1) == 1
    is_shared = image.format == "JPEG" or is_still_webp
    return picture if is_shared else replace(picture, image=image.copy())


def scale_key(image: Image.Image, bits: int) -> None:
    """Scale a PNG's key colour to 8 bits, as Pillow scales the pixels. Pillow leaves 16-bit gray
    unscaled.
    """
    key = image.info.get("transparency")
    if key is not None and image.mode == "L":
        image.info["transparency"] = key * 255 // (2**bits - 1)
    elif key is not None and image.mode == "RGB" and bits == 16:
        image.info["transparency"] = tuple(channel >> 8 for channel in key)


def bare(picture: Picture) -> Picture:
    """Remove data of the source that encoders would write by themselves, such as comments. Turn a
    key colour into alpha.
    """
    image = picture.image
    if "transparency" in image.info and image.mode in ("1", "L", "RGB"):
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    image.info = {name: image.info[name] for name in ("transparency",) if name in image.info}
    return replace(picture, image=image)


def eight_bits(picture: Picture) -> Picture:
    """Scale to 8 bits a channel: Pillow's conversion alone clips everything above 255 to white.

    Convert luma and chroma to red, green and blue, which a profile refers to.
    """
    image = picture.image
    if image.mode == "YCbCr":
        return replace(picture, image=image.convert("RGB"))
    if image.mode.startswith("I;16"):
        scaled = _scaled(picture, image.convert("I"), picture.full)
        if (key := scaled.info.pop("transparency", None)) is not None:
            scaled.putalpha(_differs(image, key))
        return replace(picture, image=scaled)
    if image.mode == "I":
        return replace(picture, image=_eight_of_32_bits(picture))
    if image.mode == "F":
        return replace(picture, image=_scaled(picture, image, max(_highest(image), 1.0)))
    return picture


def _eight_of_32_bits(picture: Picture) -> Image.Image:
    image = picture.image
    lowest, highest = _extrema(image)
    if (
        lowest < 0 and picture.full == 2**32 - 1
    ):  # Pillow's numbers are signed, those in the file are not
        return Image.frombytes("CMYK", image.size, image.tobytes()).getchannel("K")
    # 16-bit values are often stored in 32 bits.
    return _scaled(picture, image, min(picture.full, 65535) if highest <= 65535 else picture.full)


def _highest(image: Image.Image) -> float:
    """The highest finite value of a floating-point picture."""
    _, highest = _extrema(image)
    return (
        highest
        if isfinite(highest)
        else max(filter(isfinite, array("f", image.tobytes())), default=0.0)
    )


def _extrema(image: Image.Image) -> tuple[float, float]:
    lowest, highest = image.getextrema()
    assert isinstance(lowest, int | float)  # noqa: S101 - one channel has one pair
    assert isinstance(highest, int | float)  # noqa: S101
    return lowest, highest


def _differs(image: Image.Image, key: int) -> Image.Image:
    """A mask of the 16-bit pixels that differ from this value."""
    low, high = Image.frombytes("LA", image.size, image.tobytes("raw", "I;16")).split()
    masks = (
        channel.point(lambda value, part=part: 255 * (value != part))
        for channel, part in ((low, key & 0xFF), (high, key >> 8))
    )
    return ImageChops.lighter(*masks)


def _scaled(picture: Picture, image: Image.Image, full: float) -> Image.Image:
    scale, black = (-255 / full, 255) if picture.inverted else (255 / full, 0)
    return image.point(lambda value: value * scale + (black + 0.5)).convert("L")


def to_mode(picture: Picture, modes: tuple[str, ...]) -> Picture:
    """Convert to one of an encoder's modes. The first is the fallback for colour."""
    image = picture.image
    if image.mode in modes:
        return picture
    if picture.has_alpha and "RGBA" in modes:
        return _convert(picture, "RGBA")
    if image.mode in ("1", "L", "LA", "La") and "L" in modes:
        return _convert(picture, "L")
    return _convert(picture, "RGB")


def _convert(picture: Picture, mode: str) -> Picture:
    """Convert to another mode. If the profile does not fit that mode, convert the colours to sRGB,
    which needs no profile.
    """
    image, icc = picture.image, picture.icc
    if image.mode in ("CMYK", "LAB"):
        image, icc = _to_srgb(image, icc), None
    elif icc and image.mode in ("1", "L", "LA", "La") and mode.startswith("RGB"):
        image, icc = _gray_to_srgb(image, icc), None
    return Picture(image if image.mode == mode else image.convert(mode), icc)


def in_srgb(picture: Picture) -> Picture:
    """Convert to sRGB without a profile, for formats that hold none and are read as sRGB."""
    if picture.icc is None:
        return picture
    image = picture.image
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if picture.has_alpha else "RGB")
    if image.mode in ("RGBA", "LA"):
        alpha = image.getchannel("A")
        colour = _to_srgb(image.convert("RGB" if image.mode == "RGBA" else "L"), picture.icc)
        colour.putalpha(alpha)
        return Picture(colour, None)
    return Picture(_to_srgb(image, picture.icc), None)


def _gray_to_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    if image.mode in ("LA", "La"):
        alpha = image.getchannel("A")
        colour = _to_srgb(image.convert("L"), icc)
        colour.putalpha(alpha)
        return colour
    return _to_srgb(image.convert("L"), icc)


def _to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    if image.mode == "LAB":
        return _transformed(image, ImageCms.createProfile("LAB"))
    if icc:
        if image.mode == "L" and icc[16:20] == b"RGB ":
            image = image.convert("RGB")
        try:
            return _transformed(image, ImageCms.ImageCmsProfile(io.BytesIO(icc)))
        except (ImageCms.PyCMSError, OSError):
            pass  # viewers ignore a broken profile
    return image.convert("RGB")


def _transformed(image: Image.Image, profile: Any) -> Image.Image:
    moved = ImageCms.profileToProfile(image, profile, _SRGB, outputMode="RGB")
    assert moved is not None  # noqa: S101 - only inPlace returns None
    return moved


def without_palette(picture: Picture) -> Picture:
    """Convert a palette to gray or colour, because indices cannot be averaged."""
    image = picture.image
    if image.mode not in ("P", "PA", "1"):
        return picture
    colour = "L" if image.mode == "1" else "RGB"
    return replace(picture, image=image.convert("RGBA" if picture.has_alpha else colour))
