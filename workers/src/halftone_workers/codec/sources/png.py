"""PNG input: drops chunks that do not matter, and reads declared colours and texts."""

import zlib
from collections.abc import Iterator

from halftone_workers.codec.colour_profiles import (
    MAX_PROFILE_BYTES,
    Primaries,
    is_bright,
    profile_of_code_points,
    profile_of_gamma,
)
from halftone_workers.codec.metadata import photoshop_iptc
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.sources.prepared import Prepared, check_pixels, corrupt

# 50 MB are 6,400 chunks of 8 kB. Each chunk costs time, here and in Pillow.
MAX_PNG_CHUNKS = 250_000
# A notice is short. Only this much of a compressed text is unpacked.
_MAX_TEXT_BYTES = 4 * 1024**2

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
# The ancillary chunks that are passed on to Pillow. Like browsers, accept a wrong checksum of pixel
# data.
_SHOWN = frozenset({b"tRNS", b"acTL", b"fcTL", b"fdAT", b"eXIf"})
_DECLARES = frozenset({b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP"})
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_XMP_KEYWORD = "XML:com.adobe.xmp"
# ImageMagick stores IPTC under this keyword, in hexadecimal digits.
_RAW_IPTC = "Raw profile type iptc"
_SRGB_GAMMA, _GAMMA_TOLERANCE = 45_455, 500
_HDR_WARNING = "Colours brighter than white (HDR) were shown as white."


def prepare(data: bytes, limits: CodecLimits) -> Prepared:
    parts = [_SIGNATURE]
    texts: dict[str, str] = {}
    declared: dict[bytes, bytes] = {}
    has_pixels = False
    for kind, content in _chunks(data):
        if kind in _CRITICAL or kind in _SHOWN:
            parts.append(chunk(kind, content))
            has_pixels = has_pixels or kind == b"IDAT"
        elif kind in _DECLARES and not has_pixels:
            declared.setdefault(kind, content)
        elif kind in _TEXTS:
            keyword, text = _text(kind, content)
            texts.setdefault(keyword, text)
        if kind == b"IHDR" and len(content) == 13:
            check_pixels((int.from_bytes(content[:4]), int.from_bytes(content[4:8])), limits)
    if has_pixels:
        parts.append(chunk(b"IEND", b""))
    bits, colour = data[24:25], data[25:26]
    gray = colour in (b"\0", b"\4")
    icc, warnings = _profile(declared, gray=gray)
    return Prepared(
        b"".join(parts) if bits else data,
        icc=icc,
        own_icc=True,
        xmp=texts.get(_XMP_KEYWORD, ""),
        iptc=_raw_iptc(texts.get(_RAW_IPTC, "")),
        text=next((text for name, text in texts.items() if name.lower() == "copyright"), ""),
        warnings=warnings,
    )


def bits_a_channel(data: bytes) -> int:
    """Bits a channel of a PNG that Pillow could open."""
    return data[24]


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return len(content).to_bytes(4) + kind + content + checksum.to_bytes(4)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of each chunk before IEND. Truncated pixel data are included.

    Other ancillary chunks with a wrong checksum are skipped, as in browsers.
    """
    position = len(_SIGNATURE)
    for count in range(MAX_PNG_CHUNKS + 1):
        if position + 8 > len(data):
            return
        size, kind = (
            int.from_bytes(data[position : position + 4]),
            data[position + 4 : position + 8],
        )
        content = data[position + 8 : position + 8 + size]
        if kind == b"IEND":
            return
        if len(content) == size or kind in (b"IDAT", b"fdAT"):
            checksum = data[position + 8 + size : position + 12 + size]
            is_right = kind in (b"IDAT", b"fdAT") or checksum == zlib.crc32(
                content, zlib.crc32(kind)
            ).to_bytes(4)
            if is_right:
                yield kind, content
            elif kind[:1].isupper():
                raise corrupt(f"The PNG's {kind.decode('latin-1')} chunk has a wrong checksum.")
        position += 12 + size
        if count == MAX_PNG_CHUNKS:
            raise corrupt(f"The PNG has more than {MAX_PNG_CHUNKS} chunks.")


def _text(kind: bytes, content: bytes) -> tuple[str, str]:
    """Keyword and text. The text is empty for other keywords and for broken chunks."""
    name, _, rest = content.partition(b"\0")
    keyword = name.decode("latin-1")
    if keyword.lower() != "copyright" and keyword not in (_XMP_KEYWORD, _RAW_IPTC):
        return "", ""
    if kind == b"tEXt":
        return keyword, rest[:_MAX_TEXT_BYTES].decode("latin-1")
    if kind == b"zTXt":
        return keyword, _inflated(rest[1:], _MAX_TEXT_BYTES).decode("latin-1")
    is_compressed = rest[:1] == b"\1"
    _, _, rest = rest[2:].partition(b"\0")
    _, _, stored = rest.partition(b"\0")
    text = _inflated(stored, _MAX_TEXT_BYTES) if is_compressed else stored[:_MAX_TEXT_BYTES]
    return keyword, text.decode(errors="replace")


def _inflated(stored: bytes, most: int) -> bytes:
    """Unpack at most this many bytes of a zlib stream; none of a broken one."""
    try:
        return zlib.decompressobj().decompress(stored, most)
    except zlib.error:
        return b""


def _raw_iptc(text: str) -> bytes:
    """The records in ImageMagick's text: a name, a length, hexadecimal digits."""
    lines = text.strip().split("\n")[2:]
    try:
        stored = bytes.fromhex("".join(lines))
    except ValueError:
        return b""
    return photoshop_iptc(stored) if stored.startswith(b"8BIM") else stored


def _profile(declared: dict[bytes, bytes], *, gray: bool) -> tuple[bytes | None, tuple[str, ...]]:
    """The profile that browsers use (PNG, third edition, 4.3), and a warning for HDR colours."""
    if len(code := declared.get(b"cICP", b"")) == 4 and code[2] == 0:
        icc = profile_of_code_points(code[0], code[1], gray=gray, is_video=False)
        return icc, (_HDR_WARNING,) if is_bright(code[1]) else ()
    if b"iCCP" in declared:
        _, _, rest = declared[b"iCCP"].partition(b"\0")
        return _inflated(rest[1:], MAX_PROFILE_BYTES + 1) or None, ()
    if b"sRGB" in declared or len(declared.get(b"gAMA", b"")) != 4:
        return None, ()
    gamma = int.from_bytes(declared[b"gAMA"])
    primaries = _primaries(declared.get(b"cHRM", b""))
    if not 1000 <= gamma <= 1_000_000:
        return None, ()
    if primaries is None and abs(gamma - _SRGB_GAMMA) <= _GAMMA_TOLERANCE:
        return None, ()
    try:
        return profile_of_gamma(100_000 / gamma, primaries, gray=gray), ()
    except (ZeroDivisionError, OverflowError):
        return None, ()


def _primaries(chunk_of_points: bytes) -> Primaries | None:
    if len(chunk_of_points) != 32:
        return None
    values = [int.from_bytes(chunk_of_points[at : at + 4]) / 100_000 for at in range(0, 32, 4)]
    white, red, green, blue = ((values[at], values[at + 1]) for at in range(0, 8, 2))
    if any(not 0 < y <= 1 or x > 1 for x, y in (white, red, green, blue)):
        return None
    return red, green, blue, white
