"""An input file that is ready for Pillow, and the limits that all formats share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_workers.codec.options import CodecLimits
from halftone_workers.errors import ImageRefused

# An animation's frame and how long it is shown, in milliseconds (0: the file does not say).
TimedFrame = tuple[Image.Image, int]


@dataclass(frozen=True)
class Prepared:
    """An input whose structure was read.

    `data`: the file for Pillow. `icc`: the profile to use instead of Pillow's, if `own_icc` is set.
    `xmp`, `iptc`, `text`: places of a copyright notice, besides EXIF. `frames`: decodes all frames
    if Pillow's differ from what browsers show; `canvas` is their size. `pages`: the indices of
    Pillow's frames to use, None for all. `warnings`: features that no result keeps.
    """

    data: bytes
    icc: bytes | None = None
    own_icc: bool = False
    xmp: bytes | str = b""
    iptc: bytes = b""
    text: str = ""
    frames: Callable[[], Iterator[TimedFrame]] | None = None
    frame_count: int | None = None
    canvas: tuple[int, int] | None = None
    pages: tuple[int, ...] | None = None
    warnings: tuple[str, ...] = ()


def corrupt(message: str) -> ImageRefused:
    return ImageRefused(ImageErrorCode.CORRUPT_IMAGE, message)


def unsupported(message: str) -> ImageRefused:
    return ImageRefused(ImageErrorCode.UNSUPPORTED_FORMAT, message)


def check_pixels(size: tuple[int, int], limits: CodecLimits) -> None:
    """Refuse a frame of more pixels than allowed."""
    width, height = size
    if width * height > limits.max_pixels:
        raise ImageRefused(
            ImageErrorCode.TOO_MANY_PIXELS,
            f"The image has {width} × {height} pixels; {limits.max_pixels} are allowed.",
        )


def too_many_frames(limits: CodecLimits) -> ImageRefused:
    """The error for a file with more frames than the limit, beyond which they are not counted."""
    return ImageRefused(
        ImageErrorCode.TOO_MANY_FRAMES,
        f"The image has more than {limits.max_frames} frames, which are allowed.",
    )
