"""The upper limit: the codec alone, one process per core, each image in memory."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from halftone_shared.model.options import ImageOptions
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.pipeline import compress
from halftone_workers.codec_processes.handle import codec_environment


def images_a_second(files: Sequence[Path], seconds: float) -> float:
    """How many of these images all cores together compress per second."""
    command = [sys.executable, "-m", "benchmarks.codec_alone", str(seconds), *map(str, files)]
    running = [
        subprocess.Popen(
            command, env=codec_environment() | {"PYTHONPATH": "."}, stdout=subprocess.PIPE
        )
        for _ in range(os.cpu_count() or 1)
    ]
    return sum(float(process.communicate()[0]) for process in running)


def main() -> None:
    seconds, images = float(sys.argv[1]), [Path(name).read_bytes() for name in sys.argv[2:]]
    for image in images:  # warms up
        compress(image, ImageOptions(), CodecLimits())
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        compress(images[done % len(images)], ImageOptions(), CodecLimits())
        done += 1
    print(done / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
