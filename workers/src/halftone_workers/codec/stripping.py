"""Files without what they tell beside their picture: places, names, comments, and whatever hangs on
behind the end.

For images that are kept because compressing makes them no smaller. The picture's own bytes stay as
they are; of the metadata stay the colour profile, the orientation and the copyright notice.
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

from PIL import Image

from halftone_workers.codec.containers import GIF_IMAGE, gif_blocks, gif_head_bytes, media_boxes
from halftone_workers.codec.exif import EXIF_HEAD, only_kept, read_exif
from halftone_workers.codec.formats import Format
from halftone_workers.codec.tiff_pages import without_metadata

_GPS_TAG, _XMP_TAG = 0x8825, 0x02BC

_JPEG_STARTS_SCAN, _JPEG_END = 0xDA, 0xD9
# A lone 255 in a scan's data, and restart markers. They have no length, and outside a scan decoders
# pass over them.
_JPEG_WITHOUT_LENGTH = frozenset({0x00, *range(0xD0, 0xD8)})
_JPEG_APP0, _JPEG_APP1, _JPEG_APP2, _JPEG_APP14, _JPEG_APP15, _JPEG_COMMENT = (
    0xE0,
    0xE1,
    0xE2,
    0xEE,
    0xEF,
    0xFE,
)

# PNG's chunks that say how the picture looks (critical ones begin with a capital anyway).
_PNG_LOOKS = frozenset(
    b"tRNS gAMA cHRM sRGB iCCP sBIT bKGD pHYs hIST cICP mDCV cLLI acTL fcTL fdAT".split()
)
_AVIF_AROUND_ITEMS = frozenset({b"moov", b"trak"})
_AVIF_FILLERS = frozenset({b"free", b"skip", b"uuid", b"udta"})
_NO_EXIF = Image.Exif().tobytes().removeprefix(EXIF_HEAD)
# All chunks that a WebP's picture needs (RFC 9649), and the flags of its metadata in the first.
_WEBP_LOOKS = frozenset({b"VP8X", b"ICCP", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L"})
_WEBP_EXIF_FLAG, _WEBP_XMP_FLAG = 0x08, 0x04


def strip(data: bytes, source: Format, exif: Image.Exif) -> bytes | None:
    """The file without its metadata, `exif` being what it has of these; None of an oddly built
    file.
    """
    remaining = only_kept(exif)
    kept = remaining.tobytes().removeprefix(EXIF_HEAD) if remaining else b""
    try:
        match source:
            case Format.JPEG:
                return _jpeg(data, kept)
            case Format.PNG:
                return _png(data, kept)
            case Format.WEBP:
                return _webp(data, kept)
            case Format.GIF:
                return _gif(data)
            case Format.AVIF:
                return _avif(data, kept)
            case Format.TIFF:
                return without_metadata(data)
    except (ValueError, LookupError, OverflowError, struct.error):
        return None


def tells_place(image: Image.Image) -> bool:
    """Whether an image, or another page of a TIFF, has metadata that may say where it was taken."""
    for page in range(getattr(image, "n_frames", 1) if image.format == "TIFF" else 1):
        image.seek(page)
        exif = read_exif(image)
        if _XMP_TAG in exif or "xmp" in image.info:
            return True
        try:
            if exif.get_ifd(_GPS_TAG):
                return True
        except Exception:  # noqa: BLE001 - what cannot be read may say anything
            return True
    return False


def _jpeg(data: bytes, exif: bytes) -> bytes:
    parts = [data[:2]]
    if exif:
        parts.append(
            struct.pack(">BBH", 0xFF, _JPEG_APP1, 2 + len(EXIF_HEAD) + len(exif)) + EXIF_HEAD + exif
        )
    for marker, start, end in _jpeg_parts(data):
        if not _jpeg_part_goes(marker, data[start + 4 : end]):
            parts.append(data[start:end])
    return b"".join(parts)


def _jpeg_part_goes(marker: int, content: bytes) -> bool:
    if marker == _JPEG_COMMENT:
        return True
    if not _JPEG_APP0 <= marker <= _JPEG_APP15 or marker in (_JPEG_APP0, _JPEG_APP14):
        return False
    return not (marker == _JPEG_APP2 and content.startswith(b"ICC_PROFILE\0"))


def _jpeg_parts(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment behind the first two bytes, scans with their data, up
    to the end marker.
    """
    position = 2
    while position + 2 <= len(data):
        start = data.index(b"\xff", position)
        at = start
        while data[at + 1] == 0xFF:
            at += 1
        marker = data[at + 1]
        if marker == _JPEG_END:
            yield marker, at, at + 2
            return
        if marker in _JPEG_WITHOUT_LENGTH:
            position = at + 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if marker == _JPEG_STARTS_SCAN:
            while (
                data[end] != 0xFF or data[end + 1] == 0xFF or data[end + 1] in _JPEG_WITHOUT_LENGTH
            ):
                end = data.index(b"\xff", end + 1)
        yield marker, at, end
        position = end


def _png(data: bytes, exif: bytes) -> bytes:
    parts, position = [data[:8]], 8
    while position + 12 <= len(data):
        size, kind = (
            int.from_bytes(data[position : position + 4]),
            data[position + 4 : position + 8],
        )
        end = position + 12 + size
        if kind == b"IDAT" and exif:
            parts.append(
                struct.pack(">I", len(exif))
                + b"eXIf"
                + exif
                + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
            )
            exif = b""
        if kind[:1].isupper() or kind in _PNG_LOOKS:
            parts.append(data[position:end])
        position = end
        if kind == b"IEND":
            break
    return b"".join(parts)


