"""BMP input: needs no repair. Pillow reads its size before it decodes."""

from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.sources.prepared import Prepared


def prepare(data: bytes, limits: CodecLimits) -> Prepared:
    del limits
    return Prepared(data)
