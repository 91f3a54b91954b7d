"""The codec processes, real ones: side by side, killed at the deadline, replaced after a crash, gone at the end."""

import asyncio
import errno
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
import uvloop
from PIL import Image

from halftone_shared.states import Action, ImageErrorCode, Mode, OutputFormat
from halftone_workers import codec_handle, codec_pool
from halftone_workers.codec.options import CodecLimits, CodecOptions, Compressed, ImageRefused
from halftone_workers.codec.pipeline import compress
from halftone_workers.codec_handle import MEMORY_BYTES
from halftone_workers.codec_pool import CodecPool
from tests.support.images import encoded, jpeg, opened, picture

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc; the limits go further on Linux")

_FAST = CodecOptions()
# AVIF, five megapixels, a search of seven encodes: several seconds of C code that heeds no thread.
_SLOW = CodecOptions(mode=Mode.BYTES, ratio=0.01, format=OutputFormat.AVIF)


def _running_on(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> Run[Any]:
    def run(work: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(work)

    return run


@pytest.fixture
def run() -> Run[Any]:
    """On the event loop that workers run on."""
    return _running_on(uvloop.new_event_loop)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run_on_both(request: pytest.FixtureRequest) -> Run[Any]:
    """On both kinds of event loop, which differ in what it does to close a socket that is waited for."""
    return _running_on(request.param)


@pytest.fixture(scope="module")
def slow_image() -> bytes:
    return encoded(Image.effect_noise((2400, 2100), 80).convert("RGB"))


@asynccontextmanager
async def _pool(
    processes: int = 1, *, timeout_seconds: float = 20, limits: CodecLimits | None = None
) -> AsyncIterator[CodecPool]:
    pool = CodecPool(processes, limits or CodecLimits(), timeout_seconds=timeout_seconds)
    await pool.start()
    try:
        yield pool
    finally:
        await pool.close()


def _pids(pool: CodecPool) -> set[int]:
    return {process.pid for process in pool._all}


def _is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    states = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(states.strip()) and not states.strip().startswith("Z")


def _codec_children() -> list[int]:
    """Codec processes whose parent is this process."""
    rows = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    found = [row.split(None, 2) for row in rows.splitlines() if "halftone_workers.codec_process" in row]
    return [int(pid) for pid, parent, _ in found if int(parent) == os.getpid()]


async def _refusal(job: Coroutine[Any, Any, Compressed]) -> ImageErrorCode:
    with pytest.raises(ImageRefused) as refused:
        await job
    return refused.value.code


async def _until(condition: Callable[[], bool], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.01)


async def _started(pool: CodecPool) -> None:
    """Every process has confined itself and waits for work."""
    await asyncio.gather(*(pool.compress(jpeg((16, 16)), _FAST) for _ in range(pool._size)))


async def _given_while_stopped(pool: CodecPool, images: int) -> "list[asyncio.Future[Compressed]]":
    """Images for processes that do nothing until they are continued."""
    await _started(pool)
    for pid in _pids(pool):
        os.kill(pid, signal.SIGSTOP)
    return [asyncio.ensure_future(pool.compress(jpeg(seed=seed), _FAST)) for seed in range(images)]


# --- work ---


def test_process_gives_what_the_codec_gives(run: Run[None]) -> None:
    async def work() -> None:
        async with _pool() as pool:
            for data in (jpeg(), encoded(picture(), "PNG", compress_level=0), encoded(picture((4, 4)), quality=1)):
                assert await pool.compress(data, _FAST) == compress(data, _FAST, CodecLimits())

    run(work())


def test_options_and_limits_reach_the_process(run: Run[None]) -> None:
    async def work() -> None:
        options = CodecOptions(Mode.SCALE, 40, 0.25, format=OutputFormat.WEBP)
        async with _pool(limits=CodecLimits(max_pixels=10_000, max_frames=2)) as pool:
            result = await pool.compress(jpeg((100, 100)), options)
            assert (result.format, result.extension, result.width, result.height) == ("WEBP", "webp", 25, 25)
            assert await _refusal(pool.compress(jpeg((101, 100)), options)) is ImageErrorCode.TOO_MANY_PIXELS
            frames = [picture((20, 20), seed=seed) for seed in (1, 2, 3)]
            film = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
            assert await _refusal(pool.compress(film, options)) is ImageErrorCode.TOO_MANY_FRAMES

    run(work())


def test_warnings_and_kept_originals_come_back(run: Run[None]) -> None:
    async def work() -> None:
        async with _pool() as pool:
            half_clear = picture((200, 200)).convert("RGBA")
            half_clear.putalpha(128)
            clear = encoded(half_clear, "PNG", compress_level=0)
            flattened = await pool.compress(clear, CodecOptions(format=OutputFormat.JPEG))
            assert len(flattened.warnings) == 1
            kept = await pool.compress(encoded(picture((8, 8)), quality=1, optimize=True), _FAST)
            assert (kept.data, kept.action) == (None, Action.KEPT_ORIGINAL)

    run(work())


def test_refused_image_costs_no_process(run: Run[None]) -> None:
    async def work() -> None:
        async with _pool() as pool:
            before = _pids(pool)
            assert await _refusal(pool.compress(b"<html>", _FAST)) is ImageErrorCode.NOT_AN_IMAGE
            assert await _refusal(pool.compress(b"BM" + bytes(60), _FAST)) is ImageErrorCode.UNSUPPORTED_FORMAT
            assert await _refusal(pool.compress(jpeg()[:3000], _FAST)) is ImageErrorCode.CORRUPT_IMAGE
            assert (await pool.compress(jpeg(), _FAST)).width == 320
            assert _pids(pool) == before

    run(work())


def test_every_job_gets_its_own_answer(run: Run[None]) -> None:
    async def work() -> None:
        async with _pool(2) as pool:
            sizes = [(20 + number, 90 - number) for number in range(60)]
            results = await asyncio.gather(*(pool.compress(jpeg(size), _FAST) for size in sizes))
            for size, result in zip(sizes, results, strict=True):
                assert (result.width, result.height) == size
                assert result.data is not None
                assert opened(result.data).size == size

    run(work())


def test_large_image_goes_through_the_pipe_whole(run: Run[None]) -> None:
    async def work() -> None:
        data = encoded(picture((1500, 1200)), "PNG", compress_level=0)
        assert len(data) > 5_000_000
        async with _pool() as pool:
            result = await pool.compress(data, CodecOptions(format=OutputFormat.JPEG, quality=95))
            assert result == compress(data, CodecOptions(format=OutputFormat.JPEG, quality=95), CodecLimits())

    run(work())


@pytest.mark.parametrize("other", [False, True])
def test_jobs_run_side_by_side_up_to_the_size(run: Run[None], other: bool) -> None:
    async def work() -> None:
        async with _pool(2) as pool:
            jobs = await _given_while_stopped(pool, 3)
            await asyncio.sleep(0.1)
            assert pool.busy == 2
            first, second = _pids(pool)
            # Whichever the third one was given to, the process that goes on does it, while the other has not moved.
            first, second = (second, first) if other else (first, second)
            os.kill(first, signal.SIGCONT)
            await _until(lambda: sum(job.done() for job in jobs) == 2)
            os.kill(second, signal.SIGCONT)
            assert all(result.width == 320 for result in await asyncio.gather(*jobs))
            assert _pids(pool) == {first, second}

    run(work())


def test_image_that_is_held_up_is_compressed_once(run: Run[None]) -> None:
    async def work() -> None:
        async with _pool(2) as pool:
            jobs = await _given_while_stopped(pool, 3)
            await asyncio.sleep(codec_handle.AHEAD_SECONDS + 0.1)
            two, one = sorted(pool._all, key=lambda process: len(process.jobs), reverse=True)
            assert (len(two.jobs), len(one.jobs)) == (2, 1)
            os.kill(two.pid, signal.SIGCONT)
            await _until(lambda: sum(job.done() for job in jobs) == 2)
            assert (len(two.jobs), len(one.jobs)) == (0, 1)
            os.kill(one.pid, signal.SIGCONT)
            await asyncio.gather(*jobs)
            assert pool.busy == 0

    run(work())


# --- the deadline ---


def test_job_over_its_deadline_is_killed_and_the_next_one_works(run: Run[None], slow_image: bytes) -> None:
    async def work() -> None:
        async with _pool(timeout_seconds=1) as pool:
            await _started(pool)
            (before,) = _pids(pool)
            started = time.monotonic()
            assert await _refusal(pool.compress(slow_image, _SLOW)) is ImageErrorCode.ENCODE_TIMEOUT
            assert 1 <= time.monotonic() - started < 1.5
            assert not _is_alive(before)
            assert (await pool.compress(jpeg(), _FAST)).width == 320
            assert before not in _pids(pool)
            assert len(_pids(pool)) == 1

    run(work())


def test_waiting_for_a_free_process_does_not_count(run: Run[None]) -> None:
    async def work() -> None:
        async with _pool(timeout_seconds=1) as pool:
            await _started(pool)
            (pid,) = _pids(pool)
            os.kill(pid, signal.SIGSTOP)
            stuck = asyncio.ensure_future(_refusal(pool.compress(jpeg(), _FAST)))
            await asyncio.sleep(0)
            # Each of these waits for longer than the limit before its turn comes.
            results = await asyncio.gather(*(pool.compress(jpeg(seed=seed), _FAST) for seed in range(4)))
            assert await stuck is ImageErrorCode.ENCODE_TIMEOUT
            assert all(result.width == 320 for result in results)

    run(work())


def test_image_that_is_sent_to_a_process_that_does_not_read_ends_at_the_deadline(run: Run[None]) -> None:
    async def work() -> None:
        async with _pool(timeout_seconds=0.5) as pool:
            (pid,) = _pids(pool)
            os.kill(pid, signal.SIGSTOP)
            megabytes = b"\xff\xd8\xff" + bytes(8_000_000)
            assert await _refusal(pool.compress(megabytes, _FAST)) is ImageErrorCode.ENCODE_TIMEOUT
            assert not _is_alive(pid)

    run(work())


# --- crashes ---


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_process_killed_in_the_middle_costs_its_image_only(
    run: Run[None], slow_image: bytes, number: signal.Signals
) -> None:
    async def work() -> None:
        async with _pool(2) as pool:
            await _started(pool)
            before = _pids(pool)
            doomed = asyncio.ensure_future(_refusal(pool.compress(slow_image, _SLOW)))
            await asyncio.sleep(0.3)
            busy = {process.pid for process in pool._all if process.jobs}
            (victim,) = busy
            beside = [asyncio.ensure_future(pool.compress(jpeg(seed=seed), _FAST)) for seed in (1, 2)]
            os.kill(victim, number)
            assert await doomed is ImageErrorCode.ENCODE_CRASHED
            assert [result.width for result in await asyncio.gather(*beside)] == [320, 320]
            assert len(_pids(pool) & before) == 1
            assert len(_pids(pool)) == 2
            # Both of the two now in the pool work: each has its turn.
            results = await asyncio.gather(*(pool.compress(jpeg(seed=seed), _FAST) for seed in range(8)))
            assert all(result.width == 320 for result in results)

    run(work())


def test_process_that_died_while_it_had_nothing_to_do_costs_no_image(run: Run[None]) -> None:
    async def work() -> None:
        async with _pool() as pool:
            await _started(pool)
            (pid,) = _pids(pool)
            os.kill(pid, signal.SIGKILL)
            await _until(lambda: not _is_alive(pid))
            assert (await pool.compress(jpeg(), _FAST)).width == 320

    run(work())


@linux_only
def test_process_that_cannot_be_started_is_started_later(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    start = subprocess.Popen
    refusals = [OSError(errno.EAGAIN, "Resource temporarily unavailable")] * 2

    def start_or_not(*arguments: Any, **how: Any) -> "subprocess.Popen[bytes]":
        if refusals:
            raise refusals.pop()
        return start(*arguments, **how)

    async def work() -> None:
        async with _pool() as pool:
            await _started(pool)
            open_files = psutil.Process().num_fds()
            (pid,) = _pids(pool)
            monkeypatch.setattr(codec_pool, "START_AGAIN_SECONDS", 0.05)
            os.kill(pid, signal.SIGKILL)
            await _until(lambda: not _is_alive(pid))
            monkeypatch.setattr(subprocess, "Popen", start_or_not)
            assert (await pool.compress(jpeg((48, 36)), _FAST)).width == 48
            assert len(_pids(pool) - {pid}) == 1
            assert not refusals
            assert psutil.Process().num_fds() == open_files

    run(work())


@linux_only
def test_image_that_needs_more_memory_than_there_is_costs_itself_only(
    run: Run[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec_handle, "MEMORY_BYTES", 400 * 1024**2)

    async def work() -> None:
        header = struct.pack(">II", 12_000, 12_000) + b"\x08\x06\0\0\0"
        bomb = b"\x89PNG\r\n\x1a\n"
        for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100_000))), (b"IEND", b"")):
            bomb += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        async with _pool(limits=CodecLimits(max_pixels=10**9)) as pool:
            assert await _refusal(pool.compress(bomb, _FAST)) is ImageErrorCode.ENCODE_CRASHED
            assert (await pool.compress(jpeg(), _FAST)).width == 320

    run(work())


