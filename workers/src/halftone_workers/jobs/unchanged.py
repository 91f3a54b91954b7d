"""Images that need no new compression, because their owner had the same bytes compressed with the
same options before (halftone_shared.db.known_images).

A conditional request (ETag, Last-Modified) asks the server whether the image has changed. If it has
not, or the server sends the same bytes, the earlier files are copied to names of the new request.
"""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from halftone_shared.db.engine import is_unavailable
from halftone_shared.db.known_images import (
    KnownImage,
    Source,
    find_known_images,
    forget_image,
    image_key,
    remember_images,
)
from halftone_shared.db.products import Claim
from halftone_shared.model.options import ImageOptions
from halftone_shared.model.results import ImageResult, StoredImage
from halftone_shared.model.states import Action
from halftone_workers.engines import engine_versions

log = structlog.get_logger(__name__)

# Increase this number when the codec's outputs for the same image and options change.
CODEC_VERSION = 3
# Hashing this much takes 1 ms; hashing more would block the event loop.
_HASH_AT_ONCE_BYTES = 1024 * 1024
# hashlib releases the interpreter lock for larger pieces. Another thread then takes it, and getting
# it back takes longer than hashing an image of up to _SMALL_BYTES.
_WITH_LOCK_BYTES, _SMALL_BYTES = 2047, 32 * 1024


class Unchanged:
    """Earlier results for the images of one product, and the new ones to remember.

    find_earlier() reads the earlier results, and remember() saves the new ones, each for several
    products in one statement.
    """

    def __init__(self, claim: Claim, options: ImageOptions) -> None:
        self._claim = claim
        self._keys = _keys_of(claim, options)
        # The watermark may have changed although its URL is the same.
        self._is_possible = options.watermark_url is None
        self._found: dict[bytes, KnownImage] = {}
        self.new: list[KnownImage] = []

    def wanted(self) -> list[bytes]:
        """The keys of the images that have not ended."""
        if not self._is_possible:
            return []
        return [key for key, done in zip(self._keys, self._claim.done, strict=True) if done is None]

    def use(self, found: Mapping[bytes, KnownImage]) -> None:
        """Use the results among `found` that are this product's. With `fresh`, only those of this
        request itself.
        """
        for key in self.wanted():
            known = found.get(key)
            if known and (not self._claim.fresh or self.is_of_this_request(known)):
                self._found[key] = known

    def at(self, position: int) -> KnownImage | None:
        """The earlier result of the image at this position, counted from 1."""
        return self._found.get(self._keys[position - 1])

    def is_of_this_request(self, known: KnownImage) -> bool:
        return known.request_id == self._claim.key.request_id

    def made(self, position: int, source: Source, result: ImageResult) -> None:
        """Remember that the image at this position has succeeded."""
        if self._is_possible:
            key, request_id = self._keys[position - 1], self._claim.key.request_id
            self.new.append(KnownImage(key, request_id, source, result))


def find_earlier(connection: Connection, products: Sequence[Unchanged]) -> None:
    """Look up the earlier results of these products' images. If that fails, they are compressed
    again.
    """
    wanted = [key for product in products for key in product.wanted()]
    if not wanted:
        return
    try:
        found = find_known_images(connection, wanted)
    except SQLAlchemyError as error:
        log.warning("known images not read", error=str(error).splitlines()[0])
        return
    for product in products:
        product.use(found)


def remember(connection: Connection, products: Sequence[Unchanged]) -> None:
    """Save the new results of these products. Call it before they are settled, so that a request
    that starts after theirs has ended finds them all. A result that is not saved only costs another
    compression next time.

    Raises SQLAlchemyError if the database is unavailable: the connection cannot be used for what
    follows.
    """
    new = [image for product in products for image in product.new]
    if not new:
        return
    try:
        remember_images(connection, new)
    except SQLAlchemyError as error:
        if is_unavailable(error):
            raise
        log.warning("images not remembered", error=str(error).splitlines()[0])


def forget(engine: Engine, known: KnownImage) -> None:
    """Forget an earlier result whose files are missing."""
    try:
        with engine.connect() as connection:
            forget_image(connection, known.key)
    except SQLAlchemyError as error:
        log.warning("missing image not forgotten", error=str(error).splitlines()[0])


def _keys_of(claim: Claim, options: ImageOptions) -> list[bytes]:
    """The lookup key of each input URL's image."""
    made_by = _made_by(options, CODEC_VERSION)
    return [image_key(claim.owner_id, url, made_by) for url in claim.input_image_urls]


@lru_cache
def _made_by(options: ImageOptions, codec_version: int) -> bytes:
    """Identifies the options and the codec. File names are not part of it."""
    return json.dumps(
        [codec_version, engine_versions(), replace(options, names=None).to_json()], sort_keys=True
    ).encode()


async def sha256_of(data: bytes | bytearray) -> bytes:
    if len(data) <= _SMALL_BYTES:
        digest = hashlib.sha256()
        for at in range(0, len(data), _WITH_LOCK_BYTES):
            digest.update(data[at : at + _WITH_LOCK_BYTES])
        return digest.digest()
    if len(data) <= _HASH_AT_ONCE_BYTES:
        return hashlib.sha256(data).digest()
    return (await asyncio.to_thread(hashlib.sha256, data)).digest()


def taken_over(known: ImageResult, files: Sequence[str], *, same_request: bool) -> ImageResult:
    """The result of an image whose outputs were copied to `files`, the main one first. The same URL
    in the same request keeps its action: it was compressed for this request.
    """

    def copied(image: StoredImage, file: str) -> StoredImage:
        action = image.facts.action if same_request else Action.REUSED
        return StoredImage(file, replace(image.facts, action=action))

    main, *variants = map(copied, outputs_of(known), files)
    return ImageResult(main, dict(zip(known.variants, variants, strict=True)))


def outputs_of(known: ImageResult) -> list[StoredImage]:
    """The main output and the variants."""
    assert known.output is not None  # noqa: S101 - only what succeeded is known
    return [known.output, *known.variants.values()]
