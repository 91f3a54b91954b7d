"""Reads TIFF files page by page and rewrites them, copying the stored pixels unchanged."""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

COMPRESSION, _OLD_JPEG = 259, 6
# The tags with offsets and byte counts of the pixels: for strips, and for tiles.
EXTENTS = ((273, 279), (324, 325))
# The tags (TIFF 6.0 and its supplements) that affect how the picture looks, the page number, the
# copyright notice (33432) and the colour profile (34675).
_LOOKS = frozenset(
    int(tag)
    for tag in (
        b"254 255 256 257 258 259 262 263 266 273 274 277 278 279 280 281 282 283 284 290 291"
        b" 292 293 296 297 301 317 318 319 320 321 322 323 324 325 332 334 336 338 339 340 341"
        b" 342 347 529 530 531 532 33432 34675 50674"
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
# A thousand entries that refer to the same bytes could fill the memory, so they are refused.
_OVERLAPPING = "A length in the file exceeds the file."
_BYTES = 1
_UNSIGNED = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}


class Value(NamedTuple):
    """A tag's value: its type, the count of numbers, their bytes, and the bytes' offset."""

    kind: int
    length: int
    stored: bytes
    at: int = 0


Page = dict[int, Value]


@dataclass(frozen=True)
class Layout:
    """Byte order and field widths of a TIFF or BigTIFF."""

    order: str
    big: bool

    @classmethod
    def of(cls, data: bytes) -> "Layout":
        return cls("<" if data.startswith(b"II") else ">", big=data[2:4] in (b"+\0", b"\0+"))

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
        """The offset of the link to the first page's description."""
        return 8 if self.big else 4

    def numbers(self, value: Value) -> tuple[int, ...]:
        """Raises LookupError for a type other than an unsigned number."""
        return struct.unpack(f"{self.order}{value.length}{_UNSIGNED[value.kind]}", value.stored)

    def of_words(self, numbers: list[int]) -> Value:
        stored = b"".join(self.word.pack(number) for number in numbers)
        return Value(16 if self.big else 4, len(numbers), stored)


def without_metadata(data: bytes, added: Mapping[int, bytes]) -> bytes:
    """Rewrite the pages without metadata. Returns the file itself if the result is no smaller.

    `added`: byte tags for the first page, such as a copyright notice. Raises ValueError,
    LookupError, OverflowError or struct.error for a file with an unexpected structure.
    """
    written = _rewritten(data, None, None, added)
    return written if len(written) < len(data) else data


def with_stored_pixels(data: bytes, store: Callable[[bytes], bytes], compression: int) -> bytes:
    """Store the pixels of uncompressed pages with another compression.

    Raises as `without_metadata` does.
    """
    return _rewritten(data, store, compression, {})


def _rewritten(
    data: bytes,
    store: Callable[[bytes], bytes] | None,
    compression: int | None,
    added: Mapping[int, bytes],
) -> bytes:
    layout = Layout.of(data)
    written = bytearray(data[: layout.link_at]) + bytes(layout.word.size)
    link_at = layout.link_at
    copies = _Copies(data, written)
    for number, page in enumerate(pages(data, layout, _LOOKS)):
        if COMPRESSION in page and layout.numbers(page[COMPRESSION]) == (_OLD_JPEG,):
            raise ValueError("Its tables are stored apart from its pixels.")
        is_uncompressed = COMPRESSION not in page or layout.numbers(page[COMPRESSION]) == (1,)
        stores = store if is_uncompressed else None
        for offsets, sizes in EXTENTS:
            if offsets in page:
                extents = zip(
                    layout.numbers(page[offsets]), layout.numbers(page[sizes]), strict=True
                )
                places = [copies.place(extent, stores) for extent in extents]
                page[offsets] = layout.of_words([start for start, _ in places])
                page[sizes] = layout.of_words([size for _, size in places])
        if stores is not None and compression is not None:
            page[COMPRESSION] = Value(3, 1, struct.pack(layout.order + "H", compression))
        if number == 0:
            page |= {tag: Value(_BYTES, len(value), value) for tag, value in added.items() if value}
        link_at = _write_page(page, layout, written, link_at)
    return bytes(written)


def has_more_pages(data: bytes, most: int) -> bool:
    """Whether a TIFF has more than `most` pages. Their tags are not read."""
    layout = Layout.of(data)
    link_at, seen = layout.link_at, set[int]()
    try:
        while (at := layout.word.unpack_from(data, link_at)[0]) and at not in seen:
            seen.add(at)
            if len(seen) > most:
                return True
            (count,) = layout.entry_count.unpack_from(data, at)
            entry_bytes = layout.entry_head.size + layout.word.size
            link_at = at + layout.entry_count.size + count * entry_bytes
    except (struct.error, OverflowError):
        pass  # the chain ends outside the file
    return False


def pages(data: bytes, layout: Layout, tags: frozenset[int]) -> Iterator[Page]:
    """The pages' values of these tags. Raises as `without_metadata` does."""
    (at,) = layout.word.unpack_from(data, layout.link_at)
    seen, held = set(), 0
    while at and at not in seen:
        seen.add(at)
        (count,) = layout.entry_count.unpack_from(data, at)
        at += layout.entry_count.size
        page: Page = {}
        for _ in range(count):
            tag, kind, length = layout.entry_head.unpack_from(data, at)
            at += layout.entry_head.size
            if tag in tags:
                size = _TYPE_BYTES[kind] * length
                held += size
                if held > len(data):
                    raise ValueError(_OVERLAPPING)
                (start,) = layout.word.unpack_from(data, at) if size > layout.word.size else (at,)
                page[tag] = Value(kind, length, _part(data, start, size), start)
            at += layout.word.size
        yield page
        (at,) = layout.word.unpack_from(data, at)


def _part(data: bytes, start: int, size: int) -> bytes:
    part = data[start : start + size]
    if len(part) < size:
        raise ValueError("It ends before what it speaks of.")
    return part


class _Copies:
    """The pixels that are copied to the new file. Several pages may share them."""

    def __init__(self, data: bytes, written: bytearray) -> None:
        self._data, self._written = data, written
        self._places: dict[tuple[int, int], tuple[int, int]] = {}
        self._copied = 0

    def place(
        self, extent: tuple[int, int], store: Callable[[bytes], bytes] | None
    ) -> tuple[int, int]:
        """The new offset and byte count of these pixels."""
        if extent not in self._places:
            part = _part(self._data, *extent)
            self._copied += len(part)
            if self._copied > len(self._data):
                raise ValueError(_OVERLAPPING)
            part = store(part) if store else part
            self._places[extent] = len(self._written), len(part)
            self._written += part
        return self._places[extent]


def _append_aligned(written: bytearray, part: bytes) -> int:
    """Append data and return its offset. Everything except pixels starts at an even offset."""
    written += bytes(len(written) % 2)
    written += part
    return len(written) - len(part)


def _write_page(page: Page, layout: Layout, written: bytearray, link_at: int) -> int:
    """Append a page's description and link it. Returns the offset of the next page's link."""
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