def test_canvas_that_does_not_fit_into_memory_is_said_to_be_too_large_not_corrupt(run: Run[None]) -> None:
    async def work() -> None:
        frames = [picture((60, 40), seed=seed) for seed in (1, 2)]
        film = bytearray(encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
        assert film[12:16] == b"VP8X"
        film[24:30] = (16_382).to_bytes(3, "little") * 2
        async with _pool() as pool:
            assert await _refusal(pool.compress(bytes(film), _FAST)) is ImageErrorCode.TOO_MANY_PIXELS

    run(work())


def test_job_behind_one_that_breaks_its_process_goes_to_another(run: Run[None]) -> None:
    async def work() -> None:
        async with _pool() as pool:
            await _started(pool)
            (pid,) = _pids(pool)
            os.kill(pid, signal.SIGSTOP)
            doomed = asyncio.ensure_future(_refusal(pool.compress(jpeg(), _FAST)))
            behind = [asyncio.ensure_future(pool.compress(jpeg((48 + at, 36)), _FAST)) for at in range(3)]
            await asyncio.sleep(0.05)
            (process,) = pool._all
            assert len(process.jobs) == 4
            os.kill(pid, signal.SIGKILL)
            assert await doomed is ImageErrorCode.ENCODE_CRASHED
            assert [result.width for result in await asyncio.gather(*behind)] == [48, 49, 50]

    run(work())


def test_image_waits_for_no_other_while_a_process_is_free(run: Run[None], slow_image: bytes) -> None:
    async def work() -> None:
        async with _pool(2) as pool:
            await _started(pool)
            slow = asyncio.ensure_future(pool.compress(slow_image, _SLOW))
            for _ in range(4):
                await asyncio.gather(*(pool.compress(jpeg(), _FAST) for _ in range(4)))
            assert not slow.done()
            slow.cancel()

    run(work())


# --- cancelling ---


def test_cancelled_job_does_not_answer_the_next_one(run_on_both: Run[None], slow_image: bytes) -> None:
    async def work() -> None:
        async with _pool() as pool:
            await _started(pool)
            (before,) = _pids(pool)
            cancelled = asyncio.ensure_future(pool.compress(slow_image, _SLOW))
            await asyncio.sleep(0.2)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert not _is_alive(before)
            assert (await pool.compress(jpeg((48, 36)), _FAST)).width == 48
            assert len(_pids(pool)) == 1

    run_on_both(work())


def test_job_cancelled_at_any_moment_leaves_a_pool_that_works(run_on_both: Run[None]) -> None:
    async def work() -> None:
        async with _pool(2) as pool:
            await _started(pool)
            for moment in range(12):
                job = asyncio.ensure_future(pool.compress(jpeg((64, 64)), _FAST))
                await asyncio.sleep(moment * 0.0005)
                job.cancel()
                await asyncio.gather(job, return_exceptions=True)
            sizes = [(30 + number, 40) for number in range(10)]
            results = await asyncio.gather(*(pool.compress(jpeg(size), _FAST) for size in sizes))
            assert [result.width for result in results] == [width for width, _ in sizes]
            assert len(_pids(pool)) == len(_codec_children()) == 2

    run_on_both(work())


def test_job_cancelled_before_its_turn_takes_no_process(run: Run[None]) -> None:
    async def work() -> None:
        async with _pool() as pool:
            await _started(pool)
            (pid,) = _pids(pool)
            os.kill(pid, signal.SIGSTOP)
            busy, waiting, last = (asyncio.ensure_future(pool.compress(jpeg(), _FAST)) for _ in range(3))
            await asyncio.sleep(0.05)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            os.kill(pid, signal.SIGCONT)
            assert [result.width for result in await asyncio.gather(busy, last)] == [320, 320]
            assert _pids(pool) == {pid}

    run(work())


# --- the end ---


def test_no_child_remains_after_close(run_on_both: Run[None]) -> None:
    async def work() -> None:
        async with _pool(3) as pool:
            pids = _pids(pool)
            assert sorted(_codec_children()) == sorted(pids)
            await pool.compress(jpeg(), _FAST)
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
        assert _codec_children() == []

    run_on_both(work())


def test_close_in_the_middle_of_a_job_leaves_no_child_and_no_wait(run_on_both: Run[None], slow_image: bytes) -> None:
    async def work() -> None:
        async with _pool(timeout_seconds=1.5) as pool:
            await _started(pool)
            job = asyncio.ensure_future(pool.compress(slow_image, _SLOW))
            queued = asyncio.ensure_future(pool.compress(jpeg(), _FAST))
            await asyncio.sleep(0.2)
            await pool.close()
            _, pending = await asyncio.wait((job, queued), timeout=0.5)
            hanging = len(pending)
            await asyncio.wait((job, queued), timeout=3)
            remaining = _codec_children()
            for task in (job, queued):
                task.cancel()
            await asyncio.gather(job, queued, return_exceptions=True)
        assert remaining == []
        assert hanging == 0

    try:
        run_on_both(work())
    finally:
        for pid in _codec_children():  # whatever the test showed, the next one starts without
            os.kill(pid, signal.SIGKILL)


_HELPER = """
import asyncio, sys
from halftone_workers.codec.options import CodecLimits, CodecOptions
from halftone_workers.codec_pool import CodecPool

async def main() -> None:
    pool = CodecPool(2, CodecLimits(), timeout_seconds=60)
    await pool.start()
    image, slow = (open(path, "rb").read() for path in sys.argv[1:3])
    await asyncio.gather(*(pool.compress(image, CodecOptions()) for _ in range(2)))
    options = CodecOptions.from_json({"mode": "bytes", "ratio": 0.01, "format": "avif"})
    busy = asyncio.ensure_future(pool.compress(slow, options))
    await asyncio.sleep(0.2)
    print(*(process.pid for process in pool._all), flush=True)
    await busy
    print("done", flush=True)

asyncio.run(main())
"""


@linux_only
def test_processes_die_with_their_parent_busy_or_not(tmp_path: Path, slow_image: bytes) -> None:
    (tmp_path / "image").write_bytes(jpeg())
    (tmp_path / "slow").write_bytes(slow_image)
    arguments = [sys.executable, "-c", _HELPER, str(tmp_path / "image"), str(tmp_path / "slow")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as helper:
        assert helper.stdout is not None
        pids = [int(pid) for pid in helper.stdout.readline().split()]
        assert len(pids) == 2
        assert all(_is_alive(pid) for pid in pids)
        helper.kill()
        assert helper.stdout.read() == ""  # it was killed in the middle
    end = time.monotonic() + 3
    while any(_is_alive(pid) for pid in pids):
        assert time.monotonic() < end, "a codec process outlives its parent"
        time.sleep(0.02)


# --- what a process holds and may do ---


@linux_only
def test_process_holds_no_secret_and_may_do_little(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "HALFTONE_WEBHOOK_SECRET": "whsec_sesame",
        "HALFTONE_DATABASE_URL": "postgresql://u:sesame@127.0.0.1/x",
        "HALFTONE_RABBITMQ_URL": "amqp://u:sesame@127.0.0.1/",
        "AWS_SECRET_ACCESS_KEY": "sesame",
        "AWS_SESSION_TOKEN": "sesame",
        "PGPASSWORD": "sesame",
        "ANYTHING_ELSE": "sesame",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)

    async def work() -> None:
        async with _pool() as pool:
            await _started(pool)
            process = Path("/proc") / str(*_pids(pool))
            environment = process.joinpath("environ").read_bytes()
            assert b"MALLOC_" in environment  # what is looked at is the right process
            assert b"sesame" not in environment
            assert b"sesame" not in process.joinpath("cmdline").read_bytes()
            status = dict(line.split(":\t", 1) for line in process.joinpath("status").read_text().splitlines())
            assert status["NoNewPrivs"] == "1"
            assert status["Seccomp"] == "2"
            assert (
                _limits(process)
                >= {
                    "Max file size": "0",
                    "Max core file size": "0",
                    "Max open files": "16",
                    "Max address space": str(MEMORY_BYTES),
                }.items()
            )

    run(work())


def _limits(process: Path) -> Any:
    """Soft limits, where the hard ones are the same."""
    rows = process.joinpath("limits").read_text().splitlines()[1:]
    parts = [(row[:26].strip(), *row[26:].split()[:2]) for row in rows]
    return {name: soft for name, soft, hard in parts if soft == hard}.items()


def _descriptors(pid: int) -> dict[str, str]:
    return {entry.name: str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}


@linux_only
def test_process_has_no_connection_but_the_one_to_its_parent(run: Run[None]) -> None:
    async def work() -> None:
        async with _pool(2) as pool:
            await _started(pool)
            for pid in _pids(pool):
                descriptors = _descriptors(pid)
                assert sum(target.startswith("socket:") for target in descriptors.values()) == 1
                assert descriptors["0"] == os.devnull

    run(work())


def test_confined_process_cannot_write_a_file(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from halftone_workers.codec_process import confine\n"
        "confine(1 << 31)\n"
        "with open(sys.argv[1], 'wb') as file:\n"
        "    file.write(b'x' * 100000)\n"
        "print('written')\n"
    )
    target = tmp_path / "written"
    ended = subprocess.run([sys.executable, "-c", code, str(target)], capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "written" not in ended.stdout
    assert not target.exists() or target.stat().st_size == 0
    # Without the confinement, the same program writes.
    free = code.replace("confine(1 << 31)\n", "")
    subprocess.run([sys.executable, "-c", free, str(target)], capture_output=True, check=True)
    assert target.stat().st_size == 100_000


@linux_only
@pytest.mark.parametrize(
    "harm",
    [
        "import socket; socket.socket()",
        "import socket; socket.socketpair()[0].getsockname(); socket.create_connection(('127.0.0.1', 9))",
        "import os; os.execv('/bin/true', ['true'])",
        "import os; os.fork()",
        "import subprocess; subprocess.run(['/bin/true'])",
        "import os; os.unlink(target)",
        "import os; os.rename(target, target + '2')",
        "import os; os.truncate(target, 0)",
        "import os; os.chmod(target, 0o777)",
        "import os; os.kill(os.getppid(), 0)",
    ],
)
def test_confined_process_can_do_no_harm(tmp_path: Path, harm: str) -> None:
    code = (
        "import sys\n"
        "from halftone_workers.codec_process import confine\n"
        "target = sys.argv[1]\n"
        "confine(1 << 31)\n"
        f"try:\n    {harm}\n"
        "except PermissionError:\n    print('refused')\n"
        "else:\n    print('done')\n"
    )
    target = tmp_path / "target"
    target.write_bytes(b"kept")

    def run_it(code: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", code, str(target)], capture_output=True, text=True, check=False
        ).stdout

    assert run_it(code) == "refused\n"
    assert target.read_bytes() == b"kept"
    assert "refused" not in run_it(code.replace("confine(1 << 31)\n", ""))


def test_interrupt_in_the_terminal_does_not_end_a_process(run: Run[None]) -> None:
    async def work() -> None:
        async with _pool() as pool:
            await _started(pool)
            (pid,) = _pids(pool)
            os.kill(pid, signal.SIGINT)
            assert (await pool.compress(jpeg(), _FAST)).width == 320
            assert _pids(pool) == {pid}
            assert os.getpgid(pid) != os.getpgid(0)

    run(work())
