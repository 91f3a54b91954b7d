"""ISO media files (AVIF): their boxes, and the times in them."""

from collections.abc import Iterator

_BOXES_AROUND_TIMES = frozenset({b"moov", b"trak", b"mdia"})
_BOXES_WITH_TIMES = frozenset({b"mvhd", b"tkhd", b"mdhd"})


def without_times(data: bytes) -> bytes:
    """Set an AVIF sequence's creation times to 0, so that equal frames give equal bytes."""
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
