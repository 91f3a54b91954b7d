"""The pods of deploy/kubernetes, run by `podman kube play` beside the compose file's services."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.containers.podman import ROOT, run
from tests.containers.project import FETCH_ALLOW, Project

KUBERNETES = ROOT / "deploy" / "kubernetes"
# A database and a virtual host of its own: the manifests want quorum queues.
NAME = "kube"
API_REPLICAS = 2


@contextmanager
def pods(project: Project) -> Iterator[list[str]]:
    """API, worker and migration as pods on the network of the project, with its PostgreSQL and
    RabbitMQ. Yields the URL of each API.
    """
    variables = _secret_variables(project)
    _make_stores(project)
    secret = project.folder / "secret.json"
    # podman 4.3 reads a secret's variables from JSON alone, not from a manifest that it played.
    encoded = {name: base64.b64encode(value.encode()).decode() for name, value in variables.items()}
    secret.write_text(json.dumps(encoded))
    run("podman", "secret", "create", "halftone", str(secret))
    migration = _write(project, "migrate", [_pod_of_job(_read("migrate.yaml", "Job"))])
    programs = _write(
        project,
        "programs",
        [_config(), _read("api.yaml", "Deployment"), _read("worker.yaml", "Deployment")],
    )
    network = f"{project.name}_default"
    try:
        run("podman", "kube", "play", "--network", network, str(migration))
        assert run("podman", "wait", "migrate-migrate").strip() == "0"
        run("podman", "kube", "play", "--network", network, str(programs))
        yield [f"http://{_address(f'api-pod-{n}', network)}:8000" for n in range(API_REPLICAS)]
    finally:
        for file in (programs, migration):
            run("podman", "kube", "down", str(file))
        run("podman", "secret", "rm", "halftone")
        run("podman", "volume", "rm", "--force", "tmp")


def create_key(project: Project) -> str:
    """A key in the pods' database, made by the image `commands`."""
    url = _secret_variables(project)["HALFTONE_DATABASE_URL"]
    options = (
        "--rm",
        "--network",
        f"{project.name}_default",
        "--env",
        f"HALFTONE_DATABASE_URL={url}",
    )
    said = run("podman", "run", *options, "localhost/halftone-commands", "keys", "create", NAME)
    return next(word for word in said.split() if word.startswith("ht_"))


def _secret_variables(project: Project) -> dict[str, str]:
    """The variables of secrets.example.yaml, filled in."""
    names = _read("secrets.example.yaml", "Secret")["stringData"]
    secrets = project.folder / "secrets"
    known = {
        name: (secrets / name.lower()).read_text()
        for name in names
        if (secrets / name.lower()).exists()
    }
    known["HALFTONE_DATABASE_URL"] += f"_{NAME}"
    known["HALFTONE_RABBITMQ_URL"] = known["HALFTONE_RABBITMQ_URL"].replace("%2F", NAME)
    return {**names, **known}


def _make_stores(project: Project) -> None:
    (postgres,) = project.containers("postgres")
    run("podman", "exec", postgres["Id"], "createdb", "--username", "halftone", f"halftone_{NAME}")
    (rabbitmq,) = project.containers("rabbitmq")
    control = ("podman", "exec", rabbitmq["Id"], "rabbitmqctl", "--quiet")
    run(*control, "add_vhost", NAME)
    run(*control, "set_permissions", "--vhost", NAME, "halftone", ".*", ".*", ".*")


def _read(file: str, kind: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((KUBERNETES / file).read_text())
    (found,) = (each for each in documents if each["kind"] == kind)
    manifest: dict[str, Any] = found
    return manifest


def _config() -> dict[str, Any]:
    """settings.yaml with a folder for a bucket, and the shop's network allowed."""
    config = _read("settings.yaml", "ConfigMap")
    config["data"] |= {
        "HALFTONE_STORAGE_URL": "file:///storage",
        "HALFTONE_FETCH_ALLOW": FETCH_ALLOW,
    }
    return config


def _pod_of_job(job: dict[str, Any]) -> dict[str, Any]:
    """podman 4.3 plays no Job."""
    template = job["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": job["metadata"],
        "spec": template["spec"],
    }


def _write(project: Project, name: str, manifests: list[dict[str, Any]]) -> Path:
    """The manifests with the images built here and a folder of this machine as storage."""
    storage = project.folder / "pod-storage"
    storage.mkdir(exist_ok=True)
    storage.chmod(0o777)
    for pod in filter(None, map(_pod_of, manifests)):
        pod.setdefault("volumes", []).append(
            {"name": "storage", "hostPath": {"path": str(storage)}}
        )
        for container in pod["containers"]:
            image = container["image"].partition(":")[0]
            container["image"] = f"localhost/{image}:latest"
            container.setdefault("volumeMounts", []).append(
                {"name": "storage", "mountPath": "/storage"}
            )
            # A cluster's pods have addresses of their own. podman publishes ports on the machine.
            container.pop("ports", None)
    file = project.folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump_all(manifests))
    return file


def _pod_of(manifest: dict[str, Any]) -> dict[str, Any] | None:
    spec: dict[str, Any] = manifest.get("spec", {})
    if manifest["kind"] == "Deployment":
        spec = spec["template"]["spec"]
    return spec or None


def _address(pod: str, network: str) -> str:
    record = json.loads(run("podman", "pod", "inspect", pod))
    (infra,) = json.loads(run("podman", "inspect", record["InfraContainerID"]))
    address: str = infra["NetworkSettings"]["Networks"][network]["IPAddress"]
    return address
