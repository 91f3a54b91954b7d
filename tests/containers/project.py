"""docker-compose.yml as a podman project in its own folder. Everything is removed at the end."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.halftone import free_port, wait_for
from tests.support.images import jpeg

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts" / "containers"
CONFIGURATION = {"CONTAINERS_CONF": str(SCRIPTS / "containers.conf")}
TARGETS = ("api", "workers", "migrate", "commands")


def run(*command: str, folder: Path = ROOT, **environment: str) -> str:
    """The program's standard output. Prints it and raises CalledProcessError when the program
    fails.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | CONFIGURATION | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-4000:], sep="\n", file=sys.stderr)
        done.check_returncode()
    return done.stdout


def build_images(tag: str = "latest", *, version: str = "0.1.0") -> None:
    """All images of the Dockerfile, as localhost/halftone-TARGET:TAG."""
    for target in TARGETS:
        run(
            # Docker's format, because OCI's has no HEALTHCHECK.
            *("buildah", "bud", "--isolation", "chroot", "--layers", "--format", "docker"),
            *("--build-arg", f"VERSION={version}", "--target", target),
            *("--tag", f"localhost/halftone-{target}:{tag}", "."),
        )


@dataclass(frozen=True)
class Project:
    """`name` is part of the names of its containers, networks and volumes, and of no others."""

    name: str
    folder: Path
    environment: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.environment['HALFTONE_API_PORT']}"

    @property
    def shop_url(self) -> str:
        return f"http://127.0.0.1:{self.environment['SHOP_PORT']}"

    def compose(self, *arguments: str, **environment: str) -> str:
        """Run podman-compose with docker-compose.yml. Returns all of its output."""
        files = ("--file", "docker-compose.yml", "--file", "override.yml")
        program = str(Path(sys.executable).with_name("podman-compose"))
        # Docker Compose finds the profile of a service that `run` names; podman-compose does not.
        options = ("--project-name", self.name, "--profile", "commands", *files)
        command = (program, *options, *arguments)
        return run(*command, folder=self.folder, **(self.environment | environment))

    def start(self, *, workers: int) -> None:
        """Start all services in the order that depends_on gives.

        Starts them one by one: podman 4.3 cannot wait for health, and does not start a container
        when its dependency (migrate) has ended while that one's own dependency (postgres) still
        runs.
        """
        self.compose("up", "--detach", "postgres", "rabbitmq", "shop")
        for service in ("postgres", "rabbitmq"):
            wait_for(partial(self.is_healthy, service), 120, f"health of {service}", 1)
        self.compose("up", "--detach", "--no-deps", "migrate")
        wait_for(self._is_migrated, 60, "the migration", 0.5)
        self.start_programs(workers=workers)

    def start_programs(self, *options: str, workers: int, tag: str = "latest") -> None:
        self.compose(
            *("up", "--detach", "--no-deps", *options, "--scale", f"worker={workers}"),
            *("api", "worker"),
            HALFTONE_TAG=tag,
        )

    def is_healthy(self, service: str) -> bool:
        """Run the health check. Podman has no timers for it without systemd."""
        (container,) = self.containers(service)
        command = ["podman", "healthcheck", "run", container["Id"]]
        check = subprocess.run(
            command, env=os.environ | CONFIGURATION, capture_output=True, check=False
        )
        return check.returncode == 0

    def _is_migrated(self) -> bool:
        (container,) = self.containers("migrate")
        return bool(container["Exited"]) and container["ExitCode"] == 0

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """Podman's records of the project's containers, including those that have ended."""
        filters = [f"label=io.podman.compose.project={self.name}"]
        if service:
            filters.append(f"label=com.docker.compose.service={service}")
        asked = [part for each in filters for part in ("--filter", each)]
        found: list[dict[str, Any]] = json.loads(
            run("podman", "ps", "--all", "--format", "json", *asked)
        )
        return found

    def logs(self) -> str:
        return "\n".join(
            f"--- {container['Names'][0]}: {container['Status']}\n"
            + run("sh", "-c", f"podman logs --tail 25 {container['Id']} 2>&1")
            for container in self.containers()
        )

    def remove(self) -> None:
        """Stop and delete everything. podman-compose's `down` alone misses containers added by
        --scale.
        """
        ids = [container["Id"] for container in self.containers("worker")]
        run("podman", "rm", "--force", "--time", "40", *ids)
        self.compose("down", "--volumes", "--timeout", "40")

    def leftovers(self) -> list[str]:
        """Containers, pods, volumes, networks and processes with the project's name."""
        found = [container["Names"][0] for container in self.containers()]
        found += run("podman", "pod", "ps", "--quiet", "--filter", f"name={self.name}").split()
        found += run("podman", "volume", "ls", "--quiet", "--filter", f"name={self.name}").split()
        found += run("podman", "network", "ls", "--quiet", "--filter", f"name={self.name}").split()
        processes = run("ps", "-eo", "args").splitlines()
        return found + [line for line in processes if "conmon" in line and self.name in line]


@contextmanager
def new_project() -> Iterator[Project]:
    """A folder with the compose file, the override and new secrets. Everything is removed at the
    end.
    """
    folder = Path(tempfile.mkdtemp(prefix="halftone-containers-"))
    folder.chmod(0o755)
    for file in (ROOT / "docker-compose.yml", SCRIPTS / "override.yml"):
        shutil.copy(file, folder)
    (folder / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "make_secrets.sh", folder / "scripts")
    run("sh", str(folder / "scripts" / "make_secrets.sh"))
    (folder / "shop").mkdir()
    shutil.copy(SCRIPTS / "shop.py", folder / "shop")
    (folder / "shop" / "image.jpg").write_bytes(jpeg((1500, 1500)))
    ports = ("HALFTONE_API_PORT", "RABBITMQ_MANAGEMENT_PORT", "SHOP_PORT")
    project = Project(
        f"halftone-{secrets.token_hex(4)}",
        folder,
        {name: str(free_port()) for name in ports} | {"HALFTONE_FETCH_ALLOW": "10.0.0.0/8"},
    )
    try:
        yield project
    except BaseException:
        print(project.logs(), file=sys.stderr)
        raise
    finally:
        project.remove()
        shutil.rmtree(folder, ignore_errors=True)
    assert project.leftovers() == []
