"""A photograph's path through the worker's own parts, one more stage each time, without products,
queue and database.

The losses at each stage explain part of the end-to-end share of the codec; the rest is lost in the
parts that are left out here.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from ipaddress import ip_network
from uuid import uuid4

import uvloop

from benchmarks.codec_alone import images_a_second
from benchmarks.figures import Figure
from benchmarks.origin import running_origin
from benchmarks.photos import LARGE, photos
from benchmarks.service import new_folder
from halftone_shared.model.addresses import FetchRule
from halftone_shared.model.image_names import image_name
from halftone_shared.model.options import ImageOptions
from halftone_shared.runtime.gc_tuning import collect_rarely
from halftone_shared.storage import ImageStore
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec_processes.pool import CodecPool
from halftone_workers.http.client import OutgoingHttp
from halftone_workers.http.fetching import ImageFetcher
from halftone_workers.http.memory import MemoryBudget

# Each stage includes the stages before it.
STAGES = ("compressed", "fetched", "stored")
IMAGES, AT_ONCE = 2000, 16
LIMIT_SECONDS = 10


def stages() -> list[Figure]:
    """Photographs through the worker's parts, without products, queue and database."""
    files = photos(LARGE)
    before = images_a_second(files, LIMIT_SECONDS)
    with running_origin(files) as urls:
        through = [_images_a_second(stage, urls) for stage in STAGES]
    limit = (before + images_a_second(files, LIMIT_SECONDS)) / 2
    figures = [Figure("codec alone", limit, "images/s")]
    for stage, rate in zip(STAGES, through, strict=True):
        figures += [
            Figure(stage, rate, "images/s"),
            Figure(f"{stage}: share of the limit", rate / limit, ""),
        ]
    return figures


def _images_a_second(stage: str, urls: list[str]) -> float:
    """Measured in a separate process that does nothing else."""
    command = [sys.executable, "-m", "benchmarks.stages", stage, str(new_folder()), *urls]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


async def _run(stage: str, folder: str, urls: list[str]) -> float:
    store, request_id = ImageStore(f"file://{folder}"), uuid4()
    http = OutgoingHttp(FetchRule((ip_network("127.0.0.0/8"),)), connections_per_host=4)
    fetcher = ImageFetcher(http, MemoryBudget(1 << 28), max_image_bytes=1 << 26, timeout_seconds=30)
    codec = CodecPool(os.cpu_count() or 1, CodecLimits(), timeout_seconds=30)
    await codec.start()
    in_memory, options = [path.read_bytes() for path in photos(LARGE)], ImageOptions()

    async def do(number: int) -> None:
        if stage == "compressed":
            await codec.compress(in_memory[number % len(in_memory)], options)
            return
        original = await fetcher.fetch(urls[number % len(urls)])
        try:
            compressed = await codec.compress(original.data, options)
        finally:
            original.reserved.give_back()
        if stage == "stored":
            assert compressed.data is not None
            await asyncio.to_thread(
                store.put, image_name(request_id, number, 1, "jpg"), compressed.data
            )

    async def do_all(numbers: Iterable[int]) -> None:
        left = iter(numbers)

        async def do_some() -> None:
            for number in left:
                await do(number)

        await asyncio.gather(*(do_some() for _ in range(AT_ONCE)))

    await do_all(range(1, 101))  # warms up
    started = time.perf_counter()
    await do_all(range(101, 101 + IMAGES))
    took = time.perf_counter() - started
    await codec.close()
    await http.close()
    return IMAGES / took


def main() -> None:
    stage, folder, *urls = sys.argv[1:]
    if hasattr(os, "SCHED_BATCH"):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # the worker's policy
    collect_rarely()
    print(uvloop.run(_run(stage, folder, urls)))


if __name__ == "__main__":
    main()
