"""Corrections of a preset: converts colours to sRGB, and makes nearly white backgrounds white."""

from PIL import Image

from halftone_shared.presets import RuleKind
from halftone_workers.codec.encoders import Frames
from halftone_workers.codec.measuring import is_srgb, white_share
from halftone_workers.codec.steps.job import Job, each_image, in_mixable_colours

# A background of at least level 235 that varies by at most 12 levels is meant to be white.
_NEARLY_WHITE, _MOST_SPREAD = 235, 12


def to_srgb(frames: Frames, job: Job) -> Frames:
    """Convert to sRGB for a preset that requires it."""
    if job.preset is None or job.preset.rule(RuleKind.SRGB) is None:
        return frames
    if all(is_srgb(picture.icc) and picture.image.mode != "CMYK" for picture in frames.pictures):
        return frames
    return in_mixable_colours(frames)


def whiten(frames: Frames, job: Job) -> Frames:
    """Make a uniform, nearly white background white, for a preset that requires white."""
    if job.preset is None or job.preset.rule(RuleKind.WHITE_BACKGROUND) is None:
        return frames
    mixable = in_mixable_colours(frames)
    if any(picture.image.mode == "RGBA" for picture in mixable.pictures):
        return frames
    ground = _nearly_white_ground(mixable.first)
    if ground is None:
        job.white_share = white_share(mixable.first)
        return frames
    return each_image(mixable, lambda image: _raised(image, ground))


def _nearly_white_ground(image: Image.Image) -> int | None:
    """The darkest level of the edge, if the whole edge is nearly white but not yet white."""
    width, height = image.size
    boxes = (
        (0, 0, width, 1), (0, height - 1, width, height),
        (0, 0, 1, height), (width - 1, 0, width, height),
    )  # fmt: skip
    levels = [image.crop(box).convert("RGB").getextrema() for box in boxes]
    pairs = [pair for edge in levels for pair in edge if isinstance(pair, tuple)]
    darkest, lightest = min(low for low, _ in pairs), max(high for _, high in pairs)
    is_uniform = darkest >= _NEARLY_WHITE and lightest - darkest <= _MOST_SPREAD
    return int(darkest) if is_uniform and darkest < 255 else None


def _raised(image: Image.Image, ground: int) -> Image.Image:
    """Stretch the levels so that those of the background become 255."""
    table = [min(255, round(level * 255 / ground)) for level in range(256)]
    return image.point(table * len(image.getbands()))
