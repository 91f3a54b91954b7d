"""docker-compose.yml as a podman project in its own folder. Everything is removed at the end."""

import json
import os
import re
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

from tests.containers.podman import CONFIGURATION, ROOT, SCRIPTS, run
from tests.support.halftone import free_port, wait_for
from tests.support.images import jpeg

# The addresses of containers, as podman gives them.
FETCH_ALLOW = "10.0.0.0/8"


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
        self.compose("up", "--detach", "--no-deps", "api")
        self.start_workers(workers)

    def start_workers(self, count: int, *options: str, tag: str = "latest") -> None:
        scale = ("--scale", f"worker={count}")
        self.compose("up", "--detach", "--no-deps", *options, *scale, "worker", HALFTONE_TAG=tag)

    def upgrade(self, tag: str, *, workers: int) -> None:
        """Migrate, then replace the API, then the workers, by the images of this tag."""
        new = ("up", "--detach", "--no-deps", "--force-recreate")
        # podman-compose stops the API too when it recreates the container of `migrate`.
        self.compose("run", "--rm", "--no-deps", "migrate", HALFTONE_TAG=tag)
        self.compose(*new, "api", HALFTONE_TAG=tag)
        self.start_workers(workers, "--force-recreate", tag=tag)

    def stop(self) -> None:
        """Stop everything, with the grace periods of the file: first the workers, because a worker
        without its database stops late, and podman-compose's `stop` and `start` miss the containers
        that --scale added.
        """
        ids = [container["Id"] for container in self.containers("worker")]
        run("podman", "stop", "--time", "40", *ids)
        self.compose("stop")

    def start_again(self) -> None:
        self.compose("start")
        for container in self.containers("worker"):
            run("podman", "start", container["Id"])

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
    shutil.copy(SCRIPTS / "override.yml", folder)
    # The images made here have the tags of the public ones, not their digests.
    compose_file = re.sub(r"@sha256:[0-9a-f]{64}", "", (ROOT / "docker-compose.yml").read_text())
    (folder / "docker-compose.yml").write_text(compose_file)
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
        {name: str(free_port()) for name in ports} | {"HALFTONE_FETCH_ALLOW": FETCH_ALLOW},
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
