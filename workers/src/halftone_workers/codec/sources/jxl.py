"""JPEG XL input, by the extra `halftone-workers[jxl]` (pyjpegxl, BSD)."""

from importlib import import_module
from typing import Any

from PIL import Image

from halftone_workers.codec.exif import ORIENTATION_TAG
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.sources.prepared import Prepared, check_pixels, corrupt, unsupported

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def prepare(data: bytes, limits: CodecLimits) -> Prepared:
    """Raises ImageRefused if the extra is not installed, or for too many pixels."""
    library = _library()
    if library is None:
        raise unsupported(
            "The file is a JPEG XL, which this service reads only with the extra"
            " halftone-workers[jxl]."
        )
    head = _read(library.probe, data)
    check_pixels((head.width, head.height), limits)
    return Prepared(data, xmp=head.xmp or b"")


def decoded(data: bytes) -> Image.Image:
    """The first frame, upright, 8 bits a channel."""
    head, pixels = _read(_library().decode, data, dtype="uint8")
    size = (head.width, head.height)
    mode = _MODES[head.num_color_channels + head.has_alpha]
    if len(pixels) != size[0] * size[1] * len(mode):
        raise corrupt("The image cannot be decoded: its data are damaged.")
    image = Image.frombytes(mode, size, pixels)
    if head.icc:
        image.info["icc_profile"] = bytes(head.icc)
    if head.exif:
        image.info["exif"] = _without_orientation(bytes(head.exif))
    return image


def _without_orientation(exif: bytes) -> bytes:
    """The EXIF, without orientation: the decoder has already turned the picture upright."""
    # A box starts with the offset of its TIFF header; some have "Exif" before the header.
    starts = [at for at in (exif.find(b"II*\0", 0, 32), exif.find(b"MM\0*", 0, 32)) if at >= 0]
    tags = Image.Exif()
    try:
        tags.load(exif[min(starts, default=len(exif)) :])
    except (SyntaxError, ValueError, OSError):
        return b""
    tags.pop(ORIENTATION_TAG, None)
    return tags.tobytes()


def _read(call: Any, data: bytes, **how: Any) -> Any:
    try:
        return call(data, **how)
    except MemoryError:
        raise
    except Exception as error:
        raise corrupt("The image cannot be decoded: its data are damaged.") from error


def _library() -> Any:
    try:
        library = import_module("pyjpegxl")
    except ImportError:
        return None
    library.set_num_threads(1)
    return library
