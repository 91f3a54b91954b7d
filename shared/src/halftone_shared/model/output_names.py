"""The file names that the option `names` gives to output images. Pure.

A name is made from a template such as `{key}-{position}`, then made safe for every file system:
no path, no control or reserved characters, no leading dot, no name that Windows reserves, at most
MAX_NAME_BYTES bytes, in Unicode's normal form C. A name has no extension: the output's format
decides it.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

MAX_NAME_BYTES = 120
# Bytes reserved for a hyphen and a number that make a name unique.
UNIQUE_BYTES = 12

_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*%#&,;=+$`\'\[\]{}^~!@()\s]+')
_REPEATED = re.compile(r"-{2,}")
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class NamedProduct:
    """The product's values for a template's fields. `serial` is the row's number if it has no
    other.
    """

    key: str
    name: str
    serial: str
    input_urls: Sequence[str]


def output_names(template: str, product: NamedProduct, variants: Sequence[str]) -> list[str]:
    """The names of a product's outputs: for each URL the main output's, then each variant's.

    If the template does not contain the variant, its name is appended, as in `mug-1-thumb`.
    """
    names = []
    for position, url in enumerate(product.input_urls, start=1):
        for variant in ("", *variants):
            filled = template.format(
                key=product.key,
                name=product.name,
                serial=product.serial,
                position=position,
                original=original_name(url),
                variant=variant,
            )
            if variant and "{variant}" not in template:
                filled = f"{filled}-{variant}"
            names.append(safe_name(filled))
    return names


def original_name(url: str) -> str:
    """The file name in a URL, without its extension."""
    try:
        path = unquote(urlsplit(url).path)
    except ValueError:
        return ""
    name = PurePosixPath(path).name
    stem, dot, extension = name.rpartition(".")
    return stem if dot and re.fullmatch(r"\w{1,5}", extension) else name


def safe_name(text: str, *, suffix: str = "") -> str:
    """The text as a file name that is safe on every file system, ending in the whole suffix.

    `image` if nothing of the text is left.
    """
    plain = unicodedata.normalize("NFC", text)
    visible = "".join(each for each in plain if unicodedata.category(each)[0] != "C" or each < " ")
    joined = _REPEATED.sub("-", _UNSAFE.sub("-", visible)).strip("-. ")
    cut = _cut(joined, MAX_NAME_BYTES - UNIQUE_BYTES).strip("-. ") or "image"
    if _RESERVED.fullmatch(cut):
        cut = f"{cut}-image" if "." not in cut else f"image-{cut}"
    return cut + suffix


def _cut(text: str, most_bytes: int) -> str:
    """The longest start of the text that fits into `most_bytes` of UTF-8, in whole characters."""
    return text.encode()[:most_bytes].decode(errors="ignore")
