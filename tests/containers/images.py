"""Builds the images of the Dockerfile and looks inside them."""

import json
from typing import Any

from tests.containers.podman import ROOT, run

TARGETS = ("api", "workers", "migrate", "commands")
# Our distributions in each image, and packages of the other side that it must not contain.
MEMBERS = {
    "api": {"halftone-api", "halftone-shared"},
    "workers": {"halftone-workers", "halftone-shared", "halftone-jpeg"},
    "migrate": {"halftone-db", "halftone-shared"},
    "commands": {
        *("halftone", "halftone-api", "halftone-client", "halftone-db"),
        *("halftone-shared", "halftone-workers"),
    },
}
NOT_IN = {"api": ["PIL", "httpx"], "workers": ["starlette", "uvicorn"]}
UNPRIVILEGED = (
    *("--rm", "--network", "none", "--read-only", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--entrypoint", "python"),
)
LOOK_INSIDE = """
import importlib.metadata, importlib.util, json, os, shutil
names = {each.metadata["Name"] for each in importlib.metadata.distributions()}
def is_there(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
if is_there("halftone_jpeg"):
    import halftone_jpeg  # raises where its library is missing
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
print(json.dumps({
    "members": sorted(name for name in names if name.startswith("halftone")),
    "packages": [name for name in MODULES if is_there(name)],
    "compilers": [name for name in ("cc", "gcc") if shutil.which(name)],
    "user": os.getuid(),
    "capabilities": status["CapBnd"].strip(),
    "writable": os.access("/", os.W_OK) or os.access("/app", os.W_OK),
}))
"""


def build_images(tag: str = "latest", *, version: str = "0.1.0") -> None:
    """All images of the Dockerfile, as localhost/halftone-TARGET:TAG."""
    for target in TARGETS:
        build_image(target, tag, version=version)


def build_image(target: str, tag: str, *, version: str = "0.1.0", cached: bool = True) -> None:
    commit, time = run("git", "log", "-1", "--format=%H %ct").split()
    run(
        # Docker's format, because OCI's has no HEALTHCHECK.
        *("buildah", "bud", "--isolation", "chroot", "--format", "docker", "--timestamp", time),
        "--layers" if cached else "--no-cache",
        *("--build-arg", f"VERSION={version}", "--build-arg", f"REVISION={commit}"),
        *("--build-arg", f"PYTHON_IMAGE={_python_image()}", "--target", target),
        *("--tag", f"localhost/halftone-{target}:{tag}", "."),
    )


def _python_image() -> str:
    """The Dockerfile's base image without a digest, which only public images have."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    (named,) = (line for line in lines if line.startswith("ARG PYTHON_IMAGE="))
    return named.partition("=")[2].partition("@")[0]


def check_image(target: str) -> str:
    """The image contains only its own distribution, and works as user 10001 without write
    access.
    """
    modules = f"MODULES = {NOT_IN.get(target, [])!r}\n"
    command = ("podman", "run", *UNPRIVILEGED, f"localhost/halftone-{target}")
    found = json.loads(run(*command, "-c", modules + LOOK_INSIDE))
    assert set(found.pop("members")) == MEMBERS[target], (target, found)
    assert found == {
        "packages": [],
        "compilers": [],
        "user": 10001,
        "capabilities": "0" * 16,
        "writable": False,
    }, (target, found)
    return ", ".join(sorted(MEMBERS[target]))


def check_labels(target: str, *, version: str) -> None:
    labels = _inspect(target, "latest")["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == version
    assert labels["org.opencontainers.image.revision"] == run("git", "rev-parse", "HEAD").strip()
    assert labels["org.opencontainers.image.licenses"] == "MIT"


def megabytes(target: str) -> int:
    return round(int(_inspect(target, "latest")["Size"]) / 1e6)


def layers(target: str, tag: str) -> list[str]:
    """The digests of the image's layers, uncompressed."""
    found: list[str] = _inspect(target, tag)["RootFS"]["Layers"]
    return found


def _inspect(target: str, tag: str) -> dict[str, Any]:
    (found,) = json.loads(run("podman", "image", "inspect", f"localhost/halftone-{target}:{tag}"))
    record: dict[str, Any] = found
    return record
