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

    `data`: the file as Pillow is to read it. `icc`: the profile to use in place of Pillow's, where
    `own_icc` is set. `xmp`, `iptc`, `text`: where a copyright notice may be, beside EXIF.
    `frames`: decodes all frames where Pillow's are not what browsers show; `canvas` is their size.
    `pages`: the numbers of Pillow's frames to take, None for all. `warnings`: what no result keeps.
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
    """For a file whose frames are not counted further than the limit."""
    return ImageRefused(
        ImageErrorCode.TOO_MANY_FRAMES,
        f"The image has more than {limits.max_frames} frames, which are allowed.",
    )
