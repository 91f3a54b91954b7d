"""The commands and programs of the README and the how-to pages, run as printed.

The test replaces the addresses of the service and of the shop, and the ID in the README's
responses.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.halftone import Service
from tests.support.images import encoded, jpeg, picture
from tests.support.origin import Origin
from tests.support.workbooks import rows_of_workbook, workbook

ROOT = Path(__file__).parents[3]
HOW_TO = ROOT / "docs" / "how-to"
SHOP = "https://shop.example"
README_ID = "8243ff57-4d97-4733-bd91-3bb51286b55e"
# These set up machines or run for minutes. Other tests run them.
ELSEWHERE = ("make ", "docker ", "pip ", "git ", "sudo ")


@pytest.fixture
def folder(tmp_path: Path, origin: Origin) -> Path:
    """A folder like a checkout, with the README's catalogue in it."""
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    for name in ("mug-front.jpg", "mug-back.jpg", "vase.png", "mug.jpg", "mug-2.jpg"):
        origin.serve(f"/{name}", jpeg())
    catalogue = _output_of("cat products.csv", ROOT / "README.md")
    (tmp_path / "products.csv").write_text(catalogue.replace(SHOP, origin.url))
    return tmp_path


def test_commands_of_the_readme_work(service: Service, folder: Path) -> None:
    request_id = service.accepted((folder / "products.csv").read_text())
    service.ended(request_id)
    (folder / "export.csv").write_text((folder / "products.csv").read_text())
    commands = _commands(ROOT / "README.md")
    assert {command.split()[0] for command in commands} >= {"cat", "curl", ".venv/bin/halftone"}
    _run(commands, service, folder, (README_ID, request_id))
    assert list(folder.glob("*-output.csv"))


def test_commands_of_the_how_to_page_work(service: Service, folder: Path) -> None:
    commands = _commands(HOW_TO / "use-the-command.md")
    _run([line for line in commands if not _is_operators(line)], service, folder)
    assert (folder / "images.zip").stat().st_size > 0
    assert (folder / "report.csv").read_text().count("COMPLETED") == 3


@pytest.mark.parametrize("page", ["marketplace-ready-images", "thumbnails-names-and-zip"])
def test_scripts_of_the_how_to_pages_about_image_options_work(
    service: Service, origin: Origin, folder: Path, page: str
) -> None:
    export = (folder / "products.csv").read_text()
    (folder / "export.csv").write_text(export)
    origin.serve("/logo.png", encoded(picture((40, 20)), "PNG"))
    variants = '[{"name": "thumb", "width": 20}]'
    request_id = service.accepted(export, variants=variants)
    service.ended(request_id)
    scripts = re.findall(r"```sh\n(.*?)```", (HOW_TO / f"{page}.md").read_text(), re.DOTALL)
    assert len(scripts) >= 3
    commands = [
        script.replace(SHOP, origin.url).replace("REQUEST_ID", request_id) for script in scripts
    ]
    _run(commands, service, folder)
    assert "/api/image/" in (folder / "output.csv").read_text()


def _is_operators(command: str) -> bool:
    """Whether a command works with the database itself."""
    return "retry --all" in command or command.split()[1] in ("doctor", "queues", "keys")


def test_operators_commands_of_the_how_to_page_work(
    folder: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALFTONE_DATABASE_URL", database_url)
    monkeypatch.setenv("HALFTONE_STORAGE_URL", (folder / "storage").as_uri())
    commands = _commands(HOW_TO / "use-the-command.md")
    operating = [line for line in commands if _is_operators(line)]
    assert len(operating) == 7
    _shell(operating, folder, {})


@pytest.mark.parametrize("number", range(6))
def test_programs_of_the_how_to_page_work(
    service: Service, origin: Origin, folder: Path, number: int
) -> None:
    programs = re.findall(
        r"```python\n(.*?)```", (HOW_TO / "python-library.md").read_text(), re.DOTALL
    )
    assert len(programs) == 6
    text = programs[number].replace("http://127.0.0.1:8000", service.url)
    program = folder / "program.py"
    program.write_text(text.replace(SHOP, origin.url))
    _shell([f"{sys.executable} program.py"], folder, {"HALFTONE_URL": service.url})


@pytest.mark.parametrize(
    ("page", "source", "replaced"),
    [
        ("from-shopify", "shopify.csv", 3),
        ("from-woocommerce", "woocommerce.csv", 3),
        ("from-google-merchant", "feed.txt", 2),
        ("from-excel", "catalogue.xlsx", 2),
    ],
)
def test_export_of_the_how_to_page_comes_back_with_its_images_replaced(
    service: Service, origin: Origin, folder: Path, page: str, source: str, replaced: int
) -> None:
    text = HOW_TO / f"{page}.md"
    if source.endswith(".xlsx"):
        urls = [f"{origin.url}/mug-front.jpg", f"{origin.url}/mug-back.jpg"]
        shopify: list[list[Any]] = [
            ["Handle", "Title", "Image Src"],
            ["mug", "Mug", urls[0]],
            ["mug", None, urls[1]],
        ]
        (folder / source).write_bytes(workbook({"Products": shopify}))
        own: list[list[Any]] = [["Code", "Titel", "Foto 1", "Foto 2"], ["A1", "Tasse", *urls]]
        (folder / "own-names.xlsx").write_bytes(workbook({"Katalog": own}))
    else:
        (folder / source).write_text(_output_of(f"cat {source}", text).replace(SHOP, origin.url))
    commands = [line.replace(SHOP, origin.url) for line in _commands(text)]
    _run(commands, service, folder)
    (output,) = folder.glob(f"{Path(source).stem}-small.*")
    if source.endswith(".xlsx"):
        shown = str(rows_of_workbook(output.read_bytes()))
    else:
        shown = output.read_text()
    assert shown.count("/api/image/") == replaced
    assert f"{origin.url}/mug" not in shown


def _commands(page: Path) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [line for line in lines if not line.startswith(ELSEWHERE)]


def _output_of(command: str, page: Path) -> str:
    """What a page shows as the output of a command."""
    match = re.search(rf"^\$ {re.escape(command)}\n(.*?)\n\n", page.read_text(), re.M | re.S)
    assert match is not None, command
    return match[1] + "\n"


def _run(
    commands: list[str], service: Service, folder: Path, replaced: tuple[str, str] = ("", "")
) -> None:
    written = [line.replace("http://127.0.0.1:8000", service.url) for line in commands]
    if replaced[0]:
        written = [line.replace(*replaced) for line in written]
    _shell(written, folder, {"HALFTONE_URL": service.url})


def _shell(commands: list[str], folder: Path, variables: dict[str, str]) -> None:
    """Run commands one after the other, as a reader pastes them. Each must succeed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ran = subprocess.run(
        ["bash", "-e"],
        input="\n".join(commands),
        cwd=folder,
        env={**os.environ, **variables, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
