"""Each member, in its own environment, installs what it needs and nothing of the other side."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.halftone import environment, free_port, wait_for

ROOT = Path(__file__).parents[2]
UV = ROOT / ".tools" / "bin" / "uv"


MEMBERS = (
    "halftone",
    "halftone-api",
    "halftone-client",
    "halftone-db",
    "halftone-shared",
    "halftone-workers",
)


def _install(member: str, folder: Path) -> Path:
    """Create an environment with one member, as the Dockerfile does. Returns its bin folder."""
    uv = str(UV) if UV.exists() else shutil.which("uv")
    assert uv, "uv is not here: run `make setup`"
    # Always rebuilt: uv's cache compares only a member's pyproject.toml, not its other files.
    refreshed = [f"--refresh-package={name}" for name in MEMBERS]
    subprocess.run(
        [
            uv,
            "sync",
            "--quiet",
            "--frozen",
            "--no-dev",
            "--no-editable",
            "--package",
            member,
            *refreshed,
        ],
        cwd=ROOT,
        env=os.environ | {"UV_PROJECT_ENVIRONMENT": str(folder), "UV_PYTHON_DOWNLOADS": "never"},
        check=True,
    )
    return folder / "bin"


def _distributions(bin_folder: Path) -> set[str]:
    script = "import importlib.metadata as m; print(*{d.name.lower() for d in m.distributions()})"
    return set(
        subprocess.check_output([bin_folder / "python", "-c", script], text=True, cwd="/").split()
    )


def _import_all(bin_folder: Path, package: str) -> None:
    script = (
        f"import importlib, pkgutil, {package} as p\n"
        "for module in pkgutil.walk_packages(p.__path__, p.__name__ + '.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
    )
    subprocess.run([bin_folder / "python", "-c", script], check=True, cwd="/")


@pytest.fixture
def compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let programs cache their bytecode in the environment, because several of them run there."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)


@pytest.mark.usefixtures("compiled_once")
def test_api_starts_without_image_library_and_http_client(
    tmp_path: Path, database_url: str
) -> None:
    bin_folder = _install("halftone-api", tmp_path / "env")
    assert not _distributions(bin_folder) & {
        "pillow",
        "httpx",
        "halftone-workers",
        "halftone",
        "pytest",
    }
    _import_all(bin_folder, "halftone_api")
    port = free_port()
    variables = environment(
        tmp_path,
        database_url=database_url,
        rabbitmq_url="in-process",
        api_port=str(port),
        auth="off",
    )
    process = subprocess.Popen(
        [bin_folder / "halftone-api"], env=variables, cwd="/", stderr=subprocess.PIPE
    )
    try:
        wait_for(lambda: _answers(f"http://127.0.0.1:{port}/readyz"), what="readiness")
    finally:
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr.decode()


@pytest.mark.usefixtures("compiled_once")
def test_worker_starts_without_web_framework(tmp_path: Path, database_url: str) -> None:
    bin_folder = _install("halftone-workers", tmp_path / "env")
    assert not _distributions(bin_folder) & {
        "starlette",
        "uvicorn",
        "halftone-api",
        "halftone",
        "pytest",
    }
    _import_all(bin_folder, "halftone_workers")
    variables = environment(tmp_path, database_url=database_url, rabbitmq_url="in-process")
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(
            [bin_folder / "halftone-worker"], env=variables, cwd="/", stderr=log
        )
        try:
            wait_for(lambda: "worker started" in (tmp_path / "log").read_text(), what="start")
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(30)
    assert code == 0, (tmp_path / "log").read_text()


def test_client_library_brings_httpx_and_nothing_of_the_service(tmp_path: Path) -> None:
    bin_folder = _install("halftone-client", tmp_path / "env")
    # Only older Pythons need typing extensions, whose name has two spellings.
    found = {name for name in _distributions(bin_folder) if not name.startswith("typing")}
    httpx_and_its_own = {"anyio", "certifi", "h11", "httpcore", "httpx", "idna"}
    assert found == httpx_and_its_own | {"halftone-client"}
    _import_all(bin_folder, "halftone")
    (package,) = tmp_path.glob("env/lib/python3*/site-packages/halftone")
    assert (package / "py.typed").exists()


def test_migrations_run_from_their_own_distribution(tmp_path: Path, database_url: str) -> None:
    bin_folder = _install("halftone-db", tmp_path / "env")
    assert not _distributions(bin_folder) & {
        "starlette",
        "pillow",
        "httpx",
        "halftone-workers",
        "halftone-api",
    }
    variables = environment(tmp_path, database_url=database_url)
    subprocess.run([bin_folder / "halftone-migrate"], env=variables, check=True, cwd="/")


def test_keys_are_made_from_an_image_of_their_own(tmp_path: Path, database_url: str) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    (member,) = re.findall(
        r"AS build-commands\nRUN uv sync --frozen --no-dev --no-editable --package (.+)", dockerfile
    )
    bin_folder = _install(member, tmp_path / "env")
    (program,) = json.loads(dockerfile.rpartition("ENTRYPOINT ")[2])
    variables = environment(tmp_path, database_url=database_url)
    command = [bin_folder / program, "keys", "create", "shop"]
    assert subprocess.check_output(command, env=variables, cwd="/", text=True).startswith("ht_")


@pytest.mark.parametrize("program", ["halftone_api", "halftone_workers"])
def test_start_without_settings_names_every_variable(program: str) -> None:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("HALFTONE_")}
    answer = subprocess.run(
        [sys.executable, "-m", program], env=bare, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 2
    for variable in ("HALFTONE_DATABASE_URL", "HALFTONE_RABBITMQ_URL", "HALFTONE_STORAGE_URL"):
        assert f"{variable} is not set: expected" in answer.stderr


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
