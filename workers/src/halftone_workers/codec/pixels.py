"""What is done to pixels between decoding and encoding: upright, eight bits a channel, the right colours."""

import io
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image, ImageCms, ImageOps

_ORIENTATION_TAG, _TURNED = 0x0112, range(2, 9)
_SRGB = ImageCms.createProfile("sRGB")
# The white that JPEG, which has no transparency, shows instead of it.
_WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Picture:
    """One frame and the ICC profile that its numbers mean something by."""

    image: Image.Image
    icc: bytes | None

    @property
    def has_alpha(self) -> bool:
        return self.image.has_transparency_data


def upright(picture: Picture) -> Picture:
    """Decoded, and turned as its orientation tag says. Every encoder drops that tag, so the pixels must not need it.

    A copy, but of a JPEG, which is the most there is, has no second frame to keep apart, and mostly stands upright.
    """
    if picture.image.format == "JPEG" and picture.image.getexif().get(_ORIENTATION_TAG) not in _TURNED:
        picture.image.load()
        return picture
    return replace(picture, image=ImageOps.exif_transpose(picture.image))


def bare(picture: Picture) -> Picture:
    """Without what encoders would write of the source unasked, such as comments; a key colour becomes alpha."""
    image = picture.image
    if "transparency" in image.info and image.mode in ("1", "L", "RGB"):
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    image.info = {name: image.info[name] for name in ("transparency",) if name in image.info}
    return replace(picture, image=image)


def eight_bits(picture: Picture) -> Picture:
    """With 8 bits a channel, scaled: converting alone clips everything above 255 to white."""
    image = picture.image
    if image.mode.startswith("I;16"):
        return replace(picture, image=_scaled(image.convert("I"), 65535))
    if image.mode == "I":
        return replace(picture, image=_scaled(image, 65535 if _highest(image) <= 65535 else 2**31 - 1))
    if image.mode == "F":
        return replace(picture, image=_scaled(image, max(_highest(image), 1.0)))
    return picture


def _highest(image: Image.Image) -> float:
    _, highest = image.getextrema()
    assert isinstance(highest, int | float)  # noqa: S101 - one channel has one pair
    return highest


def _scaled(image: Image.Image, full: float) -> Image.Image:
    return image.point(lambda value: value * (255 / full) + 0.5).convert("L")


def to_mode(picture: Picture, modes: tuple[str, ...]) -> Picture:
    """In one of the modes that an encoder takes, the first of them being its fallback for colour."""
    image = picture.image
    if image.mode in modes:
        return picture
    if picture.has_alpha and "RGBA" in modes:
        return _convert(picture, "RGBA")
    if image.mode in ("1", "L", "LA", "La") and "L" in modes:
        return _convert(picture, "L")
    return _convert(picture, "RGB")


def _convert(picture: Picture, mode: str) -> Picture:
    """To another mode. Where the profile would not fit the new numbers, the colours move to sRGB, which needs none."""
    image, icc = picture.image, picture.icc
    if image.mode in ("CMYK", "LAB", "YCbCr"):
        image, icc = _to_srgb(image, icc), None
    elif icc and image.mode in ("1", "L", "LA", "La") and mode.startswith("RGB"):
        image, icc = _gray_to_srgb(image, icc), None
    return Picture(image if image.mode == mode else image.convert(mode), icc)


def in_srgb(picture: Picture) -> Picture:
    """Without a profile: for formats that hold none, and are read as sRGB."""
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
        try:
            return _transformed(image, ImageCms.ImageCmsProfile(io.BytesIO(icc)))
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile, or one of other channels: what every viewer does is to look past it
    return image.convert("RGB")


def _transformed(image: Image.Image, profile: Any) -> Image.Image:
    moved = ImageCms.profileToProfile(image, profile, _SRGB, outputMode="RGB")
    assert moved is not None  # noqa: S101 - only inPlace returns None
    return moved


def flatten(picture: Picture) -> Picture:
    """Without transparency, on white."""
    image = picture.image.convert("RGBA")
    ground = Image.new("RGB", image.size, _WHITE)
    ground.paste(image, mask=image.getchannel("A"))
    return Picture(ground, picture.icc if picture.image.mode not in ("LA", "La") else None)


def resized(picture: Picture, scale: float) -> Picture:
    """Both sides × `scale`, at least 1 pixel each. Palettes are resolved first: their indices cannot be averaged."""
    image = picture.image
    if image.mode in ("P", "PA", "1"):
        image = image.convert("RGBA" if picture.has_alpha else ("L" if image.mode == "1" else "RGB"))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return replace(picture, image=image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0))
