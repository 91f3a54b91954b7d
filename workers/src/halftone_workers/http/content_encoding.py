"""Interprets an answer's Content-Encoding, and unpacks gzip within limits.

Requests ask for `identity`. Servers and buckets still declare encodings, mostly values that are no
encoding ("UTF-8", "binary", "aws-chunked", "image/jpeg"), set by the uploader of the file.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator
from enum import Enum

from halftone_workers.errors import BadHttp

# Bytes unpacked before others have their turn on the event loop: about 0.2 ms.
_STEP_BYTES = 128 * 1024
_GZIP_MAGIC = b"\x1f\x8b\x08"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_GZIP = frozenset({"gzip", "x-gzip"})
# Real encodings that are not supported here.
_OTHERS = frozenset({"br", "compress", "x-compress", "deflate", "zstd", "dcb", "dcz"})


class Encoding(Enum):
    """NONE: the bytes are the image. UNREADABLE: an unsupported encoding, or several."""

    NONE = "none"
    GZIP = "gzip"
    UNREADABLE = "unreadable"


def encoding_of(header: str) -> Encoding:
    """Interpret a Content-Encoding header. Words that are no encoding are ignored."""
    named = [token.strip().lower() for token in header.split(",")]
    real = [token for token in named if token in _GZIP or token in _OTHERS]
    if not real:
        return Encoding.NONE
    return Encoding.GZIP if len(real) == 1 and real[0] in _GZIP else Encoding.UNREADABLE


async def gunzipped(data: bytes | bytearray) -> AsyncIterator[bytes]:
    """Yield the unpacked bytes in pieces; `data` itself if it is not gzip.

    The caller may stop at any time: each piece is unpacked only when requested. Raises BadHttp.
    """
    if not data.startswith(_GZIP_MAGIC):
        yield bytes(data)
        return
    left: bytes = bytes(data)
    while left.startswith(_GZIP_MAGIC):
        member = zlib.decompressobj(_GZIP_WINDOW)
        while not member.eof:
            try:
                piece = member.decompress(left, _STEP_BYTES)
            except zlib.error as error:
                raise BadHttp(f"The server's gzip-encoded answer is damaged: {error}.") from None
            left = member.unconsumed_tail
            if not piece and not left and not member.eof:
                raise BadHttp("The server's gzip-encoded answer is incomplete.")
            yield piece
            await asyncio.sleep(0)
        left = member.unused_data
