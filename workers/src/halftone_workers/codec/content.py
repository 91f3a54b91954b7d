"""Measures what the quality scale needs to know of an image: see `quality_scale.Content`."""

import io
from dataclasses import dataclass
from math import log

from PIL import Image, ImageChops, ImageFilter, ImageStat

from halftone_workers.codec.quality_scale import Content, detail_at, without_plain
from halftone_workers.codec.sources.jpeg import END_MARKER, SCAN, segments

_QUALITY = 75


@dataclass(frozen=True)
class _Bands:
    """Larger images are measured on bands of this height, at even distances."""

    most_pixels: int
    rows: int

    def of(self, image: Image.Image) -> Image.Image:
        """A small image itself; bands of a larger one, below each other."""
        width, height = image.size
        count = max(1, self.most_pixels // (width * self.rows))
        if count * self.rows >= height:
            return image
        bands = Image.new(image.mode, (width, count * self.rows))
        for number in range(count):
            upper = (height - self.rows) * number // max(1, count - 1)
            band = image.crop((0, upper, width, upper + self.rows))
            bands.paste(band, (0, number * self.rows))
        return bands


# All measures are taken on these bands, which bounds time and memory. Their seams, which are edges
# that the image does not have, are few.
_BANDS = _Bands(most_pixels=2_000_000, rows=256)
# The detail is measured on bands of these: whole rows of a JPEG's units of 16 × 16 pixels.
_DETAIL_BANDS = _Bands(most_pixels=500_000, rows=16)
# The head of the Multi-Picture Format's segment (CIPA DC-007).
_SEVERAL_PICTURES = b"MPF\0"
_HALF, _EIGHTH = 2, 8
_WHITE, _MOST_WHITE = 240, 15 / 16
_LAPLACE = ImageFilter.Kernel((3, 3), (0, -1, 0, -1, 4, -1, 0, -1, 0), scale=1, offset=128)


def content_of_jpeg(data: bytes, quality: int, pixels: int) -> Content:
    """Estimated from the bytes of a JPEG of about this quality, without decoding it; its plain
    areas are unknown.
    """
    return Content(detail_at(log_bits(data, pixels), quality))


def content_of_pixels(image: Image.Image) -> Content:
    """Measured on an 8-bit image; transparency counts as white. White areas have no content, so the
    numbers are of the rest.
    """
    if image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    image = _BANDS.of(image)
    if image.mode == "RGBA":
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image)
        image = ground
    if image.mode != "RGB":
        image = image.convert("RGB")
    small = image.reduce(_EIGHTH)
    white = _white_share(small)
    shown = 1 - white
    saturation = ImageStat.Stat(small.convert("HSV").getchannel("S")).mean[0] / 255
    gray = image.convert("L")
    return Content(
        without_plain(_detail(image), white),
        saturation / shown,
        _edges(gray.reduce(_EIGHTH), shown),
        _edges(gray.reduce(_HALF), shown),
    )


def _white_share(image: Image.Image) -> float:
    """The share of pixels that are nearly white, at most 15/16."""
    red, green, blue = image.split()
    darkest = ImageChops.darker(ImageChops.darker(red, green), blue)
    return min(sum(darkest.histogram()[_WHITE:]) / (image.width * image.height), _MOST_WHITE)


def _edges(gray: Image.Image, shown: float) -> float:
    return log(1 + ImageStat.Stat(gray.filter(_LAPLACE)).var[0] / shown)


def _detail(image: Image.Image) -> float:
    measured = _DETAIL_BANDS.of(image)
    buffer = io.BytesIO()
    measured.save(buffer, "JPEG", quality=_QUALITY)
    return log_bits(buffer.getvalue(), measured.width * measured.height)


def log_bits(jpeg: bytes, pixels: int) -> float:
    """ln(bits per pixel) of a JPEG's scans: metadata and appended files do not count."""
    scans = (start for marker, start in segments(jpeg) if marker == SCAN)
    start, end = next(scans, 0), len(jpeg)
    # Phones append previews and films. Without a sign of them, searching for the end is a waste:
    # it takes 0.5 ms for 600 kB.
    if not jpeg.endswith(END_MARKER) or jpeg.find(_SEVERAL_PICTURES, 0, start) > 0:
        end = max(jpeg.find(END_MARKER, start) + len(END_MARKER), start)
    return log(8 * max(1, end - start) / pixels)
