"""Removes metadata from files: places, names, comments, and any data after the picture's end.

It is used for originals that are kept because compression makes them no smaller. The picture's own
bytes do not change. Only the colour profile, the orientation, the copyright notice and the mark of
pictures made by AI remain of the metadata.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress

from PIL import Image

from halftone_shared.model.image_formats import Format
from halftone_workers.codec import metadata
from halftone_workers.codec.containers import media_boxes
from halftone_workers.codec.exif import COPYRIGHT_TAG, EXIF_HEAD, only_kept, read_exif
from halftone_workers.codec.metadata import Kept
from halftone_workers.codec.sources.gif import GIF_IMAGE, blocks, head_bytes
from halftone_workers.codec.sources.png import chunk
from halftone_workers.codec.tiff_pages import without_metadata

_GPS_TAG, _XMP_TAG = 0x8825, 0x02BC
_XMP_HEAD, _XMP_KEYWORD = b"http://ns.adobe.com/xap/1.0/\0", b"XML:com.adobe.xmp"

_JPEG_STARTS_SCAN, _JPEG_END = 0xDA, 0xD9
# Escaped 255 bytes in a scan's data, and restart markers. They have no length, and decoders ignore
# them outside a scan.
_JPEG_WITHOUT_LENGTH = frozenset({0x00, *range(0xD0, 0xD8)})
_JPEG_APP0, _JPEG_APP1, _JPEG_APP2, _JPEG_APP13 = 0xE0, 0xE1, 0xE2, 0xED
_JPEG_APP14, _JPEG_APP15, _JPEG_COMMENT = 0xEE, 0xEF, 0xFE

# The ancillary PNG chunks that affect how the picture looks. Critical ones are always kept: their
# names start with a capital letter.
_PNG_LOOKS = frozenset(
    b"tRNS gAMA cHRM sRGB iCCP sBIT bKGD pHYs hIST cICP mDCV cLLI acTL fcTL fdAT".split()
)
_PNG_HEAD_BYTES = 33
_AVIF_AROUND_ITEMS = frozenset({b"moov", b"trak"})
_AVIF_FILLERS = frozenset({b"free", b"skip", b"uuid", b"udta"})
_NO_EXIF = Image.Exif().tobytes().removeprefix(EXIF_HEAD)
# All chunks that a WebP's picture needs (RFC 9649), and the metadata flags in the first of them.
_WEBP_LOOKS = frozenset({b"VP8X", b"ICCP", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L"})
_WEBP_EXIF_FLAG, _WEBP_XMP_FLAG = 0x08, 0x04


def strip(data: bytes, source: Format, exif: Image.Exif, kept: Kept | None = None) -> bytes | None:
    """The file without its metadata; None for a file with an unexpected structure.

    `exif`: the file's EXIF, for the orientation. `kept`: further metadata to keep, by default the
    copyright notice in EXIF.
    """
    kept = kept or metadata.kept(exif.get(COPYRIGHT_TAG))
    tags = only_kept(exif)
    if kept.notice:
        tags[COPYRIGHT_TAG] = kept.notice
    kept_exif = tags.tobytes().removeprefix(EXIF_HEAD) if tags else b""
    try:
        match source:
            case Format.JPEG:
                return _jpeg(data, kept_exif, kept)
            case Format.PNG:
                return _png(data, kept_exif, kept)
            case Format.WEBP:
                return _webp(data, kept_exif, kept.xmp())
            case Format.GIF:
                return _gif(data, kept)
            case Format.AVIF:
                return _avif(data, kept_exif, kept.xmp())
            case Format.TIFF:
                notice = kept.notice + b"\0" if kept.notice else b""
                return without_metadata(data, {COPYRIGHT_TAG: notice, _XMP_TAG: kept.xmp()})
            case _:
                return None  # read-only formats: their originals are never kept
    except (ValueError, LookupError, OverflowError, struct.error):
        return None


def tells_place(image: Image.Image, *, has_xmp: bool) -> bool:
    """Whether an image, or any page of a TIFF, has metadata that may reveal where it was taken."""
    for page in range(getattr(image, "n_frames", 1) if image.format == "TIFF" else 1):
        image.seek(page)
        exif = read_exif(image)
        if has_xmp or _XMP_TAG in exif or "xmp" in image.info:
            return True
        try:
            if exif.get_ifd(_GPS_TAG):
                return True
        except Exception:  # noqa: BLE001 - unreadable metadata may contain anything
            return True
    return False


def _jpeg(data: bytes, exif: bytes, kept: Kept) -> bytes:
    parts = [data[:2]]
    if exif:
        parts.append(jpeg_segment(_JPEG_APP1, EXIF_HEAD + exif))
    parts.append(jpeg_metadata(kept))
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
    """Marker, start and end of each segment, from the third byte to the end marker. A scan's
    segment includes its data.
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


def with_metadata(encoded: bytes, output: Format, kept: Kept) -> bytes:
    """Add the metadata to keep that Pillow does not write itself."""
    match output:
        case Format.JPEG:
            added, at = jpeg_metadata(kept), 2
            # After the segments of JFIF, which must be first, and EXIF.
            while encoded[at + 1] in (_JPEG_APP0, _JPEG_APP1):
                at += 2 + int.from_bytes(encoded[at + 2 : at + 4])
        case Format.PNG:
            added, at = png_metadata(kept.exif().removeprefix(EXIF_HEAD), kept), _PNG_HEAD_BYTES
        case Format.GIF:
            added, at = gif_comment(kept), head_bytes(encoded)
        case _:
            return encoded
    return encoded[:at] + added + encoded[at:] if added else encoded


