"""Cuts off a border of one colour. A soft shadow that continues in the border fades out."""

from dataclasses import dataclass

from PIL import Image, ImageChops

from halftone_workers.codec.encoders import Frames
from halftone_workers.codec.steps.job import Job, each_image, in_mixable_colours

Box = tuple[int, int, int, int]

# A margin for a shadow that fades out, as a share of the picture's longer side. Two of them keep a
# product that fills 92 % of its frame, as the presets pad it, above the 85 % that they require.
_SHADOW_MARGIN = 0.04
# Averages of so many pixels along and away from an edge tell a shadow from the noise of a JPEG.
# That noise ends with its block of 8 pixels, so a shadow must still be there beyond it.
_RUN, _DEPTH, _BEYOND_BLOCK = 16, 3, 10


def trim(frames: Frames, job: Job) -> Frames:
    """Cut off a border of the colour of the upper left pixel, within a tolerance in 8-bit levels.

    For several frames, cut off the border that all of them share.
    """
    tolerance = job.options.trim
    if tolerance is None or len({picture.image.size for picture in frames.pictures}) > 1:
        return frames
    shown = in_mixable_colours(frames)
    boxes = [inside_border(picture.image, tolerance) for picture in shown.pictures]
    found = [box for box in boxes if box is not None]
    if not found:
        job.warn("The image has one colour; nothing was trimmed.")
        return frames
    box = (
        min(box[0] for box in found),
        min(box[1] for box in found),
        max(box[2] for box in found),
        max(box[3] for box in found),
    )
    if box == (0, 0, *frames.first.size):
        return frames
    if len(frames.pictures) == 1:
        kept = _with_shadow(_Border.of(shown.first), box, tolerance)
        if kept != box:
            return each_image(shown, lambda image: _faded(image, box, kept))
    return each_image(frames, lambda image: image.crop(box))


def inside_border(image: Image.Image, tolerance: int) -> Box | None:
    """The box inside a border of one colour; None if the whole image has this colour."""
    border = _Border.of(image)
    differing = border.difference(border.shown).point([255 * (n > tolerance) for n in range(256)])
    return differing.getbbox()


@dataclass(frozen=True)
class _Border:
    """A border of the colour of the upper left pixel.

    `shown`: the channels to compare with `colour`. If the border is transparent, that is alpha
    alone: the colour of fully transparent pixels is invisible and must not count.
    """

    shown: Image.Image
    colour: tuple[int, ...]

    @classmethod
    def of(cls, image: Image.Image) -> "_Border":
        corner = image.crop((0, 0, 1, 1))
        if image.mode == "RGBA" and corner.getchannel("A").getextrema() == (0, 0):
            image, corner = image.getchannel("A"), corner.getchannel("A")
        return cls(image, tuple(corner.tobytes()))

    def difference(self, part: Image.Image) -> Image.Image:
        """How far each pixel of this part is from the border's colour, in its farthest channel."""
        ground = Image.new(part.mode, part.size, self.colour)
        first, *others = _difference(part, ground).split()
        for channel in others:
            first = ImageChops.lighter(first, channel)
        return first


def _difference(one: Image.Image, other: Image.Image) -> Image.Image:
    if one.mode != "RGBA":
        return ImageChops.difference(one, other)
    colour = ImageChops.difference(one.convert("RGB"), other.convert("RGB"))
    alpha = ImageChops.difference(one.getchannel("A"), other.getchannel("A"))
    return Image.merge("RGBA", (*colour.split(), alpha))


def _with_shadow(border: _Border, box: Box, tolerance: int) -> Box:
    """The box with a margin at each side where a shadow continues in the border."""
    left, upper, right, lower = box
    width, height = border.shown.size
    margin = max(1, round(_SHADOW_MARGIN * max(right - left, lower - upper)))

    def strips(distance: int) -> list[list[int]]:
        near, far = distance, distance + _DEPTH
        return [
            _levels(border, (left - far, upper, left - near, lower)),
            _levels(border, (left, upper - far, right, upper - near)),
            _levels(border, (right + near, upper, right + far, lower)),
            _levels(border, (left, lower + near, right, lower + far)),
        ]

    add = [
        margin * _is_shadow(beside, beyond, tolerance)
        for beside, beyond in zip(strips(0), strips(_BEYOND_BLOCK), strict=True)
    ]
    return (
        max(0, left - add[0]),
        max(0, upper - add[1]),
        min(width, right + add[2]),
        min(height, lower + add[3]),
    )


def _levels(border: _Border, strip: Box) -> list[int]:
    """How far the averages of runs of a strip's pixels are from the border's colour; none if the
    strip is not wholly in the picture.
    """
    width, height = border.shown.size
    if strip[0] < 0 or strip[1] < 0 or strip[2] > width or strip[3] > height:
        return []
    part = border.shown.crop(strip)
    along = max(1, max(part.size) // _RUN)
    size = (along, 1) if part.width > part.height else (1, along)
    return list(border.difference(part.resize(size, Image.Resampling.BOX)).tobytes())


def _is_shadow(beside: list[int], beyond: list[int], tolerance: int) -> bool:
    """Whether some run beside the cut differs from the border by half the tolerance, and goes on
    fading beyond.
    """
    least, rest = max(1, tolerance // 2), max(1, tolerance // 6)
    return any(
        near > least and near > far > rest for near, far in zip(beside, beyond, strict=False)
    )


def _faded(image: Image.Image, box: Box, kept: Box) -> Image.Image:
    """Cut to `kept`, and let what is outside `box` fade into the border's colour."""
    cut, corner = image.crop(kept), image.getpixel((0, 0))
    left, upper = box[0] - kept[0], box[1] - kept[1]
    right, lower = kept[2] - box[2], kept[3] - box[3]
    across = Image.frombytes("L", (cut.width, 1), _ramp(cut.width, left, right))
    down = Image.frombytes("L", (1, cut.height), _ramp(cut.height, upper, lower))
    share = ImageChops.multiply(across.resize(cut.size), down.resize(cut.size))
    if isinstance(corner, tuple) and corner[3:] == (0,):
        cut.putalpha(ImageChops.multiply(cut.getchannel("A"), share))
        return cut
    return Image.composite(cut, Image.new(cut.mode, cut.size, corner), share)


def _ramp(length: int, rising: int, falling: int) -> bytes:
    """255 in the middle, and down to 0 over so many pixels at the start and at the end."""
    up = [255 * at // rising for at in range(rising)]
    down = [255 * at // falling for at in reversed(range(falling))]
    return bytes([*up, *[255] * (length - rising - falling), *down])
