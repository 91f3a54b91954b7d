"""JPEG input: checks its kind, segments and scans, and adds a missing end marker."""

import io
import re
from collections.abc import Iterator

from PIL import Image

from halftone_workers.codec.metadata import photoshop_iptc
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.sources.prepared import (
    Prepared,
    check_pixels,
    corrupt,
    unsupported,
)

# A progressive JPEG has about 10 scans. Thousands of them waste CPU time (388 KB: 40 s).
MAX_JPEG_SCANS = 64
# Metadata of 50 MB has 800 segments. Pillow keeps each: millions cost minutes and gigabytes.
MAX_JPEG_SEGMENTS = 4096

# Any marker except escapes and restarts, which occur inside a scan's data.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_SEQUENTIAL_FRAMES, _PROGRESSIVE = frozenset({0xC0, 0xC1}), 0xC2
_FRAMES = frozenset({*range(0xC0, 0xD0)}) - {0xC4, 0xC8, 0xCC}
_KINDS = {
    0xC3: "lossless",
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xC7: "hierarchical",
    0xC9: "arithmetic-coded",
    0xCA: "arithmetic-coded",
    0xCB: "arithmetic-coded",
    0xCD: "arithmetic-coded",
    0xCE: "arithmetic-coded",
    0xCF: "arithmetic-coded",
}
SCAN, _END, _APP1, _APP13 = 0xDA, 0xD9, 0xE1, 0xED
_WITHOUT_LENGTH = frozenset({0x01, 0xD8, 0xD9})
_XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
END_MARKER = b"\xff\xd9"
# If these bytes are decoded as picture data, the result differs from the zeros with which libjpeg
# continues a truncated file.
_NOISE = bytes(range(1, 255)) * 2


def prepare(data: bytes, limits: CodecLimits) -> Prepared:
    """Raises ImageRefused for kinds that libjpeg does not read, and if a limit is exceeded."""
    xmp, iptc = b"", b""
    frame: tuple[int, int] | None = None
    for count, (marker, start) in enumerate(segments(data)):
        if count > MAX_JPEG_SEGMENTS:
            raise corrupt(f"The JPEG has more than {MAX_JPEG_SEGMENTS} segments.")
        content = data[start + 2 : start + int.from_bytes(data[start : start + 2])]
        if marker == _APP1 and content.startswith(_XMP_HEAD):
            xmp = content[len(_XMP_HEAD) :]
        elif marker == _APP13:
            iptc = iptc or photoshop_iptc(content)
        elif marker in _FRAMES:
            frame = frame or (marker, start)
        elif marker == SCAN:
            break
    if frame is not None:
        _check_kind(data, *frame, limits)
    if has_more_scans(data, MAX_JPEG_SCANS):
        raise corrupt(f"The JPEG has more than {MAX_JPEG_SCANS} scans.")
    if not data.endswith(END_MARKER) and not _has_end(data):
        data = _ended(data, progressive=frame is not None and frame[0] == _PROGRESSIVE)
    return Prepared(data, xmp=xmp, iptc=iptc)


def _check_kind(data: bytes, marker: int, start: int, limits: CodecLimits) -> None:
    bits = data[start + 2] if start + 2 < len(data) else 8
    if marker in _KINDS:
        raise unsupported(f"The JPEG is {_KINDS[marker]}; only baseline and progressive are read.")
    if bits != 8:
        raise unsupported(f"The JPEG has {bits} bits a channel; only 8 are read.")
    if start + 7 <= len(data):
        height, width = (int.from_bytes(data[start + at : start + at + 2]) for at in (3, 5))
        check_pixels((width, height), limits)


def has_more_scans(data: bytes, most: int) -> bool:
    """Whether a JPEG has more than `most` scans. The bytes of a scan marker inside a profile or
    after the end do not count.
    """
    if _has_one_scan(data):
        return False
    # Counting the marker's bytes is fast, and gives an upper bound.
    if data.count(b"\xff\xda") <= most:
        return False
    scans = 0
    for count, (marker, _) in enumerate(segments(data)):
        scans += marker == SCAN
        if scans > most:
            return True
        if count > MAX_JPEG_SEGMENTS:
            raise corrupt(f"The JPEG has more than {MAX_JPEG_SEGMENTS} segments.")
    return False


def _has_one_scan(data: bytes) -> bool:
    """Whether it is sequential and its first scan has all components: libjpeg then refuses a second
    scan.
    """
    components = b""
    for marker, start in segments(data):
        if marker in _SEQUENTIAL_FRAMES:
            components = data[start + 7 : start + 8]
        if marker == SCAN:
            return components == data[start + 2 : start + 3] != b""
    return False


def segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Each marker before the end marker, and the start of its segment."""
    position = 2
    while (found := _MARKER.search(data, position)) is not None:
        marker, position = found[1][0], found.end()
        if marker == _END:
            return
        yield marker, position
        if marker not in _WITHOUT_LENGTH:
            position += int.from_bytes(data[position : position + 2])


def _has_end(data: bytes) -> bool:
    """Whether an end marker follows the last scan's data. Bytes after it do not matter."""
    if END_MARKER not in data:
        return False
    position = 2
    for count, (marker, start) in enumerate(segments(data)):
        if count > MAX_JPEG_SEGMENTS:
            return True  # more segments than in any real picture: stop searching
        position = (
            start if marker in _WITHOUT_LENGTH else start + int.from_bytes(data[start : start + 2])
        )
    found = _MARKER.search(data, position)
    return found is not None and found[1][0] == _END


def _ended(data: bytes, *, progressive: bool) -> bytes:
    """Add the missing end marker to a JPEG. Return it unchanged if parts of the picture are missing
    as well.

    Some cameras and phones omit the marker. The test decodes the file with noise instead of the
    marker: a complete picture ignores the noise, a truncated one shows it.
    """
    if progressive and not _is_refined(data):
        return data
    ended = data + END_MARKER
    try:
        whole = _decoded(ended) == _decoded(data + _NOISE + END_MARKER)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - Pillow's decoders raise anything; the one who decodes it says so
        return data
    return ended if whole else data


def _decoded(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return image.tobytes()


def _is_refined(data: bytes) -> bool:
    """Whether a progressive JPEG's scans contain every coefficient down to its last bit."""
    components: set[int] = set()
    missing_bits: dict[tuple[int, int], int] = {}
    for marker, start in segments(data):
        if marker == _PROGRESSIVE:
            count = int.from_bytes(data[start + 7 : start + 8])
            components = set(data[start + 8 : start + 8 + 3 * count : 3])
        elif marker == SCAN and start + 2 < len(data):
            count = data[start + 2]
            scan = data[start + 3 : start + 3 + 2 * count + 3]
            if len(scan) < 2 * count + 3:
                return False
            first, last, bits = scan[2 * count :]
            for component in scan[: 2 * count : 2]:
                for coefficient in range(first, min(last, 63) + 1):
                    missing_bits[component, coefficient] = bits & 0xF
    return all(
        missing_bits.get((component, coefficient)) == 0
        for component in components
        for coefficient in range(64)
    )
