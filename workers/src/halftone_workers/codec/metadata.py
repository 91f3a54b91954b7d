"""The metadata that compression keeps: the copyright notice, and the mark of AI pictures.

Copyright notices are read from EXIF, IPTC (2:116), XMP (dc:rights) and PNG text. IPTC's
DigitalSourceType, which marks pictures made by AI, is read from XMP. All other metadata is dropped.
"""

import re
import struct
from dataclasses import dataclass
from html import escape, unescape

from PIL import Image

from halftone_workers.codec.exif import COPYRIGHT_TAG

# A notice is a few lines. Longer text may contain anything, and every result would carry it.
MAX_NOTICE_BYTES = 4096
# XMP packets have a few kilobytes. Only this much is searched.
_MAX_XMP_BYTES = 4 * 1024**2

_DC = "http://purl.org/dc/elements/1.1/"
_IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_SOURCE_TYPE = re.compile(r"(?:https?://cv\.iptc\.org/newscodes/digitalsourcetype/)?[A-Za-z]{1,64}")
_LIST_ITEM = re.compile(r"<(?:\w+:)?li\b[^>]*>(.*?)</(?:\w+:)?li>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")

_PHOTOSHOP = b"Photoshop 3.0\0"
_IPTC_RESOURCE = 0x0404
_IPTC_UTF8 = b"\x1c\x01\x5a\x00\x03\x1b%G"
_XMP_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\
<x:xmpmeta xmlns:x="adobe:ns:meta/">\
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\
<rdf:Description rdf:about="" xmlns:dc="{dc}" xmlns:Iptc4xmpExt="{iptc}">{content}\
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


@dataclass(frozen=True)
class Kept:
    """The metadata of one image that its results carry.

    `notice`: the copyright notice, in UTF-8 or as stored in EXIF; empty if there is none. A result
    has it in EXIF, and also where the source had it: `in_xmp`, `in_iptc` (JPEG), `in_text` (PNG).
    `source_type`: IPTC's DigitalSourceType, always in XMP.
    """

    notice: bytes = b""
    source_type: str = ""
    in_xmp: bool = False
    in_iptc: bool = False
    in_text: bool = False

    def exif(self) -> bytes:
        """EXIF that holds the notice and nothing else; empty if there is no notice."""
        return self.exif_tags().tobytes() if self.notice else b""

    def exif_tags(self) -> Image.Exif:
        tags = Image.Exif()
        if self.notice:
            tags[COPYRIGHT_TAG] = self.notice
        return tags

    def xmp(self) -> bytes:
        """An XMP packet of the source type and, if the source had it there, the notice."""
        content = ""
        if self.in_xmp and self.notice:
            content += (
                '<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">'
                f"{escape(self.text())}</rdf:li></rdf:Alt></dc:rights>"
            )
        if self.source_type:
            content += (
                "<Iptc4xmpExt:DigitalSourceType>"
                f"{escape(self.source_type)}</Iptc4xmpExt:DigitalSourceType>"
            )
        if not content:
            return b""
        return _XMP_PACKET.format(dc=_DC, iptc=_IPTC_EXT, content=content).encode()

    def iptc(self) -> bytes:
        """The content of a JPEG's APP13 segment with the notice as IPTC 2:116."""
        if not self.in_iptc or not self.notice:
            return b""
        notice = self.text().encode()
        record = _IPTC_UTF8 + b"\x1c\x02\x74" + struct.pack(">H", len(notice)) + notice
        head = b"8BIM" + struct.pack(">HH", _IPTC_RESOURCE, 0) + struct.pack(">I", len(record))
        return _PHOTOSHOP + head + record + bytes(len(record) % 2)

    def text(self) -> str:
        """The notice as text: UTF-8, or else Latin-1."""
        return _decoded(self.notice)


