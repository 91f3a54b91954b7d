"""The names of output images.

`TOKEN-SEQ-POSITION-CHECK.EXT`, or, with a name of the client's,
`TOKEN-SEQ-POSITION-CHECK/NAME.EXT`. A name cannot be guessed and is the same on every attempt.
TOKEN identifies the request (`requests.image_token`), SEQ and POSITION identify the slot, and CHECK
prevents guessing one image's name from another's. TOKEN and CHECK are derived from the request's
`image_key`, which is random and never shown, so a request's ID does not give access to its images.
"""

import base64
import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from urllib.parse import quote
from uuid import UUID

from halftone_shared.model.image_formats import MEDIA_TYPES

_NAME = re.compile(
    r"([a-z2-7]{16})-([1-9][0-9]{0,8})-([1-9][0-9]{0,4})-([a-z2-7]{16})"
    r"(?:/([^/\\\x00-\x1f.][^/\\\x00-\x1f]{0,149}))?\.([a-z]{3,4})"
)


@dataclass(frozen=True)
class ImageSlot:
    """The image that a name refers to. `position` counts from 1; `own_name` is the client's
    name.
    """

    token: str
    seq: int
    position: int
    extension: str
    own_name: str | None = None

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self.extension]


@lru_cache
def image_token(image_key: UUID) -> str:
    return _text(blake2b(image_key.bytes, digest_size=10, person=b"image-token"))


def image_name(
    image_key: UUID,
    seq: int,
    position: int,
    extension: str,
    *,
    variant: str = "",
    own_name: str | None = None,
) -> str:
    """The name of the main output, or of the given variant."""
    slot = b"%d-%d" % (seq, position) + (b"-" + variant.encode() if variant else b"")
    check = _text(blake2b(slot, key=image_key.bytes, digest_size=10, person=b"image-name"))
    stem = f"{image_token(image_key)}-{seq}-{position}-{check}"
    return f"{stem}.{extension}" if own_name is None else f"{stem}/{own_name}.{extension}"


def parse_image_name(name: str) -> ImageSlot | None:
    """Parse a name; None if image_name cannot have made it. CHECK is not verified here."""
    match = _NAME.fullmatch(name)
    if match is None or match.group(6) not in MEDIA_TYPES:
        return None
    token, seq, position, _, own_name, extension = match.groups()
    if not (seq + position).isascii():
        return None
    return ImageSlot(token, int(seq), int(position), extension, own_name)


@dataclass(frozen=True)
class ImageUrls:
    """URLs of images: at the API or, with `image_base_url`, at a server of the storage (a CDN, a
    public bucket).
    """

    public_url: str
    image_base_url: str = ""

    def __call__(self, name: str) -> str:
        """The URL of an image, percent-encoded."""
        if self.image_base_url:
            return f"{self.image_base_url}/{quote(storage_path(name))}"
        return f"{self.public_url}/api/image/{quote(name)}"


def storage_folder(token: str) -> str:
    """The folder with all of a request's files, and nothing else."""
    return f"images/{token[:2]}/{token}"


def storage_path(name: str) -> str:
    """An image's path in the storage: a folder for each request, and in it one for each thousand
    products.
    """
    slot = parse_image_name(name)
    if slot is None:
        raise ValueError(f"{name!r} is not the name of an output image")
    file = name if slot.own_name is None else name.partition("/")[2]
    return f"{storage_folder(slot.token)}/{slot.seq // 1000}/{file}"


def _text(digest: blake2b) -> str:
    return base64.b32encode(digest.digest()).decode().lower()
