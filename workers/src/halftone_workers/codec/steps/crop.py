"""Cuts out a rectangle."""

from halftone_workers.codec.encoders import Frames
from halftone_workers.codec.steps.job import Job, each_image


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
