"""What a file says of itself before a decoder touches it, for what decoders find out too late or
never say.
"""

import re
import struct
from collections.abc import Iterator

# A marker of JPEG's other than the escapes and restarts that stand inside a scan's data.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_SEQUENTIAL_FRAMES, _SCAN, _END = frozenset({0xC0, 0xC1}), 0xDA, 0xD9
_WITHOUT_LENGTH = frozenset({0x01, 0xD8, 0xD9})

GIF_IMAGE, GIF_EXTENSION, _GIF_TRAILER = 0x2C, 0x21, 0x3B

_BOXES_AROUND_TIMES = frozenset({b"moov", b"trak", b"mdia"})
_BOXES_WITH_TIMES = frozenset({b"mvhd", b"tkhd", b"mdhd"})


def jpeg_has_more_scans(data: bytes, most: int) -> bool:
    """Whether a JPEG has more scans than that. Their marker's bytes in a profile or behind its end
    are none.
    """
    if _jpeg_has_one_scan(data):
        return False
    # Counting the bytes is quick, and there are no more scans than that.
    return (
        data.count(b"\xff\xda") > most
        and sum(marker == _SCAN for marker, _ in _jpeg_segments(data)) > most
    )


def _jpeg_has_one_scan(data: bytes) -> bool:
    """Whether it is sequential, and all its components are in its first scan: libjpeg refuses a
    second one then.
    """
    components = b""
    for marker, start in _jpeg_segments(data):
        if marker in _SEQUENTIAL_FRAMES:
            components = data[start + 7 : start + 8]
        if marker == _SCAN:
            return components == data[start + 2 : start + 3] != b""
    return False


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """The markers up to the end, and where the segment of each begins."""
    position = 2
    while (found := _MARKER.search(data, position)) is not None:
        marker, position = found[1][0], found.end()
        if marker == _END:
            return
        yield marker, position
        if marker not in _WITHOUT_LENGTH:
            position += int.from_bytes(data[position : position + 2])


def gif_extent(data: bytes) -> tuple[int, int]:
    """Width and height that hold a GIF's screen and all its frames: Pillow enlarges its canvas to a
    frame's end.
    """
    width, height = struct.unpack_from("<HH", data.ljust(10, b"\0"), 6)
    for kind, start, _ in gif_blocks(data):
        if kind == GIF_IMAGE and start + 10 <= len(data):
            left, top, wide, high = struct.unpack_from("<HHHH", data, start + 1)
            width, height = max(width, left + wide), max(height, top + high)
    return width, height


def gif_head_bytes(data: bytes) -> int:
    """How long a GIF's signature, screen and colour table are, which its blocks come behind."""
    return 13 + _gif_colour_table_bytes(data, 10)


def gif_blocks(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Kind, start and end of each image and extension of a GIF, up to its trailer, or its end where
    it has none.
    """
    position = gif_head_bytes(data)
    while position < len(data) and data[position] != _GIF_TRAILER:
        start, kind = position, data[position]
        if kind == GIF_EXTENSION:
            position = _gif_chain_end(data, start + 2)
        elif kind == GIF_IMAGE:
            position = _gif_chain_end(data, start + 11 + _gif_colour_table_bytes(data, start + 9))
        else:
            position += 1  # as Pillow does: what is no block is passed over
            continue
        yield kind, start, position


def _gif_colour_table_bytes(data: bytes, flags_at: int) -> int:
    """How many bytes the colour table has that these flags, of a GIF's screen or of a frame, speak
    of.
    """
    flags = data[flags_at] if flags_at < len(data) else 0
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _gif_chain_end(data: bytes, position: int) -> int:
    """Where a GIF's chain of sub-blocks that begins here has ended."""
    while position < len(data) and data[position]:
        position += data[position] + 1
    return position + 1


def png_bits(data: bytes) -> int:
    """How many bits a channel of a PNG has that Pillow could open."""
    return data[24]


def webp_canvas(data: bytes) -> tuple[int, int] | None:
    """Width and height in a WebP's extended header (RFC 9649, 2.7): libwebp allocates them as soon
    as it is opened.
    """
    if data[12:16] != b"VP8X" or len(data) < 30:
        return None
    return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")


def is_lossless_webp(data: bytes) -> bool:
    """Whether a WebP's first picture is coded without loss (a VP8L chunk, RFC 9649)."""
    position = 12
    while position + 8 <= len(data):
        kind, size = (
            data[position : position + 4],
            int.from_bytes(data[position + 4 : position + 8], "little"),
        )
        if kind in (b"VP8L", b"VP8 "):
            return kind == b"VP8L"
        # An animation's frame is a chunk with 16 bytes of its own, then chunks again.
        position += 8 + 16 if kind == b"ANMF" else 8 + size + size % 2
    return False


def without_times(data: bytes) -> bytes:
    """An AVIF sequence with the times of its making set to zero: the same frames must give the same
    bytes.
    """
    result = bytearray(data)
    _clear_times(result, 0, len(result))
    return bytes(result)


def _clear_times(data: bytearray, start: int, end: int) -> None:
    for kind, inside, following in media_boxes(data, start, end):
        if kind in _BOXES_AROUND_TIMES:
            _clear_times(data, inside, following)
        elif kind in _BOXES_WITH_TIMES:
            both = 16 if data[inside] == 1 else 8
            data[inside + 4 : inside + 4 + both] = bytes(both)


def media_boxes(data: bytearray, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start of the content, and end of each box of an ISO media file (ISO 14496-12, 4.2)."""
    while start + 8 <= end:
        size, kind, inside = (
            int.from_bytes(data[start : start + 4]),
            bytes(data[start + 4 : start + 8]),
            start + 8,
        )
        if size == 0:
            size = end - start
        elif size == 1:
            size, inside = int.from_bytes(data[start + 8 : start + 16]), start + 16
        if not inside - start <= size <= end - start:
            raise ValueError("A box ends behind what it is in.")
        yield kind, inside, start + size
        start += size
