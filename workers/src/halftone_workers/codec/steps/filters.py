"""The filters: one function each, by its name in the options."""

from collections.abc import Callable
from functools import partial

from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from halftone_workers.codec.encoders import Frames
from halftone_workers.codec.steps.job import Job, each_image, in_mixable_colours

Change = Callable[[Image.Image, float], Image.Image]
# A light sharpening, as after a reduction.
_SHARPEN = ImageFilter.UnsharpMask(radius=1.0, percent=80, threshold=2)


def apply_filters(frames: Frames, job: Job) -> Frames:
    """Apply the filters in the given order. Only `blur` changes transparency."""
    if not job.options.filters:
        return frames
    frames = in_mixable_colours(frames)
    for wanted in job.options.filters:
        frames = each_image(frames, partial(_applied, FILTERS[wanted.name], wanted.amount or 0.0))
    return frames


def _applied(change: Change, amount: float, image: Image.Image) -> Image.Image:
    return change(image, amount)


def _on_colour(change: Change) -> Change:
    """Change only the colours, and keep alpha."""

    def changed(image: Image.Image, amount: float) -> Image.Image:
        if image.mode != "RGBA":
            return change(image, amount)
        colour = change(image.convert("RGB"), amount).convert("RGB")
        colour.putalpha(image.getchannel("A"))
        return colour

    return changed


def _grayscale(image: Image.Image, _: float) -> Image.Image:
    return image.convert("L")


def _sharpen(image: Image.Image, _: float) -> Image.Image:
    return image.filter(_SHARPEN)


def _blur(image: Image.Image, radius: float) -> Image.Image:
    """Blur premultiplied colours, so that transparent pixels do not bleed into their neighbours."""
    if image.mode != "RGBA":
        return image.filter(ImageFilter.GaussianBlur(radius))
    blurred = image.convert("RGBa").filter(ImageFilter.GaussianBlur(radius))
    return blurred.convert("RGBA")


def _brightness(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


def _contrast(image: Image.Image, factor: float) -> Image.Image:
    """Change contrast around middle gray, so that all images of a catalogue change equally."""
    return image.point(
        [min(255, max(0, round(127.5 + (level - 127.5) * factor))) for level in range(256)]
        * len(image.getbands())
    )


def _saturation(image: Image.Image, factor: float) -> Image.Image:
    return image if image.mode == "L" else ImageEnhance.Color(image).enhance(factor)


def _autocontrast(image: Image.Image, _: float) -> Image.Image:
    """Stretch the darkest level to black and the lightest to white, keeping the hue; 0.5 % of the
    pixels may clip.
    """
    return ImageOps.autocontrast(image, cutoff=0.5, preserve_tone=True)


FILTERS: dict[str, Change] = {
    "grayscale": _on_colour(_grayscale),
    "sharpen": _on_colour(_sharpen),
    "blur": _blur,
    "brightness": _on_colour(_brightness),
    "contrast": _on_colour(_contrast),
    "saturation": _on_colour(_saturation),
    "autocontrast": _on_colour(_autocontrast),
}
