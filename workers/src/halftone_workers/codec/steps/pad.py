"""Adds a background: around an image, and behind transparency that the format cannot hold."""

from PIL import Image

from halftone_shared.model.option_values import Colour
from halftone_shared.model.options import Fit
from halftone_shared.presets import RuleKind
from halftone_workers.codec.encoders import Frames
from halftone_workers.codec.steps.job import Job, each_image, in_mixable_colours
from halftone_workers.codec.steps.resize import scaled

_WHITE = (255, 255, 255)


def pad(frames: Frames, job: Job) -> Frames:
    """Put the image in the middle of `width` × `height` pixels of background."""
    options = job.options
    if options.fit is not Fit.PAD or options.width is None or options.height is None:
        return frames
    size = _canvas(frames.first.size, (options.width, options.height), job)
    if all(picture.image.size == size for picture in frames.pictures):
        return frames
    frames = in_mixable_colours(frames)
    return each_image(frames, lambda image: _padded(image, size, options.background, job))


def _canvas(size: tuple[int, int], asked: tuple[int, int], job: Job) -> tuple[int, int]:
    """The requested size; smaller for a preset that requires the product to fill the frame."""
    if job.preset is None or (rule := job.preset.rule(RuleKind.MIN_PRODUCT_SHARE)) is None:
        return asked
    factor = max(side / limit for side, limit in zip(size, asked, strict=True))
    if factor >= rule.value:
        return asked
    factor /= job.preset.fill
    least = max(job.preset.min_sides, job.preset.min_longest_side) / max(asked)
    width, height = scaled(asked, min(1.0, max(factor, least)))
    return max(width, size[0]), max(height, size[1])


def _padded(image: Image.Image, size: tuple[int, int], ground: Colour, job: Job) -> Image.Image:
    place = ((size[0] - image.width) // 2, (size[1] - image.height) // 2)
    if ground.rgb is None and job.holds_alpha:
        canvas = Image.new("RGBA", size, (0, 0, 0, 0))
        canvas.paste(image.convert("RGBA"), place)
        return canvas
    red, green, blue = ground.rgb or _WHITE
    if image.mode == "L" and red == green == blue:
        gray = Image.new("L", size, red)
        gray.paste(image, place)
        return gray
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    canvas = Image.new(mode, size, (red, green, blue, 255)[: len(mode)])
    canvas.paste(image.convert(mode), place)
    return canvas


def flatten(frames: Frames, job: Job) -> Frames:
    """Put the image on the background if the format has no transparency."""
    if job.holds_alpha or not any(picture.has_alpha for picture in frames.pictures):
        return frames
    red, green, blue = job.options.background.rgb or _WHITE

    def on_ground(image: Image.Image) -> Image.Image:
        canvas = Image.new("RGB", image.size, (red, green, blue))
        shown = image.convert("RGBA")
        canvas.paste(shown, mask=shown.getchannel("A"))
        return canvas

    is_white = (red, green, blue) == _WHITE
    # White is the same in every profile; other colours are given in sRGB.
    return each_image(_in_colour(frames) if is_white else in_mixable_colours(frames), on_ground)


def _in_colour(frames: Frames) -> Frames:
    """Convert gray with a gray profile to sRGB, because the result is RGB."""
    has_gray_profile = any(
        picture.icc is not None and picture.image.mode in ("L", "LA", "La", "1")
        for picture in frames.pictures
    )
    return in_mixable_colours(frames) if has_gray_profile else frames
