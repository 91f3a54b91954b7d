"""The names of output images: `TOKEN-SEQ-POSITION-CHECK.EXT`, unguessable, and the same on every
attempt.

TOKEN finds the request (`requests.image_token`), SEQ and POSITION the slot, and CHECK, keyed by the
request's random ID, keeps one image's name from telling the next one's. A name tells nothing of the
request's ID.
"""

import base64
import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from uuid import UUID

# By a name's extension; an image is served with this type and no other.
MEDIA_TYPES = {
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "avif": "image/avif",
    "tif": "image/tiff",
}

_NAME = re.compile(
    r"([a-z2-7]{16})-([1-9][0-9]{0,8})-([1-9][0-9]{0,4})-([a-z2-7]{16})\.([a-z]{3,4})", re.ASCII
)


@dataclass(frozen=True)
class ImageSlot:
    """Which image a name stands for. `position` counts from 1."""

    token: str
    seq: int
    position: int
    extension: str

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self.extension]


@lru_cache
def image_token(request_id: UUID) -> str:
    return _text(blake2b(request_id.bytes, digest_size=10, person=b"image-token"))


def image_name(request_id: UUID, seq: int, position: int, extension: str) -> str:
    check = _text(
        blake2b(
            b"%d-%d" % (seq, position), key=request_id.bytes, digest_size=10, person=b"image-name"
        )
    )
    return f"{image_token(request_id)}-{seq}-{position}-{check}.{extension}"


def parse_image_name(name: str) -> ImageSlot | None:
    """What a name says of itself; None for anything that image_name never makes. The check is not
    verified here.
    """
    match = _NAME.fullmatch(name)
    if match is None or match.group(5) not in MEDIA_TYPES:
        return None
    token, seq, position, _, extension = match.groups()
    return ImageSlot(token, int(seq), int(position), extension)


def storage_folder(request_id: UUID) -> str:
    """Where all of a request's files lie, and nothing else."""
    return _folder(image_token(request_id))


def storage_path(name: str) -> str:
    """Where an image's file lies in the store: a folder a request, and in it one a thousand
    products.
    """
    slot = parse_image_name(name)
    if slot is None:
        raise ValueError(f"{name!r} is not the name of an output image")
    return f"{_folder(slot.token)}/{slot.seq // 1000}/{name}"


def _folder(token: str) -> str:
    return f"images/{token[:2]}/{token}"


def _text(digest: blake2b) -> str:
    return base64.b32encode(digest.digest()).decode().lower()