def jpeg_metadata(kept: Kept) -> bytes:
    """The XMP and IPTC segments that a JPEG keeps."""
    xmp, iptc = kept.xmp(), kept.iptc()
    segments = jpeg_segment(_JPEG_APP1, _XMP_HEAD + xmp) if xmp else b""
    return segments + (jpeg_segment(_JPEG_APP13, iptc) if iptc else b"")


def jpeg_segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content


def _png(data: bytes, exif: bytes, kept: Kept) -> bytes:
    added = png_metadata(exif, kept)
    parts, position = [data[:8]], 8
    while position + 12 <= len(data):
        size, kind = (
            int.from_bytes(data[position : position + 4]),
            data[position + 4 : position + 8],
        )
        end = position + 12 + size
        if kind == b"IDAT" and added:
            parts.append(added)
            added = b""
        if kind[:1].isupper() or kind in _PNG_LOOKS:
            parts.append(data[position:end])
        position = end
        if kind == b"IEND":
            break
    return b"".join(parts)


def png_metadata(exif: bytes, kept: Kept) -> bytes:
    """The metadata chunks that a PNG keeps."""
    chunks = chunk(b"eXIf", exif) if exif else b""
    if kept.in_text and kept.notice:
        text = kept.text()
        try:
            chunks += chunk(b"tEXt", b"Copyright\0" + text.encode("latin-1"))
        except UnicodeEncodeError:
            chunks += chunk(b"iTXt", b"Copyright\0\0\0\0\0" + text.encode())
    if xmp := kept.xmp():
        chunks += chunk(b"iTXt", _XMP_KEYWORD + b"\0\0\0\0\0" + xmp)
    return chunks


def _webp(data: bytes, exif: bytes, xmp: bytes) -> bytes:
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
        for flag, name, added in (
            (_WEBP_EXIF_FLAG, b"EXIF", exif),
            (_WEBP_XMP_FLAG, b"XMP ", xmp),
        ):
            if added:
                parts[0][8] |= flag
                head = name + struct.pack("<I", len(added))
                parts.append(bytearray(head + added + bytes(len(added) % 2)))
    content = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def _gif(data: bytes, kept: Kept) -> bytes:
    """Remove comments and extensions, except an animation's loop count and the notice."""
    parts = [data[: head_bytes(data)], gif_comment(kept)]
    for kind, start, end in blocks(data):
        if kind == GIF_IMAGE or _gif_extension_stays(data[start:end]):
            parts.append(data[start:end])
    return b"".join([*parts, b";"])


def gif_comment(kept: Kept) -> bytes:
    """The notice as a GIF's comment; empty if there is none."""
    if not kept.notice:
        return b""
    parts = [kept.notice[at : at + 255] for at in range(0, len(kept.notice), 255)]
    return b"\x21\xfe" + b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def _gif_extension_stays(extension: bytes) -> bool:
    label = extension[1]
    return label == 0xF9 or (label == 0xFF and extension[3:14] in (b"NETSCAPE2.0", b"ANIMEXTS1.0"))


def _avif(data: bytes, exif: bytes, xmp: bytes) -> bytes:
    """Overwrite the metadata without changing the length: boxes refer to absolute offsets."""
    result = bytearray(data)
    end = _avif_end(result)
    _clear_boxes(result, 0, end, exif or _NO_EXIF, xmp)
    return bytes(result[:end]).ljust(len(data), b"\0")


def _avif_end(data: bytearray) -> int:
    """The end of the last box: data after the picture may not be a box."""
    kinds, end = set(), 0
    with suppress(ValueError):
        for kind, _, following in media_boxes(data, 0, len(data)):
            kinds.add(kind)
            end = following
    if end < len(data) and b"mdat" not in kinds:
        raise ValueError("It ends before its picture.")
    return end


def _clear_boxes(data: bytearray, start: int, end: int, exif: bytes, xmp: bytes) -> None:
    for kind, inside, following in media_boxes(data, start, end):
        if kind in _AVIF_AROUND_ITEMS:
            _clear_boxes(data, inside, following, exif, xmp)
        elif kind == b"meta":
            _clear_items(data, inside + 4, following, exif, xmp)
        elif kind in _AVIF_FILLERS:
            data[inside:following] = bytes(following - inside)


def _clear_items(data: bytearray, start: int, end: int, exif: bytes, xmp: bytes) -> None:
    boxes = {kind: (inside, following) for kind, inside, following in media_boxes(data, start, end)}
    if b"iinf" not in boxes:
        return
    kinds = dict(_item_kinds(data, *boxes[b"iinf"]))
    held = 0
    for item, at, size in _item_places(data, boxes[b"iloc"][0], boxes.get(b"idat", (0, 0))[0]):
        held += size
        if at + size > len(data) or held > len(data):
            raise ValueError("A length in the file exceeds the file.")
        if kinds.get(item) == b"mime":  # XMP, which is padded with spaces
            if size < len(xmp):
                raise ValueError("There is no room for what is kept.")
            data[at : at + size] = xmp.ljust(size)
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
    """An item's number, and the offset and length of each of its parts (ISO 14496-12, 8.11.3)."""
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
        number(2)  # data reference index: this file
        base = number(base_size) + (item_data if method == 1 else 0)
        for _ in range(number(2)):
            number(index_size if version else 0)
            offset = number(offset_size)
            yield item, base + offset, number(length_size)
