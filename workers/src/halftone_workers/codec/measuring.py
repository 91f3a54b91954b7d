"""Measures an encoded output for the rules of a preset."""

import io
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageCms, ImageOps

from halftone_shared.presets import Measured
from halftone_workers.codec.jpeg_tables import jpeg_quality
from halftone_workers.codec.steps.trim import inside_border

# Compression turns some pixels of a flat 255 white into 254.
_WHITE = 254
# XYZ of red, green and blue of sRGB under D50, as profiles have them.
_SRGB_COLORANTS = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7139))
# The width of the edge: this share of the shorter side, at least 1 pixel.
_EDGE_SHARE = 0.01
# Tolerance for JPEG noise around a product on a flat background.
_TRIM_TOLERANCE = 12


@dataclass(frozen=True)
class _Edge:
    """The outermost pixels of an image, as strips."""

    strips: tuple[Image.Image, ...]

    @classmethod
    def of(cls, image: Image.Image) -> "_Edge":
        width, height = image.size
        by = max(1, round(min(width, height) * _EDGE_SHARE))
        boxes = (
            (0, 0, width, by),
            (0, height - by, width, height),
            (0, 0, by, height),
            (width - by, 0, width, height),
        )
        return cls(tuple(image.crop(box) for box in boxes))

    def white_share(self) -> float:
        """The share of these pixels whose channels are all white."""
        white = pixels = 0
        for strip in self.strips:
            red, green, blue = strip.convert("RGB").split()
            darkest = ImageChops.darker(ImageChops.darker(red, green), blue)
            white += sum(darkest.histogram()[_WHITE:])
            pixels += strip.width * strip.height
        return white / pixels


def white_share(image: Image.Image) -> float:
    """The share of the outermost pixels that are white, 0–1."""
    return _Edge.of(image).white_share()


def measure(data: bytes, output_format: str, quality: int | None) -> Measured:
    """Decode an output and measure it. Transparency counts as white.

    `quality`: the encoder's; None for a kept original, whose tables are measured if it is a JPEG.
    """
    with Image.open(io.BytesIO(data), formats=[output_format]) as image:
        icc = image.info.get("icc_profile")
        if quality is None and image.format == "JPEG":
            quality = jpeg_quality(image)
        shown = ImageOps.exif_transpose(image)
        ground = Image.new("RGBA", shown.size, "white")
        ground.alpha_composite(shown.convert("RGBA"))
    flat = ground.convert("RGB")
    return Measured(
        width=flat.width,
        height=flat.height,
        bytes=len(data),
        format=output_format,
        is_srgb=is_srgb(icc),
        white_share=white_share(flat),
        product_share=product_share(flat),
        quality=quality,
    )


def product_share(image: Image.Image) -> float | None:
    """The product's share of the width or height, whichever is larger, inside a border of one
    colour. None without such a border.
    """
    box = inside_border(image, _TRIM_TOLERANCE)
    if box is None or box == (0, 0, *image.size):
        return None if box is None else _whole_share(image)
    left, upper, right, lower = box
    return max((right - left) / image.width, (lower - upper) / image.height)


def _whole_share(image: Image.Image) -> float | None:
    """1 for a product that touches all edges, if most of the edge is background; None otherwise."""
    return 1.0 if white_share(image) > 0.5 else None


def is_srgb(icc: bytes | None) -> bool:
    """Whether this profile, or the absence of one, means sRGB."""
    if not icc:
        return True
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile
    except (ImageCms.PyCMSError, OSError):
        return False
    colorants = (profile.red_colorant, profile.green_colorant, profile.blue_colorant)
    return all(
        colorant is not None
        and all(abs(a - b) < 0.01 for a, b in zip(colorant[0], expected, strict=True))
        for colorant, expected in zip(colorants, _SRGB_COLORANTS, strict=True)
    )
