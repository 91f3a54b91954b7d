"""The image formats: the one declaration of each.

`format` of an upload, OpenAPI, `/docs`, the names and media types of outputs, the codec and
docs/reference/options.md take the formats from here. To add an output format, add a member here and
its encoder in `halftone_workers/codec/encoders.py`.
"""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class FormatFacts:
    """What a format can hold.

    `extension`: of output files; `other_extensions`: what input files may have instead. `alpha`:
    transparency. `icc`: a colour profile. `max_side`: its longest possible side in pixels.
    `is_written`: an output may have it. `is_read`: an input may have it. `label`: its name in
    messages, if that is not the member's.
    """

    extension: str
    media_type: str
    alpha: bool
    animation: bool
    icc: bool
    max_side: int
    is_written: bool = True
    is_read: bool = True
    label: str = ""
    other_extensions: tuple[str, ...] = ()


_UNLIMITED = 2**31 - 1


class Format(StrEnum):
    """A format, with its facts. The value is Pillow's name, and `format` of a result."""

    facts: FormatFacts

    def __new__(cls, name: str, facts: FormatFacts | None = None) -> "Format":
        # The default is for mypy, which treats Format("JPEG") as a call of this method.
        assert facts is not None  # noqa: S101 - each member below has facts
        member = str.__new__(cls, name)
        member._value_ = name
        member.facts = facts
        return member

    JPEG = (
        "JPEG",
        FormatFacts(
            "jpg",
            "image/jpeg",
            alpha=False,
            animation=False,
            icc=True,
            max_side=65500,
            other_extensions=("jpeg",),
        ),
    )
    PNG = (
        "PNG",
        FormatFacts("png", "image/png", alpha=True, animation=True, icc=True, max_side=_UNLIMITED),
    )
    WEBP = (
        "WEBP",
        FormatFacts("webp", "image/webp", alpha=True, animation=True, icc=True, max_side=16383),
    )
    # The limit of libavif; other decoders may allow more.
    AVIF = (
        "AVIF",
        FormatFacts("avif", "image/avif", alpha=True, animation=True, icc=True, max_side=32768),
    )
    GIF = (
        "GIF",
        FormatFacts("gif", "image/gif", alpha=True, animation=True, icc=False, max_side=65535),
    )
    TIFF = (
        "TIFF",
        FormatFacts(
            "tif",
            "image/tiff",
            alpha=True,
            animation=True,
            icc=True,
            max_side=_UNLIMITED,
            other_extensions=("tiff",),
        ),
    )
    BMP = (
        "BMP",
        FormatFacts(
            "bmp",
            "image/bmp",
            alpha=True,
            animation=False,
            icc=False,
            max_side=_UNLIMITED,
            is_written=False,
        ),
    )
    HEIC = (
        "HEIC",
        FormatFacts(
            "heic",
            "image/heic",
            alpha=True,
            animation=False,
            icc=True,
            max_side=_UNLIMITED,
            is_written=False,
        ),
    )
    JXL = (
        "JXL",
        FormatFacts(
            "jxl",
            "image/jxl",
            alpha=True,
            animation=False,
            icc=True,
            max_side=2**30,
            is_written=False,
            label="JPEG XL",
        ),
    )


# The formats that an output may have.
WRITTEN = tuple(form for form in Format if form.facts.is_written)
# The formats that are read, for messages.
READABLE = ", ".join(form.facts.label or form for form in Format if form.facts.is_read)
# Media types of outputs by extension. An image is always served with this type.
MEDIA_TYPES = {form.facts.extension: form.facts.media_type for form in WRITTEN}
# The extensions of files that may be images.
EXTENSIONS = tuple(
    extension
    for form in Format
    for extension in (form.facts.extension, *form.facts.other_extensions)
)
