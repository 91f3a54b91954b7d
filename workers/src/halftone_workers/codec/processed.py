"""Checks outputs that an external service made before they are used.

An output must decode completely, and have the format and size that the options ask for.
"""

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.image_formats import Format
from halftone_shared.model.options import Fit, ImageOptions
from halftone_workers.codec.decoding import decode
from halftone_workers.codec.encoding import Encoded
from halftone_workers.codec.opening import Source, opened
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.steps.resize import target_size
from halftone_workers.errors import ImageRefused

# Tolerance in pixels: services round sides differently.
ROUNDING_PIXELS = 1


def judged(
    output: bytes, options: ImageOptions, planned: Format, source: Source, limits: CodecLimits
) -> Encoded:
    """The service's output, if it is what was asked for. Raises ImageRefused `processor_failed`."""
    try:
        with opened(output, limits) as made:
            decode(made, all_frames=True)
            form, size = made.format, made.size
    except ImageRefused as refused:
        raise _failed(f"its output cannot be used. {refused.message}") from None
    if form is not planned:
        raise _failed(f"its output is {form}, and {planned} was asked for")
    if not _fits(size, source.size, options):
        shown = f"{size[0]} × {size[1]} pixels"
        raise _failed(f"its output has {shown}, which is not the size that was asked for")
    return Encoded(output, size)


def _fits(size: tuple[int, int], source: tuple[int, int], options: ImageOptions) -> bool:
    if options.fit is not Fit.INSIDE and options.width and options.height:
        return size == (options.width, options.height)
    wanted = target_size(source, options)
    sides = list(zip(size, wanted, strict=True))
    if options.crop or options.trim is not None:  # only the service knows how much is cut off
        return all(side <= most + ROUNDING_PIXELS for side, most in sides)
    return all(abs(side - asked) <= ROUNDING_PIXELS for side, asked in sides)


def _failed(reason: str) -> ImageRefused:
    return ImageRefused(
        ImageErrorCode.PROCESSOR_FAILED, f"The image processing service failed: {reason}."
    )
