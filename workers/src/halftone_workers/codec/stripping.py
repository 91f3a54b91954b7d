"""Files without what they tell beside their picture: places, names, comments, and whatever hangs on behind the end.

For images that are kept because compressing makes them no smaller. The picture's own bytes stay as they are; of the
metadata stay the colour profile, the orientation and the copyright notice.
"""

import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from halftone_workers.codec.containers import gif_blocks_end, gif_colour_table_bytes
from halftone_workers.codec.encoders import COPYRIGHT_TAG
from halftone_workers.codec.formats import Format

_ORIENTATION_TAG, _GPS_TAG, _XMP_TAG = 0x0112, 0x8825, 0x02BC

_JPEG_STARTS_SCAN, _JPEG_END = 0xDA, 0xD9
_JPEG_APP0, _JPEG_APP1, _JPEG_APP2, _JPEG_APP14, _JPEG_APP15, _JPEG_COMMENT = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE
_EXIF_HEAD = b"Exif\0\0"

# PNG's chunks that say how the picture looks (critical ones begin with a capital anyway).
_PNG_LOOKS = frozenset(b"tRNS gAMA cHRM sRGB iCCP sBIT bKGD pHYs hIST cICP mDCV cLLI acTL fcTL fdAT".split())
_WEBP_METADATA = {b"EXIF": 0x08, b"XMP ": 0x04}  # and their flags in the VP8X chunk


def strip(data: bytes, source: Format, exif: Image.Exif) -> bytes | None:
    """The file without its metadata; None where it cannot be taken out in place: TIFF, AVIF, and oddly built files."""
    kept = _kept_exif(exif)
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
    except (ValueError, IndexError):
        return None
    return None


def tells_place(image: Image.Image) -> bool:
    """Whether an image has metadata that may say where it was taken."""
    return bool(image.getexif().get_ifd(_GPS_TAG)) or "xmp" in image.info or _XMP_TAG in image.getexif()


def _kept_exif(exif: Image.Exif) -> bytes:
    kept = Image.Exif()
    if exif.get(_ORIENTATION_TAG, 1) != 1:
        kept[_ORIENTATION_TAG] = exif[_ORIENTATION_TAG]
    if notice := exif.get(COPYRIGHT_TAG):
        kept[COPYRIGHT_TAG] = str(notice).encode("latin-1", "replace")
    return kept.tobytes().removeprefix(_EXIF_HEAD) if kept else b""


def _jpeg(data: bytes, exif: bytes) -> bytes:
    parts = [data[:2]]
    if exif:
        parts.append(struct.pack(">BBH", 0xFF, _JPEG_APP1, 2 + len(_EXIF_HEAD) + len(exif)) + _EXIF_HEAD + exif)
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
    """Marker, start and end of each segment behind the first two bytes, scans with their data, up to the end marker."""
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
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if marker == _JPEG_STARTS_SCAN:
            while data[end] != 0xFF or data[end + 1] in (0, 0xFF) or 0xD0 <= data[end + 1] <= 0xD7:
                end = data.index(b"\xff", end + 1)
        yield marker, at, end
        position = end


def _png(data: bytes, exif: bytes) -> bytes:
    parts, position = [data[:8]], 8
    while position + 12 <= len(data):
        size, kind = int.from_bytes(data[position : position + 4]), data[position + 4 : position + 8]
        end = position + 12 + size
        if kind == b"IDAT" and exif:
            parts.append(struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif)))
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
        kind, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        following = position + 8 + size + size % 2
        if kind not in _WEBP_METADATA:
            parts.append(bytearray(data[position:following]))
        position = following
    if parts and parts[0].startswith(b"VP8X"):
        parts[0][8] &= ~sum(_WEBP_METADATA.values()) & 0xFF
        if exif:
            parts[0][8] |= _WEBP_METADATA[b"EXIF"]
            parts.append(bytearray(b"EXIF" + struct.pack("<I", len(exif)) + exif + bytes(len(exif) % 2)))
    content = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def _gif(data: bytes) -> bytes:
    """Without comments and applications' extensions other than the one that says how often an animation plays."""
    position = 13 + gif_colour_table_bytes(data, 10)
    parts = [data[:position]]
    while data[position] != 0x3B:
        start = position
        if data[position] == 0x2C:
            position = gif_blocks_end(data, position + 11 + gif_colour_table_bytes(data, position + 9))
            stays = True
        else:
            label = data[position + 1]
            position = gif_blocks_end(data, position + 2)
            stays = label == 0xF9 or (
                label == 0xFF and data[start + 3 : start + 14] in (b"NETSCAPE2.0", b"ANIMEXTS1.0")
            )
        if stays:
            parts.append(data[start:position])
    return b"".join([*parts, b";"])
