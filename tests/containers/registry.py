"""scripts/pin_base_images.sh with a registry on loopback in place of the public one."""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.containers.podman import ROOT, run
from tests.support.halftone import free_port
from tests.support.programs import answering_program

FILES = ("Dockerfile", "docker-compose.yml")
PINNED = re.compile(r"^(?:ARG PYTHON_IMAGE=| *image: )(\S+)@(sha256:[0-9a-f]{64})$", re.MULTILINE)
NAMED = re.compile(r"^(?:ARG PYTHON_IMAGE=| *image: )([^@\s]+)", re.MULTILINE)


def check_pinning() -> int:
    """The script pins every base image to the registry's digest, and renews it when the tag has
    moved. Returns their number.
    """
    folder = Path(tempfile.mkdtemp(prefix="halftone-registry-"))
    try:
        with _registry(folder) as port:
            _copy_files(folder)
            names = [name for text in _texts(folder) for name in NAMED.findall(text)]
            first = _pin(folder, port, names, "first")
            second = _pin(folder, port, names, "second")
        assert first.keys() == second.keys() == set(names)
        assert not set(first.values()) & set(second.values())
        return len(names)
    finally:
        shutil.rmtree(folder)


def _copy_files(folder: Path) -> None:
    (folder / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "pin_base_images.sh", folder / "scripts")
    for file in FILES:
        shutil.copy(ROOT / file, folder)


def _texts(folder: Path) -> list[str]:
    return [(folder / file).read_text() for file in FILES]


def _pin(folder: Path, port: int, names: list[str], content: str) -> dict[str, str]:
    """Push an image with this content under every name and run the script. Returns the digests
    that the files name, which are the registry's.
    """
    layout = folder / content
    _write_image(layout, content)
    digests = {}
    for name in names:
        place = f"docker://127.0.0.1:{port}/{name if '/' in name else f'library/{name}'}"
        run("skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{layout}", place)
        shown = run("skopeo", "inspect", "--no-tags", "--tls-verify=false", place)
        digests[name] = json.loads(shown)["Digest"]
    run("sh", str(folder / "scripts" / "pin_base_images.sh"), HOME=str(folder))
    pinned = {name: digest for text in _texts(folder) for name, digest in PINNED.findall(text)}
    assert pinned == digests
    return pinned


def _write_image(layout: Path, content: str) -> None:
    """An image of one small file."""
    container = run("buildah", "from", "scratch").strip()
    try:
        run("buildah", "config", "--label", f"content={content}", container)
        run("buildah", "commit", "--quiet", container, f"oci:{layout}")
    finally:
        run("buildah", "rm", container)


@contextmanager
def _registry(folder: Path) -> Iterator[int]:
    """A registry that skopeo, with this folder as its home, takes for docker.io."""
    port = free_port()
    (folder / "registry.yml").write_text(
        f"version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}}}\n"
    )
    settings = folder / ".config" / "containers"
    settings.mkdir(parents=True)
    (settings / "registries.conf").write_text(
        f'[[registry]]\nprefix = "docker.io"\nlocation = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    command = ["docker-registry", "serve", str(folder / "registry.yml")]
    with (
        (folder / "registry.log").open("w") as log,
        answering_program(command, f"http://127.0.0.1:{port}/v2/", 200, log=log),
    ):
        yield port
