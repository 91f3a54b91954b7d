"""WebP input: corrects its declared length, and checks its canvas size."""

from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.sources.prepared import Prepared, check_pixels


def prepare(data: bytes, limits: CodecLimits) -> Prepared:
    # libwebp allocates the canvas as soon as the file is opened.
    if (size := canvas(data)) is not None:
        check_pixels(size, limits)
    return Prepared(_with_true_length(data), xmp=_xmp(data))


def _with_true_length(data: bytes) -> bytes:
    """Correct a declared length that is too large: libwebp would wait for more data."""
    if 8 + int.from_bytes(data[4:8], "little") <= len(data):
        return data
    return data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]


def canvas(data: bytes) -> tuple[int, int] | None:
    """Width and height in a WebP's extended header (RFC 9649, 2.7)."""
    if data[12:16] != b"VP8X" or len(data) < 30:
        return None
    return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")


def _xmp(data: bytes) -> bytes:
    """The XMP chunk, which follows the picture."""
    start = data.rfind(b"XMP ")
    size = int.from_bytes(data[start + 4 : start + 8], "little")
    return data[start + 8 : start + 8 + size] if start >= 12 else b""


def is_lossless(data: bytes) -> bool:
    """Whether a WebP's first picture is coded without loss (a VP8L chunk, RFC 9649)."""
    position = 12
    while position + 8 <= len(data):
        kind = data[position : position + 4]
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        if kind in (b"VP8L", b"VP8 "):
            return kind == b"VP8L"
        # A frame of an animation is a chunk: a header of 16 bytes, then nested chunks.
        position += 8 + 16 if kind == b"ANMF" else 8 + size + size % 2
    return False
