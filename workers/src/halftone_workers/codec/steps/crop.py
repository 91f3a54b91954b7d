"""Cuts out a rectangle, and cuts off a border of one colour."""

from PIL import Image, ImageChops

from halftone_workers.codec.encoders import Frames
from halftone_workers.codec.steps.job import Job, each_image, in_mixable_colours

Box = tuple[int, int, int, int]


def crop(frames: Frames, job: Job) -> Frames:
    """Keep the rectangle of the option `crop`, as far as it is inside the image."""
    wanted = job.options.crop
    if wanted is None:
        return frames
    width, height = frames.first.size
    across, down = (width / 100, height / 100) if wanted.percent else (1.0, 1.0)
    if wanted.x * across >= width or wanted.y * down >= height:
        job.warn(f"The crop {wanted} is outside the image of {width} × {height} pixels.")
        return frames
    return each_image(frames, lambda image: image.crop(wanted.box(*image.size)))


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
    return each_image(frames, lambda image: image.crop(box))


def inside_border(image: Image.Image, tolerance: int) -> Box | None:
    """The box inside a border of one colour; None if the whole image has this colour."""
    corner = image.getpixel((0, 0))
    ground = Image.new(image.mode, image.size, corner)
    if image.mode != "RGBA":
        return _differing(ImageChops.difference(image, ground), tolerance)
    # The colour of fully transparent pixels is invisible and must not count.
    alpha = ImageChops.difference(image.getchannel("A"), ground.getchannel("A"))
    if isinstance(corner, tuple) and corner[3] == 0:
        return _differing(alpha, tolerance)
    colour = ImageChops.difference(image.convert("RGB"), ground.convert("RGB"))
    return _differing(Image.merge("RGBA", (*colour.split(), alpha)), tolerance)


def _differing(difference: Image.Image, tolerance: int) -> Box | None:
    """The box around all pixels that differ by more than the tolerance in any channel."""
    first, *others = difference.split()
    for channel in others:
        first = ImageChops.lighter(first, channel)
    return first.point([255 * (level > tolerance) for level in range(256)]).getbbox()
