"""Where the processor time of the end-to-end run goes: `python -m benchmarks.profile`, or `make
profile`.

A first run measures each part, undisturbed. A longer run measures functions: py-spy samples the
worker and the API, and writes a flame graph for the browser and the heaviest functions as text to
results/profile/. A sample counts the thread that holds the interpreter lock, so it shows only
Python's own time, not waiting or computing outside the lock.
"""

import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from benchmarks.figures import RESULTS, show
from benchmarks.origin import running_origin
from benchmarks.parts import milliseconds_an_image, used_so_far
from benchmarks.photos import LARGE, photos
from benchmarks.service import catalogue, run_to_the_end, running_service
from tests.support.halftone import Service

PRODUCTS, IMAGES = 1000, 2
SAMPLED_PRODUCTS, SAMPLE_SECONDS, SAMPLES_A_SECOND = 6000, 8, 400
FOLDER = RESULTS / "profile"
FUNCTIONS_LISTED = 25


def main() -> None:
    files = photos(LARGE)
    with running_origin(files) as urls, running_service() as service:
        run_to_the_end(service, catalogue(urls, 50, IMAGES))  # warms up
        before = used_so_far(service)
        run_to_the_end(service, catalogue(urls, PRODUCTS, IMAGES))
        show(
            "Processor time by part",
            milliseconds_an_image(before, used_so_far(service), PRODUCTS * IMAGES),
        )
        request_id = service.accepted(catalogue(urls, SAMPLED_PRODUCTS, IMAGES))
        written = _sample(service)
        service.http.post(f"/api/cancel/{request_id}")
        service.ended(request_id, 300)
    for path in written:
        print(path)


def _sample(service: Service) -> list[Path]:
    """Profile both processes at once, first for the text and then for the flame graph."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    processes = {"worker": service.processes["worker 1"].pid, "api": service.processes["api"].pid}
    for kind, suffix in (("raw", "raw"), ("flamegraph", "svg")):
        recorders = [
            threading.Thread(target=_record, args=(pid, kind, FOLDER / f"{name}.{suffix}"))
            for name, pid in processes.items()
        ]
        for recorder in recorders:
            recorder.start()
        for recorder in recorders:
            recorder.join()
    for name in processes:
        raw = FOLDER / f"{name}.raw"
        text = _heaviest(raw.read_text())
        (FOLDER / f"{name}.txt").write_text(text)
        print(f"\n{name}\n{text}")
        raw.unlink()
    return [FOLDER / f"{name}.{suffix}" for name in processes for suffix in ("svg", "txt")]


def _record(pid: int, kind: str, path: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("py-spy")),
        "record",
        "--pid",
        str(pid),
        "--format",
        kind,
    ]
    options = [
        "--duration",
        str(SAMPLE_SECONDS),
        "--rate",
        str(SAMPLES_A_SECOND),
        "--gil",
        "--nonblocking",
    ]
    done = subprocess.run(
        [*command, *options, "--output", str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"py-spy cannot look into process {pid} (it may need root): {done.stderr.strip()}")


def _heaviest(raw: str) -> str:
    """The functions with the most samples of their own, and with the most including their
    callees.
    """
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [_without_line(frame) for frame in stack.split(";") if frame] or ["(unknown)"]
        own[frames[-1]] += int(count)
        whole.update(dict.fromkeys(frames, int(count)))
    samples = own.total() or 1
    lines = [f"{samples} samples in {SAMPLE_SECONDS} s at {SAMPLES_A_SECOND} a second"]
    for title, counts in (("by themselves", own), ("with what they call", whole)):
        lines += ["", title]
        lines += [
            f"{count / samples:6.1%}  {name}"
            for name, count in counts.most_common(FUNCTIONS_LISTED)
        ]
    return "\n".join(lines) + "\n"


def _without_line(frame: str) -> str:
    """`name (file:line)` as `name (file)`."""
    name, colon, line = frame.rpartition(":")
    return f"{name})" if colon and line.rstrip(")").isdecimal() else frame


if __name__ == "__main__":
    main()
