"""A catalogue with every kind of bomb among a thousand good images: each bomb fails only its own
slot.
"""

import gzip
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.support.csv_files import HEADER
from tests.support.halftone import Service, running_up
from tests.support.hostile import Visitor, hostile_server
from tests.support.images import encoded, jpeg, picture
from tests.support.origin import Answer, Origin

GOOD_IMAGES, IMAGES_A_PRODUCT = 1000, 10
MAX_BYTES = 1_000_000
MEMORY_BYTES = 1024**3


def _png(size: tuple[int, int], data: bytes) -> bytes:
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)),
        (b"IDAT", data),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def _gif(screen: tuple[int, int], frames: list[tuple[int, int]]) -> bytes:
    data = b"GIF89a" + struct.pack("<HH", *screen) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    for size in frames:
        data += b"," + struct.pack("<HHHH", 0, 0, *size) + b"\0" + b"\x02\x02\x4c\x01\0"
    return data + b";"


def _zeros(megabytes: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()


def _many_scans() -> bytes:
    data = encoded(picture((64, 48)), progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * 1000 + data[-2:]


def _bombs() -> dict[str, tuple[Answer, str]]:
    good = jpeg()
    return {
        "too many pixels, told by a PNG": (
            Answer(_png((60_000, 60_000), zlib.compress(b"\0"))),
            "too_many_pixels",
        ),
        "too many pixels, told by a GIF": (
            Answer(_gif((10, 10), [(10, 10), (60_000, 60_000)])),
            "too_many_pixels",
        ),
        "frames on a huge canvas": (Answer(_gif((7000, 7000), [(1, 1)] * 400)), "too_many_pixels"),
        "too many frames": (Answer(_gif((10, 10), [(1, 1)] * 2000)), "too_many_frames"),
        "pixels for which there is no time": (
            Answer(
                encoded(picture((64, 64)).resize((7000, 7000)), "PNG", compress_level=1)[:900_000]
            ),
            "corrupt_image",
        ),
        "an animation for which there is no time": (Answer(_slow_animation()), "encode_timeout"),
        # The decoder unpacks no more than the header declares.
        "a gigabyte behind a small header": (Answer(_png((10, 10), _zeros(900))), ""),
        "a thousand scans": (Answer(_many_scans()), "corrupt_image"),
        "half an image": (Answer(good[: len(good) // 2]), "corrupt_image"),
        "a page": (Answer(b"<!doctype html><title>Gone</title>"), "not_an_image"),
        "PostScript": (
            Answer(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"),
            "unsupported_format",
        ),
        "SVG": (
            Answer(b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>"),
            "unsupported_format",
        ),
        "a zipped image": (
            Answer(gzip.compress(good), headers={"Content-Encoding": "gzip"}),
            "",
        ),
        "a bomb zipped twice": (
            Answer(
                gzip.compress(gzip.compress(bytes(100 << 20))),
                headers={"Content-Encoding": "gzip, gzip"},
            ),
            "http_error",
        ),
        "nothing": (Answer(b""), "empty_body"),
        "too many bytes": (Answer(bytes(MAX_BYTES + 1)), "too_large"),
        "a way inside": (
            Answer(status=302, headers={"Location": "http://169.254.169.254/"}),
            "blocked_address",
        ),
        "a port inside": (
            Answer(status=302, headers={"Location": "http://10.0.0.1:6379/"}),
            "blocked_address",
        ),
        "a way to a file": (
            Answer(status=302, headers={"Location": "file:///etc/passwd"}),
            "invalid_url",
        ),
        "a circle": (Answer(status=302, headers={"Location": "/circle"}), "too_many_redirects"),
    }


def _slow_animation() -> bytes:
    frames = [Image.new("P", (2400, 2000), number) for number in range(30)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)


@contextmanager
def _watched_memory(service: Service) -> Iterator[list[int]]:
    """Peak memory (proportional, in bytes) of the worker and its codec processes together."""
    (worker,) = _workers(service)
    most, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            try:
                family = [worker, *worker.children(recursive=True)]
                most[0] = max(most[0], sum(process.memory_full_info().pss for process in family))
            except psutil.Error:
                continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        stop.set()
        thread.join()


def _workers(service: Service) -> list[psutil.Process]:
    family = psutil.Process(service.processes["up"].pid).children(recursive=True)
    return [process for process in family if process.cmdline()[-1:] == ["halftone_workers"]]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Service]:
    settings = {
        "encode_timeout_seconds": "4",
        "download_timeout_seconds": "6",
        "max_image_bytes": str(MAX_BYTES),
    }
    with running_up(tmp_path, max_attempts="1", connections_per_host="16", **settings) as running:
        yield running


def test_bombs_among_good_images_cost_their_own_slots(guarded: Service, origin: Origin) -> None:
    def endless(visitor: Visitor) -> None:
        visitor.read_request()
        visitor.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            visitor.send(b"10000\r\n" + bytes(65536) + b"\r\n")

    def silent(visitor: Visitor) -> None:
        visitor.wait_until_gone()

    good = [origin.serve(f"/{number}.jpg", jpeg((160, 120), seed=number)) for number in range(25)]
    with hostile_server(endless) as flood, hostile_server(silent) as silence:
        bombs = [
            (origin.serve(f"/{at}", answer), code)
            for at, (answer, code) in enumerate(_bombs().values())
        ]
        origin.serve("/circle", Answer(status=302, headers={"Location": "/circle"}))
        bombs += [(flood.url, "too_large"), (silence.url, "timeout")]
        rows, expected = [], []
        for product in range(GOOD_IMAGES // IMAGES_A_PRODUCT):
            urls = [(good[(product + image) % len(good)], "") for image in range(IMAGES_A_PRODUCT)]
            if product < len(bombs):
                urls.insert(product % IMAGES_A_PRODUCT, bombs[product])
            rows.append(f'{product},SKU{product},"{",".join(url for url, _ in urls)}"\n')
            expected.append([code for _, code in urls])
        (worker,) = _workers(guarded)
        with _watched_memory(guarded) as most:
            status = guarded.ended(guarded.accepted(HEADER + "".join(rows)), 150)
        products = guarded.products(status["request_id"])
    found = [
        [image["error"]["code"] if image["error"] else "" for image in product["images"]]
        for product in products
    ]
    assert found == expected
    assert status["failed_images"] == sum(bool(code) for _, code in bombs)
    assert status["processed_images"] == GOOD_IMAGES + sum(not code for _, code in bombs)
    assert _workers(guarded) == [worker]
    print(f"the worker and its codec processes had at most {most[0] / 2**20:.0f} MiB")
    assert 0 < most[0] < MEMORY_BYTES
