"""A TIFF written anew, of nothing but what its pages look like. Pixels are copied as they are
stored.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

_COMPRESSION, _OLD_JPEG = 259, 6
# Where the pixels are, and how many bytes of them: of strips, and of tiles.
_EXTENTS = ((273, 279), (324, 325))
# The tags (TIFF 6.0 and its supplements) that say how the picture looks, with the page's number,
# the copyright notice (33432) and the colour profile (34675).
_LOOKS = frozenset(
    int(tag)
    for tag in (
        b"254 255 256 257 258 259 262 263 266 273 274 277 278 279 280 281 282 283 284 290 291 292 293 296 297 301 317"
        b" 318 319 320 321 322 323 324 325 332 334 336 338 339 340 341 342 347 529 530 531 532 33432 34675 50674"
    ).split()
)
_TYPE_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
# A few bytes that a thousand entries speak of are a way to fill the memory.
_OVERLAPPING = "It speaks of more than it has."
_UNSIGNED = {3: "H", 4: "I", 13: "I", 16: "Q"}


class _Value(NamedTuple):
    kind: int
    length: int
    stored: bytes


_Page = dict[int, _Value]


@dataclass(frozen=True)
class _Layout:
    """Byte order and widths: of a TIFF, or of a BigTIFF."""

    order: str
    big: bool

    @property
    def word(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.big else "I"))

    @property
    def entry_count(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.big else "H"))

    @property
    def entry_head(self) -> struct.Struct:
        return struct.Struct(self.order + ("HHQ" if self.big else "HHI"))

    @property
    def link_at(self) -> int:
        """Where the file says where its first page is described."""
        return 8 if self.big else 4

    def numbers(self, value: _Value) -> tuple[int, ...]:
        return struct.unpack(f"{self.order}{value.length}{_UNSIGNED[value.kind]}", value.stored)

    def of_words(self, numbers: list[int]) -> _Value:
        stored = b"".join(self.word.pack(number) for number in numbers)
        return _Value(16 if self.big else 4, len(numbers), stored)


def without_metadata(data: bytes) -> bytes:
    """The same pages in a file of their own, or the file itself where that is no smaller.

    Raises ValueError, LookupError, OverflowError or struct.error for what is oddly built.
    """
    layout = _Layout("<" if data.startswith(b"II") else ">", big=data[2:4] in (b"+\0", b"\0+"))
    written = bytearray(data[: layout.link_at]) + bytes(layout.word.size)
    link_at = layout.link_at
    copied: dict[tuple[int, int], int] = {}
    for page in _pages(data, layout):
        if _COMPRESSION in page and layout.numbers(page[_COMPRESSION]) == (_OLD_JPEG,):
            raise ValueError("Its tables are stored apart from its pixels.")
        for offsets, sizes in _EXTENTS:
            if offsets in page:
                extents = zip(
                    layout.numbers(page[offsets]), layout.numbers(page[sizes]), strict=True
                )
                page[offsets] = layout.of_words(
                    [_copy(data, extent, written, copied) for extent in extents]
                )
        link_at = _write_page(page, layout, written, link_at)
    return bytes(written) if len(written) < len(data) else data


def _pages(data: bytes, layout: _Layout) -> Iterator[_Page]:
    (at,) = layout.word.unpack_from(data, layout.link_at)
    seen, held = set(), 0
    while at and at not in seen:
        seen.add(at)
        (count,) = layout.entry_count.unpack_from(data, at)
        at += layout.entry_count.size
        page: _Page = {}
        for _ in range(count):
            tag, kind, length = layout.entry_head.unpack_from(data, at)
            at += layout.entry_head.size
            if tag in _LOOKS:
                size = _TYPE_BYTES[kind] * length
                held += size
                if held > len(data):
                    raise ValueError(_OVERLAPPING)
                (start,) = layout.word.unpack_from(data, at) if size > layout.word.size else (at,)
                page[tag] = _Value(kind, length, _part(data, start, size))
            at += layout.word.size
        yield page
        (at,) = layout.word.unpack_from(data, at)


def _part(data: bytes, start: int, size: int) -> bytes:
    part = data[start : start + size]
    if len(part) < size:
        raise ValueError("It ends before what it speaks of.")
    return part


def _copy(
    data: bytes, extent: tuple[int, int], written: bytearray, copied: dict[tuple[int, int], int]
) -> int:
    """Where the pixels now are. Pages may share them."""
    if extent not in copied:
        copied[extent] = len(written)
        written += _part(data, *extent)
        if len(written) > len(data):
            raise ValueError(_OVERLAPPING)
    return copied[extent]


def _append_aligned(written: bytearray, part: bytes) -> int:
    """Where it is: all but pixels begin at even places."""
    written += bytes(len(written) % 2)
    written += part
    return len(written) - len(part)


def _write_page(page: _Page, layout: _Layout, written: bytearray, link_at: int) -> int:
    """Append a page's description, and tell where it is there; gives where the next one is to be
    told.
    """
    entries = layout.entry_count.pack(len(page))
    for tag, value in sorted(page.items()):
        stored = value.stored
        if len(stored) > layout.word.size:
            stored = layout.word.pack(_append_aligned(written, stored))
        entries += layout.entry_head.pack(tag, value.kind, value.length) + stored.ljust(
            layout.word.size, b"\0"
        )
    layout.word.pack_into(
        written, link_at, _append_aligned(written, entries + bytes(layout.word.size))
    )
    return len(written) - layout.word.size
