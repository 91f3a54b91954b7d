"""How many images a second a core compresses, and how much memory a worker uses: figures for sizing
a deployment.

`python -m benchmarks.sizing`: API and one worker as an operator deploys them, on PostgreSQL and
RabbitMQ, and a server of JPEG photos, all on this machine. A core's work is measured in processor
time of the worker and its codec processes together, so that the machine's other work does not
change the figure.
"""

import argparse
import threading
import time

import psutil

from benchmarks.service import running_service
from tests.support.halftone import Service
from tests.support.images import jpeg
from tests.support.origin import Origin, running_origin

# Several different photos, so that no cache holds the only one.
DIFFERENT = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--side-pixels", type=int, default=1500, help="of the square photos")
    parser.add_argument("--codec-processes", type=int, default=2)
    options = parser.parse_args()
    side = options.side_pixels
    settings = {"codec_processes": str(options.codec_processes), "connections_per_host": "4"}
    with running_origin() as origin, running_service(**settings) as service:
        photos = [jpeg((side, side), seed=seed) for seed in range(1, DIFFERENT + 1)]
        print(f"{len(photos[0]) / 1000:.0f} kB a photo of {side} x {side} pixels")
        for mode in ("quality", "scale"):
            measure(service, origin, photos, options.images, mode)


def measure(service: Service, origin: Origin, photos: list[bytes], images: int, mode: str) -> None:
    urls = [origin.serve(f"/{number}.jpg", photo) for number, photo in enumerate(photos)]
    rows = "".join(
        f"{number},SKU{number},{urls[number % len(urls)]}\n" for number in range(1, images + 1)
    )
    worker = psutil.Process(service.processes["worker 1"].pid)
    watch = Watch(worker)
    before, started = processor_seconds(worker), time.monotonic()
    ended = service.ended(
        service.accepted("Serial Number,Product Name,Input Image Urls\n" + rows, mode=mode),
        seconds=600,
    )
    elapsed, used = time.monotonic() - started, processor_seconds(worker) - before
    assert ended["processed_images"] == images
    worker_bytes, codec_bytes = watch.stop()
    print(
        f"mode={mode}: {images / used:.1f} images per second of a core, {images / elapsed:.1f} a"
        f" second of the clock; saved {100 * ended['bytes_saved'] / ended['bytes_in']:.0f} %; at"
        f" most {worker_bytes / 1e6:.0f} MB in the worker,"
        f" {codec_bytes / 1e6:.0f} MB in a codec process"
    )


def processor_seconds(worker: psutil.Process) -> float:
    """Processor time of the worker and its codec processes. None of them may end during the
    measurement.
    """
    times = [process.cpu_times() for process in [worker, *worker.children()]]
    return float(sum(each.user + each.system for each in times))


class Watch:
    """The highest resident memory seen in a worker, and in any of its codec processes."""

    def __init__(self, worker: psutil.Process) -> None:
        self._worker = worker
        self._most = [0, 0]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> tuple[int, int]:
        self._stopping.set()
        self._thread.join()
        return self._most[0], self._most[1]

    def _run(self) -> None:
        while not self._stopping.wait(0.1):
            codecs = [process.memory_info().rss for process in self._worker.children()]
            self._most = [
                max(self._most[0], self._worker.memory_info().rss),
                max(self._most[1], *codecs),
            ]


if __name__ == "__main__":
    main()
