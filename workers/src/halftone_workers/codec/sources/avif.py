"""AVIF input: reads colours that are declared by code points."""

from halftone_workers.codec.colour_profiles import is_bright, profile_of_code_points
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.sources.prepared import Prepared

# A colour box is in the file's head, before the picture.
_HEAD_BYTES = 64 * 1024
_HDR_WARNING = "Colours brighter than white (HDR) were shown as white."


def prepare(data: bytes, limits: CodecLimits) -> Prepared:
    del limits  # Pillow reports the size before it decodes
    at = data.find(b"colrnclx", 0, _HEAD_BYTES)
    if at < 0 or data.find(b"colrprof", 0, _HEAD_BYTES) >= 0:
        return Prepared(data)
    primaries, transfer = (int.from_bytes(data[at + 8 + i : at + 10 + i]) for i in (0, 2))
    icc = profile_of_code_points(primaries, transfer, gray=False, is_video=True)
    warnings = (_HDR_WARNING,) if is_bright(transfer) else ()
    return Prepared(data, icc=icc, own_icc=True, warnings=warnings)
