"""Writes a ZIP of files that are stored as they are, as a stream and in constant memory.

Libraries keep the directory, which comes last, in memory: stream-zip takes 33 MiB for 100,000
files. Here it waits in a temporary file (docs/decisions/0018-a-zip-writer-of-our-own.md).
"""

import struct
from collections.abc import Iterable, Iterator
from datetime import datetime
from tempfile import SpooledTemporaryFile
from zlib import crc32

# Beyond the first size the directory is a file; the second is that of the pieces of the stream.
_DIRECTORY_IN_MEMORY, _PIECE = 1 << 20, 1 << 16
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")
_OFFSET_64 = struct.Struct("<2HQ")
_VERSION_64, _UNIX, _UTF_8, _STORED = 45, 3 << 8, 0x0800, 0
_MODE = 0o100644 << 16
_MAX_16, _MAX_32 = 0xFFFF, 0xFFFFFFFF


def stored_zip(files: Iterable[tuple[str, bytes]], modified: datetime) -> Iterator[bytes]:
    """The bytes of a ZIP with these files, each a name and its content of less than 4 GiB.

    It has the records of ZIP64, for more than 65,535 files and more than 4 GiB.
    """
    date, time = _dos_date_and_time(modified)
    offset = number = 0
    pending = bytearray()  # each piece costs the server a change of threads, so small ones wait
    with SpooledTemporaryFile(_DIRECTORY_IN_MEMORY) as directory:
        for name, content in files:
            encoded, size, check = name.encode(), len(content), crc32(content)
            facts = (_UTF_8, _STORED, time, date, check, size, size, len(encoded))
            local = _LOCAL.pack(b"PK\x03\x04", _VERSION_64, *facts, 0) + encoded
            extra = b"" if offset < _MAX_32 else _OFFSET_64.pack(1, 8, offset)
            directory.write(
                _CENTRAL.pack(
                    b"PK\x01\x02", _UNIX | _VERSION_64, _VERSION_64, *facts, len(extra),
                    0, 0, 0, _MODE, min(offset, _MAX_32),
                ) + encoded + extra
            )  # fmt: skip
            pending += local
            if size < _PIECE:
                pending += content
            if len(pending) >= _PIECE or size >= _PIECE:
                yield bytes(pending)
                pending.clear()
            if size >= _PIECE:
                yield content
            offset += len(local) + size
            number += 1
        yield bytes(pending)
        length = directory.tell()
        directory.seek(0)
        while piece := directory.read(_PIECE):
            yield piece
    yield _END_64.pack(
        b"PK\x06\x06", _END_64.size - 12, _UNIX | _VERSION_64, _VERSION_64, 0, 0,
        number, number, length, offset,
    )  # fmt: skip
    yield _LOCATOR_64.pack(b"PK\x06\x07", 0, offset + length, 1)
    few = min(number, _MAX_16)
    yield _END.pack(
        b"PK\x05\x06", 0, 0, few, few, min(length, _MAX_32), min(offset, _MAX_32), 0
    )  # fmt: skip


def _dos_date_and_time(moment: datetime) -> tuple[int, int]:
    date = (moment.year - 1980) << 9 | moment.month << 5 | moment.day
    return date, moment.hour << 11 | moment.minute << 5 | moment.second // 2
