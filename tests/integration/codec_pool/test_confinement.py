"""What a codec process has access to, and what it may do."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from halftone_workers.codec_processes.child import MEMORY_BYTES
from tests.support.codec_pool import FAST, Run, all_ready, linux_only, pids_of, running_pool
from tests.support.images import jpeg


@linux_only
def test_process_holds_no_secret_and_may_do_little(
    run: Run[None], monkeypatch: pytest.MonkeyPatch
) -> None:
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
        async with running_pool() as pool:
            await all_ready(pool)
            process = Path("/proc") / str(*pids_of(pool))
            environment = process.joinpath("environ").read_bytes()
            assert b"MALLOC_" in environment  # proves that this is the right process
            assert b"sesame" not in environment
            assert b"sesame" not in process.joinpath("cmdline").read_bytes()
            status = dict(
                line.split(":\t", 1) for line in process.joinpath("status").read_text().splitlines()
            )
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
        async with running_pool(2) as pool:
            await all_ready(pool)
            for pid in pids_of(pool):
                descriptors = _descriptors(pid)
                assert sum(target.startswith("socket:") for target in descriptors.values()) == 1
                assert descriptors["0"] == os.devnull

    run(work())


def test_confined_process_cannot_write_a_file(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from halftone_workers.codec_processes.child import confine\n"
        "confine(1 << 31)\n"
        "with open(sys.argv[1], 'wb') as file:\n"
        "    file.write(b'x' * 100000)\n"
        "print('written')\n"
    )
    target = tmp_path / "written"
    ended = subprocess.run(
        [sys.executable, "-c", code, str(target)], capture_output=True, text=True, check=False
    )
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
        "import socket; socket.socketpair()[0].getsockname();"
        " socket.create_connection(('127.0.0.1', 9))",
        "import os; os.execv('/bin/true', ['true'])",
        "import os; os.fork()",
        "import subprocess; subprocess.run(['/bin/true'])",
        "import os; os.unlink(target)",
        "import os; os.rename(target, target + '2')",
        "import os; os.truncate(target, 0)",
        "import os; os.chmod(target, 0o777)",
        "import os; os.utime(target, (0, 0))",
        "import os; os.mkfifo(target + '2')",
        "open(target, 'w')",
        "open(target, 'a')",
        "open(target + '2', 'x')",
        "import mmap; mmap.mmap(open(target, 'r+').fileno(), 4)[0] = 0",
        "import os; os.open(target, os.O_TRUNC)",
        "import os; os.open(f'/proc/{os.getppid()}/mem', os.O_RDWR)",
        "import os; os.kill(os.getppid(), 0)",
        "import os; raw(tgkill, os.getppid(), os.getppid(), 0)",
        "import os; raw(rt_sigqueueinfo, os.getppid(), 0, struct.pack('3i116x', 0, 0, -1))",
        "import os, resource; resource.prlimit(os.getppid(), resource.RLIMIT_CORE, (0, 0))",
    ],
)
def test_confined_process_can_do_no_harm(tmp_path: Path, harm: str) -> None:
    code = (
        "import ctypes, platform, struct, sys\n"
        "from halftone_workers.codec_processes.child import confine\n"
        "tgkill, rt_sigqueueinfo = (131, 138) if platform.machine() == 'aarch64' else (234, 129)\n"
        "def raw(*call):\n"
        "    libc = ctypes.CDLL(None, use_errno=True)\n"
        "    if libc.syscall(*call):\n"
        "        raise OSError(ctypes.get_errno(), 'refused')\n"
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


# The test process's own priority, which the unconfined run must not change.
PRIORITY = os.getpriority(os.PRIO_PROCESS, 0)


@linux_only
@pytest.mark.parametrize(
    "reading",
    [
        "open('/etc/passwd').read()",
        "open('/etc/shadow').read()",
        "open(target).read()",
        "import os; os.listdir(os.path.dirname(target))",
        "import os; os.listdir('/')",
        "open(f'/proc/{os.getppid()}/environ').read()",
        "open('/proc/self/environ').read()",
        "open('pyproject.toml').read()",
        f"import os; os.setpriority(os.PRIO_PROCESS, os.getppid(), {PRIORITY})",
    ],
)
def test_confined_process_sees_no_files_but_pythons(tmp_path: Path, reading: str) -> None:
    code = (
        "import os, sys\n"
        "from halftone_workers.codec_processes.child import confine\n"
        "target = sys.argv[1]\n"
        "confine(1 << 31)\n"
        f"try:\n    {reading}\n"
        "except PermissionError:\n    print('refused')\n"
        "else:\n    print('done')\n"
        "import PIL.FliImagePlugin\n"
    )
    target = tmp_path / "target"
    target.write_text("secret")

    def run_it(code: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", code, str(target)], capture_output=True, text=True, check=False
        ).stdout

    assert run_it(code) == "refused\n"
    assert run_it(code.replace("confine(1 << 31)\n", "")) == "done\n"


@linux_only
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to give up")
def test_process_that_root_starts_has_no_capabilities_and_ends_first(run: Run[None]) -> None:
    async def work() -> None:
        async with running_pool() as pool:
            await all_ready(pool)
            process = Path("/proc") / str(*pids_of(pool))
            status = dict(
                line.split(":\t", 1) for line in process.joinpath("status").read_text().splitlines()
            )
            assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
            assert process.joinpath("oom_score_adj").read_text().strip() == "800"

    run(work())


@linux_only
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to give up")
@pytest.mark.parametrize(("folder", "user"), [("/usr/lib", 65534), ("/root", 0)])
def test_root_becomes_nobody_where_nobody_can_read_python(folder: str, user: int) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from halftone_workers.codec_processes.privileges import drop_privileges\n"
        "drop_privileges([Path(sys.argv[1])])\n"
        "print(*os.getresuid(), *os.getresgid(), *os.getgroups())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True
    )
    assert ended.stdout.split()[:6] == [str(user)] * 6


@linux_only
def test_worker_lets_no_other_process_look_into_it() -> None:
    code = (
        "import ctypes\n"
        "from halftone_workers.codec_processes.privileges import forbid_inspection\n"
        "forbid_inspection()\n"
        "print(ctypes.CDLL(None).prctl(3))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "0\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_that_reaches_all_processes_does_not_end_one(
    number: signal.Signals, run: Run[None]
) -> None:
    """For example Ctrl-C in a terminal, or systemd, which stops a service with a SIGTERM to each of
    its processes.
    """

    async def work() -> None:
        async with running_pool() as pool:
            await all_ready(pool)
            (pid,) = pids_of(pool)
            os.kill(pid, number)
            assert (await pool.compress(jpeg(), FAST)).width == 320
            assert pids_of(pool) == {pid}
            assert os.getpgid(pid) != os.getpgid(0)

    run(work())
