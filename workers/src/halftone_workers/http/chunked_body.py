"""A body in chunks (RFC 9112, 7.1), read in bounded steps. Pure.

The server chooses the chunk size, and each chunk costs CPU time: in chunks of 1 byte, an image of
1 MB takes 1 s. So a step reads a limited number of chunks of any size, and a body that consists of
tiny chunks is refused.
"""

import re

from halftone_workers.errors import BadHttp
from halftone_workers.http.response_head import MAX_HEAD_BYTES

# One step takes less than 1 ms.
CHUNKS_A_STEP = 256
# No well-behaved server sends this many chunks with so few bytes.
TINY_CHUNKS, TINY_CHUNK_BYTES = 4096, 32
_MAX_LINE_BYTES = 4096
_SIZE = rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n"
_FIRST_SIZE = re.compile(_SIZE)
_NEXT_SIZE = re.compile(rb"\r?\n" + _SIZE)
_TRAILER = re.compile(rb"(?:[^\r\n]+\r?\n)*\r?\n")


class ChunkedBody:
    """Decodes a chunked body: feed() takes received bytes, read() returns the chunks' content.

    `is_done`: the last chunk and the trailer were read; `rest` holds the bytes after them.
    """

    def __init__(self) -> None:
        self._received = b""
        self._at = 0
        self._left_in_chunk = 0
        self._size = _FIRST_SIZE
        self._is_in_trailer = False
        self._chunks, self._bytes = 0, 0
        self.is_done = False

    @property
    def has_all_data(self) -> bool:
        """Whether the last chunk was read. The body is then complete, even if the server closes the
        connection without ending the trailer.
        """
        return self._is_in_trailer

    @property
    def rest(self) -> bytes:
        return self._received[self._at :]

    def feed(self, received: bytes) -> None:
        """Add received bytes. Call it after read() has returned nothing."""
        self._received = self.rest + received if self._at < len(self._received) else received
        self._at = 0

    def read(self) -> bytes:
        """The content of the next chunks, at most CHUNKS_A_STEP; empty if more bytes are needed or
        `is_done`. Raises BadHttp.
        """
        parts = []
        for _ in range(CHUNKS_A_STEP):
            if self._is_in_trailer or (not self._left_in_chunk and not self._begin_chunk()):
                break
            part = self._received[self._at : self._at + self._left_in_chunk]
            if not part:
                break
            parts.append(part)
            self._at += len(part)
            self._left_in_chunk -= len(part)
            self._bytes += len(part)
        if self._is_in_trailer and not self.is_done:
            self._end_trailer()
        return b"".join(parts)

    def _begin_chunk(self) -> bool:
        """Read a chunk's size. False if it is still incomplete, or belongs to the last chunk."""
        size = self._size.match(self._received, self._at)
        if size is None:
            self._refuse_if_unreadable()
            return False
        self._at = size.end()
        self._size = _NEXT_SIZE
        self._left_in_chunk = int(size[1], 16)
        self._is_in_trailer = self._left_in_chunk == 0
        self._chunks += 1
        if self._chunks > TINY_CHUNKS and self._bytes < self._chunks * TINY_CHUNK_BYTES:
            raise BadHttp(
                f"The server sends its answer in chunks of less than {TINY_CHUNK_BYTES} bytes."
            )
        return not self._is_in_trailer

    def _refuse_if_unreadable(self) -> None:
        """Check a line that may be incomplete, together with the end of the chunk before it."""
        line = self._received[self._at : self._at + _MAX_LINE_BYTES]
        is_next = self._size is _NEXT_SIZE
        begins_well = not is_next or line[:1] in (b"", b"\n") or line[:2] in (b"\r", b"\r\n")
        size = line.lstrip(b"\r\n") if is_next else line
        if not begins_well or b"\n" in size or len(line) == _MAX_LINE_BYTES:
            raise BadHttp("The server's answer has a chunk without a readable size.")

    def _end_trailer(self) -> None:
        end = _TRAILER.match(self._received, self._at)
        if end is not None:
            self._at = end.end()
            self.is_done = True
        elif len(self._received) - self._at > MAX_HEAD_BYTES:
            raise BadHttp(
                f"The server's answer ends in more than {MAX_HEAD_BYTES} bytes of trailer."
            )
