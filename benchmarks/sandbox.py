"""The cost of compressing an image in a confined process: `python -m benchmarks.sandbox`.

The same photographs go through the codec directly and through a pool of one process, alternately,
in the same run and with the same allocator. Compared is the time until the result is available.
"""

import asyncio
import io
import os
import sys
import time
from statistics import median

from halftone_samples import PRODUCTS, render_photo
from halftone_shared.model.options import ImageOptions
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.pipeline import compress
from halftone_workers.codec_processes.handle import codec_environment
from halftone_workers.codec_processes.pool import CodecPool

ROUNDS = 15
PHOTOS = 6
SIZES = {"1500 × 1500": (1500, 1500), "300 × 300": (300, 300)}


def main() -> None:
    if os.environ.get("MALLOC_ARENA_MAX") is None:  # read at process start
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.sandbox"], codec_environment())  # noqa: S606 - this program again
    for name, size in SIZES.items():
        asyncio.run(_compare(name, [_photo(product, size) for product in PRODUCTS[:PHOTOS]]))


def _photo(product: str, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    render_photo(product, 1, size).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


async def _compare(name: str, photos: list[bytes]) -> None:
    pool = CodecPool(1, CodecLimits(), timeout_seconds=30)
    await pool.start()
    direct, pooled = [], []
    for round_number in range(ROUNDS + 1):
        started = time.perf_counter()
        for photo in photos:
            compress(photo, ImageOptions(), CodecLimits())
        between = time.perf_counter()
        for photo in photos:
            await pool.compress(photo, ImageOptions())
        if round_number:  # the first one warms up
            direct.append((between - started) / len(photos))
            pooled.append((time.perf_counter() - between) / len(photos))
    await pool.close()
    extra = median(two - one for one, two in zip(direct, pooled, strict=True))
    print(
        f"{name} JPEG: {median(direct) * 1000:.2f} ms directly, {median(pooled) * 1000:.2f} ms in"
        f" the sandbox: {extra * 1000:+.2f} ms, {extra / median(direct):+.1%} (medians of {ROUNDS}"
        f" rounds of {len(photos)} photos)"
    )


if __name__ == "__main__":
    main()