def _webp(data: bytes, exif: bytes) -> bytes:
    parts, position = [], 12
    end = min(8 + int.from_bytes(data[4:8], "little"), len(data))
    while position + 8 <= end:
        kind, size = (
            data[position : position + 4],
            int.from_bytes(data[position + 4 : position + 8], "little"),
        )
        following = position + 8 + size + size % 2
        if kind in _WEBP_LOOKS:
            parts.append(bytearray(data[position:following]))
        position = following
    if parts and parts[0].startswith(b"VP8X"):
        parts[0][8] &= ~(_WEBP_EXIF_FLAG | _WEBP_XMP_FLAG) & 0xFF
        if exif:
            parts[0][8] |= _WEBP_EXIF_FLAG
            parts.append(
                bytearray(b"EXIF" + struct.pack("<I", len(exif)) + exif + bytes(len(exif) % 2))
            )
    content = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def _gif(data: bytes) -> bytes:
    """Without comments and applications' extensions other than the one that says how often an
    animation plays.
    """
    parts = [data[: gif_head_bytes(data)]]
    for kind, start, end in gif_blocks(data):
        if kind == GIF_IMAGE or _gif_extension_stays(data[start:end]):
            parts.append(data[start:end])
    return b"".join([*parts, b";"])


def _gif_extension_stays(extension: bytes) -> bool:
    label = extension[1]
    return label == 0xF9 or (label == 0xFF and extension[3:14] in (b"NETSCAPE2.0", b"ANIMEXTS1.0"))


def _avif(data: bytes, exif: bytes) -> bytes:
    """Of the same length, as its parts are found by their places: what tells something is written
    over.
    """
    result = bytearray(data)
    end = _avif_end(result)
    _clear_boxes(result, 0, end, exif or _NO_EXIF)
    return bytes(result[:end]).ljust(len(data), b"\0")


def _avif_end(data: bytearray) -> int:
    """Where the boxes have ended: what hangs on behind the picture may be none."""
    kinds, end = set(), 0
    with suppress(ValueError):
        for kind, _, following in media_boxes(data, 0, len(data)):
            kinds.add(kind)
            end = following
    if end < len(data) and b"mdat" not in kinds:
        raise ValueError("It ends before its picture.")
    return end


def _clear_boxes(data: bytearray, start: int, end: int, exif: bytes) -> None:
    for kind, inside, following in media_boxes(data, start, end):
        if kind in _AVIF_AROUND_ITEMS:
            _clear_boxes(data, inside, following, exif)
        elif kind == b"meta":
            _clear_items(data, inside + 4, following, exif)
        elif kind in _AVIF_FILLERS:
            data[inside:following] = bytes(following - inside)


def _clear_items(data: bytearray, start: int, end: int, exif: bytes) -> None:
    boxes = {kind: (inside, following) for kind, inside, following in media_boxes(data, start, end)}
    if b"iinf" not in boxes:
        return
    kinds = dict(_item_kinds(data, *boxes[b"iinf"]))
    held = 0
    for item, at, size in _item_places(data, boxes[b"iloc"][0], boxes.get(b"idat", (0, 0))[0]):
        held += size
        if at + size > len(data) or held > len(data):
            raise ValueError("It speaks of more than it has.")
        if kinds.get(item) == b"mime":  # XMP; blanks are what it is padded with
            data[at : at + size] = b" " * size
        elif kinds.get(item) == b"Exif":
            if size < 4 + len(exif):
                raise ValueError("There is no room for what is kept.")
            data[at : at + size] = (bytes(4) + exif).ljust(size, b"\0")


def _item_kinds(data: bytearray, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The number and the kind of each item (ISO 14496-12, 8.11.6)."""
    entries = start + (6 if data[start] == 0 else 8)
    for _, inside, _ in media_boxes(data, entries, end):
        wide = data[inside] == 3
        number_end = inside + (8 if wide else 6)
        yield (
            int.from_bytes(data[inside + 4 : number_end]),
            bytes(data[number_end + 2 : number_end + 6]),
        )


def _item_places(data: bytearray, start: int, item_data: int) -> Iterator[tuple[int, int, int]]:
    """An item's number, and where one of its parts is and how long (ISO 14496-12, 8.11.3)."""
    position = start + 6

    def number(size: int) -> int:
        nonlocal position
        position += size
        if position > len(data):
            raise ValueError("It ends within a list.")
        return int.from_bytes(data[position - size : position])

    version, sizes = data[start], int.from_bytes(data[start + 4 : start + 6])
    offset_size, length_size, base_size, index_size = (
        sizes >> shift & 0xF for shift in (12, 8, 4, 0)
    )
    if not length_size:
        raise ValueError("Its items have no lengths.")
    wide = 4 if version == 2 else 2
    for _ in range(number(wide)):
        item, method = number(wide), number(2) & 0xF if version else 0
        number(2)  # the file that it is in: this one
        base = number(base_size) + (item_data if method == 1 else 0)
        for _ in range(number(2)):
            number(index_size if version else 0)
            offset = number(offset_size)
            yield item, base + offset, number(length_size)
