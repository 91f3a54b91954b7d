"""The embedded PostgreSQL: unusual folders, crashes, and leftovers of earlier runs."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from halftone_cli import embedded_postgres, postgres_programs
from halftone_cli.embedded_postgres import EmbeddedPostgres, PostgresUnavailable
from halftone_shared.db.engine import make_engine
from tests.support.halftone import wait_for


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedPostgres:
    """An embedded PostgreSQL that has been started and stopped."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("home") / "postgres")
    with _running(server):
        pass
    return server


@pytest.mark.parametrize("name", ["with space", "ünï 写真", "it's; (100 % & +)"])
def test_folder_may_have_any_usual_name(tmp_path: Path, name: str) -> None:
    with _running(EmbeddedPostgres(tmp_path / name / "postgres")) as server:
        assert _answers(server)
        engine = make_engine(server.url, pool_size=1)
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT current_database()").scalar() == "halftone"
        engine.dispose()


def test_folder_whose_path_postgresql_cannot_take_is_said(tmp_path: Path) -> None:
    with pytest.raises(PostgresUnavailable, match=r"its path has a '\$'"):
        EmbeddedPostgres(tmp_path / "do$llar")


def test_socket_beside_a_long_path_is_for_the_server_alone(tmp_path: Path) -> None:
    with _running(EmbeddedPostgres(tmp_path / ("long" * 30) / "postgres")) as server:
        folder = Path(server.url.partition("?host=")[2])
        assert folder != tmp_path / ("long" * 30) / "postgres"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert _answers(server)
    assert not folder.exists()


@pytest.mark.parametrize("left", ["another", "half", "nothing"])
def test_pid_file_of_no_server_is_passed_over(made: EmbeddedPostgres, left: str) -> None:
    folder = _folder(made)
    lines = [str(os.getpid()), str(folder), "1700000000", "5432", str(folder), "", "1 1", "ready"]
    content = {"another": "\n".join(lines) + "\n", "half": "\n".join(lines[:2]), "nothing": ""}[
        left
    ]
    with _pid_file(made, content):
        assert not made.is_running()
        with _running(made):
            assert _answers(made)


def test_server_that_was_killed_is_brought_back(made: EmbeddedPostgres) -> None:
    with _running(made):
        psutil.Process(int((_folder(made) / "postmaster.pid").read_text().splitlines()[0])).kill()
        wait_for(lambda: not made.is_running(), what="end of the server")
        made.start()
        assert _answers(made)


def test_folder_whose_making_was_broken_off_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres")

    def broken_off() -> None:
        (tmp_path / "postgres" / "PG_VERSION").write_text("18\n")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(server, "_make_files", broken_off)
        with pytest.raises(KeyboardInterrupt):
            server.start()
    with _running(EmbeddedPostgres(tmp_path / "postgres")) as again:
        assert _answers(again)
    assert [path.name for path in tmp_path.iterdir()] == ["postgres"]


def test_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    """For example a partly restored folder, which may be all that is left of a catalogue."""
    folder = tmp_path / "postgres"
    server = EmbeddedPostgres(folder)
    (folder / "base").mkdir(parents=True)
    for _ in range(2):
        with pytest.raises(PostgresUnavailable, match="cannot make its files"):
            server.start()
    assert (folder / "base").is_dir()


def test_server_that_does_not_start_says_why(
    made: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_postgres, "LAUNCH_TIMEOUT_SECONDS", 0.5)
    configuration = _folder(made) / "postgresql.conf"
    before = configuration.read_text()
    configuration.write_text(before + "nonsense = 1\n")
    try:
        with pytest.raises(
            PostgresUnavailable,
            match=r'^PostgreSQL does not start: configuration file ".*" contains',
        ):
            made.start()
    finally:
        configuration.write_text(before)


def test_server_is_stopped_by_the_last_that_uses_it(made: EmbeddedPostgres) -> None:
    with _running(made):
        command = EmbeddedPostgres(_folder(made))
        for _ in range(2):
            command.start()
            command.stop()
            assert _answers(made)
        command.start()
        made.stop()
        assert _answers(command)
        command.stop()
        assert not made.is_running()


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which PostgreSQL refuses")


@as_root
def test_private_folders_above_the_home_stay_private(tmp_path: Path) -> None:
    home = tmp_path / "private" / "more private" / "home"
    home.mkdir(parents=True)
    for folder in (home.parent, home.parents[1]):
        folder.chmod(0o700)
    before = _modes_above(home)
    with _running(EmbeddedPostgres(home / "postgres")) as server:
        assert _answers(server)
        command = EmbeddedPostgres(home / "postgres")
        assert command.is_running()
    assert not server.is_running()
    assert _modes_above(home) == before


@as_root
def test_programs_that_the_servers_user_cannot_reach_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_programs, "CACHE_FOLDER", tmp_path / "cache")
    private = _private_installation(tmp_path, monkeypatch)
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(0o711)  # pytest's own folders are private
    before = _modes_above(private / "x")
    with _running(EmbeddedPostgres(tmp_path / "home" / "postgres")) as server:
        assert _answers(server)
        assert server.programs.folder.is_relative_to(tmp_path / "cache")
        # The second start finds the copy and does not copy again.
        assert EmbeddedPostgres(tmp_path / "home" / "postgres").programs == server.programs
    assert _modes_above(private / "x") == before


@as_root
def test_programs_that_cannot_be_copied_are_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(postgres_programs, "CACHE_FOLDER", tmp_path / "file" / "cache")
    _private_installation(tmp_path, monkeypatch)
    with pytest.raises(PostgresUnavailable, match="Install halftone in a folder that every user"):
        EmbeddedPostgres(tmp_path / "postgres")


def _private_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheel's programs in a folder of mode 700, as in a checkout under /root."""
    private = tmp_path / "private"
    package = private / postgres_programs._PACKAGE.name
    programs = private / postgres_programs._INSTALLED.relative_to(postgres_programs._PACKAGE.parent)
    libraries = postgres_programs._PACKAGE.with_name(f"{package.name}.libs")
    shutil.copytree(postgres_programs._INSTALLED.parent, programs.parent)
    shutil.copytree(libraries, private / libraries.name)
    private.chmod(0o700)
    monkeypatch.setattr(postgres_programs, "_INSTALLED", programs)
    monkeypatch.setattr(postgres_programs, "_PACKAGE", package)
    return private


def _modes_above(path: Path) -> dict[Path, str]:
    return {parent: oct(parent.stat().st_mode) for parent in path.parents}


@contextmanager
def _running(server: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    server.start()
    try:
        yield server
    finally:
        server.stop()
        for process in psutil.process_iter(["cwd", "name"]):
            if process.info["cwd"] == str(_folder(server)) and process.info["name"] == "postgres":
                process.send_signal(signal.SIGQUIT)


@contextmanager
def _pid_file(server: EmbeddedPostgres, content: str) -> Iterator[None]:
    path = _folder(server) / "postmaster.pid"
    path.write_text(content)
    owner = _folder(server).stat()
    os.chown(path, owner.st_uid, owner.st_gid)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _folder(server: EmbeddedPostgres) -> Path:
    return server.folder


def _answers(server: EmbeddedPostgres) -> bool:
    with psycopg.connect(server.url) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


def test_launcher_does_without_what_only_its_children_need() -> None:
    """The launcher stays in memory next to its children: SQLAlchemy alone would take 14 MiB."""
    code = (
        "import sys, halftone_cli.up;"
        " print(*{'sqlalchemy', 'starlette', 'dramatiq', 'PIL'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""
