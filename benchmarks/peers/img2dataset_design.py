"""img2dataset: fetches lists of images, here encoded again at quality 50. A process per core."""

import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.peers.run import Run, run_with_outputs
from benchmarks.photos import FOLDER

VERSION = "1.47.0"
PROGRAM = Path(__file__).with_name("img2dataset") / "peer.py"
_ENVIRONMENT = FOLDER / f"img2dataset-{VERSION}"
# Without it, a library asks PyPI for its newest version at each start.
_OFFLINE = {"NO_ALBUMENTATIONS_UPDATE": "1"}


def run(content: str, folder: Path, *, threads: int) -> Run:
    """Compress every image of an uploaded CSV. `threads` holds for each process.

    The seconds count from the start of the first shard to the end of the last, without the start of
    its processes. Their processor time is included; see `without_start`.
    """
    rows = list(csv.reader(io.StringIO(content)))[1:]
    urls = [url for _, _, cell in rows for url in cell.split(",")]
    shard = max(1, len(urls) // (2 * (os.cpu_count() or 1)))
    listed, made = folder / "urls.txt", folder / "out"
    listed.write_text("\n".join(urls))
    command = [_python(), str(PROGRAM), str(listed), str(made), str(threads), str(shard)]
    process = subprocess.Popen(
        command, env=os.environ | _OFFLINE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"img2dataset ended with status {os.waitstatus_to_exitcode(status)}")
    paths = sorted(made.rglob("*.jpg"), key=lambda path: path.name)
    if len(paths) != len(urls):
        raise RuntimeError(f"img2dataset made {len(paths)} of {len(urls)} images")
    return run_with_outputs(_seconds(made), used.ru_utime + used.ru_stime, paths)


def _seconds(made: Path) -> float:
    shards = [json.loads(path.read_text()) for path in made.glob("*_stats.json")]
    started, ended = ([shard[name] for shard in shards] for name in ("start_time", "end_time"))
    return float(max(ended) - min(started))


def without_start(whole: Run, start: Run) -> Run:
    """Leave out the processor time of a run of one image: a service is running already."""
    return replace(whole, processor_seconds=whole.processor_seconds - start.processor_seconds)


def install() -> None:
    """Install it once, in an environment of its own: its dependencies exclude ours."""
    if not (_ENVIRONMENT / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", _ENVIRONMENT], check=True)
        pip = [_python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"img2dataset=={VERSION}"], check=True)
        (_ENVIRONMENT / "installed").touch()


def _python() -> str:
    return str((_ENVIRONMENT / "bin" / "python").absolute())
