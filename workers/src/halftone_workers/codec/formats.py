"""Tells a file's format by its bytes, never by a file name or Content-Type."""

import codecs
import re

from halftone_shared.model.image_formats import Format

_HEAD_BYTES = 512
_PREAMBLE_BYTES = 64 * 1024
_MARKUP = re.compile(r"\ufeff?\s*[<{\[]")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")
# An SVG is identified by its root element, after an optional XML prolog. The pattern never
# backtracks into the prolog, so that no input makes it slow.
_SVG = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*+"
    rb"(?>(?:<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*+(?:\[.*?\]\s*+)?>)\s*+)*+"
    rb"<(?:[\w.-]++:)?svg[\s/>]",
    re.DOTALL,
)


def sniff(data: bytes) -> Format | None:
    """The format with this signature; None if it is unknown."""
    if data.startswith(b"\xff\xd8\xff"):
        return Format.JPEG
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return Format.PNG
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Format.WEBP
    if data.startswith((b"GIF87a", b"GIF89a")):
        return Format.GIF
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return Format.TIFF
    if data[4:8] == b"ftyp":
        brands = _brands(data)
        if brands & {b"avif", b"avis"}:
            return Format.AVIF
        return Format.HEIC if brands & _HEIC_BRANDS else None
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADER_BYTES:
        return Format.BMP
    is_jxl = data.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"))
    return Format.JXL if is_jxl else None


_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
# The header sizes of the BMP versions.
_BMP_HEADER_BYTES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})


# Signatures of unsupported files, and their names for messages.
_OTHER_KINDS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"8BPS", "a Photoshop document (PSD)"),
    (0, b"%PDF", "a PDF"),
    (0, b"%!", "PostScript (EPS)"),
    (0, b"\0\0\x01\0", "an icon (ICO)"),
    (0, b"\0\0\x02\0", "a cursor (CUR)"),
    (0, b"BM", "a BMP of an unknown version"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (4, b"jP  \r\n", "a JPEG 2000"),
    (0, b"II\xbc\x01", "a JPEG XR"),
    (0, b"FORM", "an IFF or DjVu file"),
    (0, b"AT&TFORM", "a DjVu file"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR image"),
    (0, b"#?RADIANCE", "a Radiance HDR image"),
    (0, b"DDS ", "a DDS texture"),
    (0, b"qoif", "a QOI image"),
    (0, b"gimp xcf", "a GIMP image (XCF)"),
    (0, b"FLIF", "a FLIF image"),
    (0, b"\xd7\xcd\xc6\x9a", "a Windows metafile (WMF)"),
    (0, b"FUJIFILMCCD-RAW", "a camera raw"),
    (0, b"IIU\0", "a camera raw"),
    (0, b"IIRO", "a camera raw"),
    (0, b"IIRS", "a camera raw"),
    (0, b"FOVb", "a camera raw"),
    (0, b"\0MRM", "a camera raw"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (0, b"OggS", "an Ogg file"),
    (0, b"ID3", "an MP3"),
    (8, b"AVI ", "an AVI video"),
    (8, b"WAVE", "a WAV sound"),
)
_MEDIA_BRANDS = {
    b"mif1": "a HEIF", b"msf1": "a HEIF", b"crx ": "a camera raw",
    b"qt  ": "a QuickTime video", b"isom": "an MP4 video", b"mp41": "an MP4 video",
    b"mp42": "an MP4 video", b"M4V ": "an MP4 video", b"avc1": "an MP4 video",
}  # fmt: skip


def other_kind(data: bytes) -> str | None:
    """The kind of an unsupported file, with its article; None if it is unknown."""
    if _SVG.match(data[:_PREAMBLE_BYTES]):
        return "an SVG"
    if data[4:8] == b"ftyp":
        return _MEDIA_BRANDS.get(data[8:12], "a video or an image in an ISO media file")
    for at, signature, name in _OTHER_KINDS:
        if data.startswith(signature, at):
            return name
    return None


def _brands(data: bytes) -> set[bytes]:
    """An ISO media file's major and compatible brands, from its first box."""
    box = data[: min(int.from_bytes(data[:4]), _HEAD_BYTES)]
    return {box[8:12], *(box[start : start + 4] for start in range(16, len(box), 4))}


def is_text(data: bytes) -> bool:
    """Whether this is text instead of an image, such as a web page or an error message."""
    if _SVG.match(data[:_PREAMBLE_BYTES]) or data.startswith(b"%!"):
        return False  # text-based image formats, which are not supported
    try:
        head = codecs.getincrementaldecoder("utf-8")().decode(
            data[:_HEAD_BYTES]
        )  # the last character may be truncated
    except UnicodeDecodeError:
        return bool(
            _MARKUP.match(data[:_HEAD_BYTES].decode("latin-1").removeprefix("\xef\xbb\xbf"))
        )
    return bool(_MARKUP.match(head)) or not _CONTROL.search(head)
