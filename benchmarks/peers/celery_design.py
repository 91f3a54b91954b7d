"""The job in the usual design: Celery over Redis, one task per request, requests and Pillow, one
image at a time.

Needs the dependency group `bench` and Debian's redis-server. `run` starts it as a Celery
application.
"""

import csv
import io
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.peers.run import Run, outputs, processor_seconds, run_with_outputs
from tests.support.halftone import free_port

REDIS_SERVER = shutil.which("redis-server")

if "PEER_BROKER" in os.environ:  # in the Celery worker, and in the client that `run` starts
    import requests
    from celery import Celery
    from PIL import Image

    app = Celery("peer", broker=os.environ["PEER_BROKER"], backend=os.environ["PEER_BROKER"])

    # The name is fixed, because client and worker import this module under different names.
    @app.task(name="process_images")  # type: ignore[untyped-decorator]
    def process_images(content: str, folder: str) -> int:
        """Download, compress, save and record every image of an uploaded CSV."""
        database = sqlite3.connect(Path(folder) / "images.db")
        database.execute(
            "CREATE TABLE IF NOT EXISTS products (serial TEXT, inputs TEXT, outputs TEXT,"
            " status TEXT)"
        )
        count = 0
        for serial, _, urls in list(csv.reader(io.StringIO(content)))[1:]:
            outputs: list[str] = []
            for url in urls.split(","):
                image = Image.open(io.BytesIO(requests.get(url, timeout=30).content))
                path = Path(folder) / f"{serial}-{len(outputs)}.jpg"
                image.convert("RGB").save(path, "JPEG", quality=50, optimize=True)
                outputs.append(str(path))
                count += 1
            database.execute(
                "INSERT INTO products VALUES (?, ?, ?, 'completed')",
                (serial, urls, ",".join(outputs)),
            )
            database.commit()
        return count


def run(content: str, folder: Path, tasks: int = 1) -> Run:
    """The seconds count from sending the upload to its result, with one worker process per core;
    the images go into the folder. In this design an upload is one task, which occupies one process;
    `tasks` uploads of equal size occupy that many processes.
    """
    if REDIS_SERVER is None:
        raise RuntimeError("the peer needs Redis: run `apt-get install redis-server`")
    port = free_port()
    redis = subprocess.Popen(
        [REDIS_SERVER, "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    environment = os.environ | {"PEER_BROKER": f"redis://127.0.0.1:{port}/0", "PYTHONPATH": "."}
    celery = [sys.executable, "-m", "celery", "-A", "benchmarks.peers.celery_design"]
    worker = subprocess.Popen(
        [*celery, "worker", "--loglevel", "ERROR", "--concurrency", str(os.cpu_count() or 1)],
        env=environment,
    )
    try:
        csv_path = folder / "products.csv"
        csv_path.write_text(content)
        client = [
            sys.executable,
            "-m",
            "benchmarks.peers.celery_design",
            str(csv_path),
            str(folder),
            str(tasks),
            str(redis.pid),
            str(worker.pid),
        ]
        said = subprocess.run(
            client, env=environment, check=True, capture_output=True, text=True
        ).stdout
        seconds, used = map(float, said.split())
        return run_with_outputs(seconds, used, outputs(content, folder))
    finally:
        worker.terminate()
        worker.wait()
        redis.terminate()
        redis.wait()


def main() -> None:
    content, folder, tasks = Path(sys.argv[1]).read_text(), sys.argv[2], int(sys.argv[3])
    processes = [int(pid) for pid in sys.argv[4:]]
    process_images.delay(HEADER_ONLY, folder).get()  # the worker is ready
    rows = content.removeprefix(HEADER_ONLY).splitlines(keepends=True)
    shares = [HEADER_ONLY + "".join(rows[number::tasks]) for number in range(tasks)]
    before = processor_seconds(processes)
    started = time.perf_counter()
    for waiting in [process_images.delay(share, folder) for share in shares]:
        waiting.get()
    print(time.perf_counter() - started, processor_seconds(processes) - before)


HEADER_ONLY = "Serial Number,Product Name,Input Image Urls\n"

if __name__ == "__main__":
    main()