def kept(
    exif_notice: object = None, xmp: bytes | str = b"", iptc: bytes = b"", text: str = ""
) -> Kept:
    """Select the metadata to keep. Uses the first notice found in EXIF, XMP, IPTC and text.

    `exif_notice`: EXIF's value as Pillow gives it. `iptc`: IPTC records (IIM), not Photoshop's.
    """
    document = _xmp_text(xmp)
    rights, from_iptc = _xmp_value(document, _DC, "rights"), iptc_notice(iptc)
    source_type = _xmp_value(document, _IPTC_EXT, "DigitalSourceType")
    notices = (_exif_bytes(exif_notice), rights.encode(), from_iptc, text.strip().encode())
    notice = next((one for one in notices if one.strip(b"\0 ")), b"")
    return Kept(
        _shortened(notice),
        source_type if _SOURCE_TYPE.fullmatch(source_type) else "",
        in_xmp=bool(rights),
        in_iptc=bool(from_iptc),
        in_text=bool(text.strip()),
    )


def photoshop_iptc(content: bytes) -> bytes:
    """The IPTC records in Photoshop's image resources, as JPEG's APP13 holds them."""
    content = content.removeprefix(_PHOTOSHOP)
    position = 0
    while content[position : position + 4] == b"8BIM":
        kind, name_bytes = struct.unpack_from(
            ">HB", content.ljust(position + 7, b"\0"), position + 4
        )
        position += 6 + (name_bytes + 2) // 2 * 2
        size = int.from_bytes(content[position : position + 4])
        if kind == _IPTC_RESOURCE:
            return content[position + 4 : position + 4 + size]
        position += 4 + size + size % 2
    return b""


def iptc_notice(records: bytes) -> bytes:
    """The copyright notice (2:116) among IPTC records, in UTF-8."""
    position = 0
    while position + 5 <= len(records) and records[position] == 0x1C:
        record, dataset, size = struct.unpack_from(">BBH", records, position + 1)
        position += 5
        if (record, dataset) == (2, 116) and size < 0x8000:
            return _decoded(records[position : position + size]).strip("\0 ").encode()
        position += size
    return b""


def _exif_bytes(value: object) -> bytes:
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    try:
        return str(value).encode("latin-1")
    except UnicodeEncodeError:
        return str(value).encode()


def _shortened(notice: bytes) -> bytes:
    if len(notice) <= MAX_NOTICE_BYTES:
        return notice
    cut = notice[:MAX_NOTICE_BYTES]
    try:
        notice.decode()
    except UnicodeDecodeError:
        return cut
    return cut.decode(errors="ignore").encode()


def _decoded(some: bytes) -> str:
    try:
        return some.decode()
    except UnicodeDecodeError:
        return some.decode("latin-1")


def _xmp_text(xmp: bytes | str) -> str:
    if isinstance(xmp, str):
        return xmp[:_MAX_XMP_BYTES]
    xmp = bytes(xmp[:_MAX_XMP_BYTES])
    if b"\0" in xmp[:64]:
        return xmp.decode("utf-16-be" if xmp[:1] == b"\0" else "utf-16-le", "replace")
    return xmp.decode(errors="replace")


def _xmp_value(document: str, namespace: str, name: str) -> str:
    """A property's text, or its first list item's: an element or an attribute. Empty if absent.

    Uses a text search instead of an XML parser: packets are often broken, and parsers expand
    entities.
    """
    for prefix in dict.fromkeys(
        re.findall(rf"xmlns:([\w.-]{{1,64}})\s*=\s*[\"']{re.escape(namespace)}[\"']", document)
    ):
        label = re.escape(f"{prefix}:{name}")
        if (
            found := re.search(rf"\s{label}\s*=\s*([\"'])(.*?)\1", document, re.DOTALL)
        ) is not None:
            return unescape(found[2]).strip()
        if (start := re.search(rf"<{label}\b[^>]*>", document)) is None:
            continue
        if start[0].endswith("/>"):
            resource = re.search(r"resource\s*=\s*([\"'])(.*?)\1", start[0])
            return unescape(resource[2]).strip() if resource else ""
        end = document.find(f"</{prefix}:{name}>", start.end())
        content = document[start.end() : end] if end >= 0 else ""
        item = _LIST_ITEM.search(content)
        return unescape(_TAG.sub("", item[1] if item else content)).strip()
    return ""
