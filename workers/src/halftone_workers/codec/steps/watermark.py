"""Draws a watermark image over the output."""

from PIL import Image

from halftone_shared.model.options import Gravity
from halftone_workers.codec.encoders import Frames
from halftone_workers.codec.steps.job import Job, each_image, in_mixable_colours
from halftone_workers.codec.steps.resize import attention, edges_of


def watermark(frames: Frames, job: Job) -> Frames:
    """Draw the watermark over every frame. A watermark larger than the frame is scaled down."""
    mark = job.watermark
    if mark is None:
        return frames
    frames = in_mixable_colours(frames)
    return each_image(frames, lambda image: _marked(image, mark, job))


def _marked(image: Image.Image, mark: Image.Image, job: Job) -> Image.Image:
    if mark.width > image.width or mark.height > image.height:
        mark = mark.copy()
        mark.thumbnail(image.size, Image.Resampling.LANCZOS)
    opacity = job.options.watermark_opacity
    mark = mark.copy()
    mark.putalpha(mark.getchannel("A").point([round(level * opacity) for level in range(256)]))
    gravity = job.options.watermark_position
    is_attention = gravity is Gravity.ATTENTION
    across, down = attention(image, mark.size) if is_attention else edges_of(gravity)
    place = (round((image.width - mark.width) * across), round((image.height - mark.height) * down))
    marked = image.convert("RGBA")
    marked.alpha_composite(mark, place)
    if image.mode == "RGBA":
        return marked
    is_gray = image.mode == "L" and _is_gray(mark)
    return marked.convert("L" if is_gray else "RGB")


def _is_gray(image: Image.Image) -> bool:
    red, green, blue, _ = image.split()
    return red.tobytes() == green.tobytes() == blue.tobytes()
