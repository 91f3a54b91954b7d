"""HEIC input, by the extra `halftone-workers[heic]` (pi-heif, which only decodes)."""

from functools import cache
from importlib import import_module

from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.sources import avif
from halftone_workers.codec.sources.prepared import Prepared, unsupported

# The name of pi-heif's plugin in Pillow.
PLUGIN = "HEIF"


def prepare(data: bytes, limits: CodecLimits) -> Prepared:
    """Raises ImageRefused if the extra is not installed."""
    if not is_installed():
        raise unsupported(
            "The file is a HEIC, which this service reads only with the extra"
            " halftone-workers[heic]."
        )
    # HEIC declares colours like AVIF: both use the same container.
    return avif.prepare(data, limits)


@cache
def is_installed() -> bool:
    """Register HEIC with Pillow. Returns False if the extra is not installed."""
    try:
        library = import_module("pi_heif")
    except ImportError:
        return False
    library.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    library.options.DECODE_THREADS = 1
    return True
