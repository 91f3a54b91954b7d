"""The deployment files match what the programs know. Needs no container engine and no cluster."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from sqlalchemy import Engine

from halftone_api.main import STOP_SECONDS
from halftone_api.settings import ApiSettings
from halftone_shared.runtime.variables import PREFIX
from halftone_workers.codec_processes.child import MEMORY_BYTES
from halftone_workers.main import CLOSE_SECONDS, HAND_BACK_SECONDS
from halftone_workers.settings import WorkerSettings
from tests.support.stored import claimed, finish, query, settle, store_request

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
WITHOUT_DOCKER = (ROOT / "docs" / "how-to" / "deploy-without-docker.md").read_text()
SETTINGS = {
    PREFIX + name.upper()
    for settings in (ApiSettings, WorkerSettings)
    for name in settings.model_fields
}
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
# A worker's own measured maximum (docs/how-to/operate.md, Sizing).
WORKER_BYTES = 120 * 2**20
OURS = ("api", "worker", "migrate", "commands")


def _program(name: str) -> str:
    """A program of this environment. Both programs come from wheels."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    assert found, f"{name} is not installed: run `make setup`"
    return found


def _documents() -> list[dict[str, Any]]:
    files = [
        path
        for path in sorted(KUBERNETES.glob("*.yaml"))
        if path.name not in ("kustomization.yaml", "secrets.yaml")
    ]
    return [document for path in files for document in yaml.safe_load_all(path.read_text())]


def _find(kind: str, name: str) -> dict[str, Any]:
    (found,) = [
        each for each in _documents() if each["kind"] == kind and each["metadata"]["name"] == name
    ]
    return found


def _pods() -> list[dict[str, Any]]:
    return [
        each["spec"]["template"]["spec"]
        for each in _documents()
        if each["kind"] in ("Deployment", "Job")
    ]


@pytest.mark.parametrize("profiles", [(), ("--profile", "monitoring"), ("--profile", "commands")])
def test_compose_file_is_valid(profiles: tuple[str, ...]) -> None:
    command = [
        _program("docker-compose"),
        "--file",
        str(ROOT / "docker-compose.yml"),
        *profiles,
        "config",
        "--quiet",
    ]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_dockerfile_passes_its_linter() -> None:
    answer = subprocess.run(
        [_program("hadolint"), str(ROOT / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_compose_has_every_image_of_the_dockerfile() -> None:
    stages = re.findall(r"^FROM runtime AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert sorted(stages) == sorted(COMPOSE["services"][name]["build"]["target"] for name in OURS)
    assert COMPOSE["services"]["commands"]["profiles"] == ["commands"]  # `up` does not start it


def test_compose_sets_only_what_the_programs_know() -> None:
    for name in OURS:
        service = COMPOSE["services"][name]
        assert {key for key in service.get("environment", {}) if key.startswith(PREFIX)} <= SETTINGS
        assert {key.upper() for key in service["secrets"]} <= SETTINGS


def test_compose_runs_ours_without_privileges() -> None:
    for name in OURS:
        service = COMPOSE["services"][name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_compose_worker_can_be_scaled_and_has_the_time_to_stop() -> None:
    worker = COMPOSE["services"]["worker"]
    assert not worker.keys() & {"container_name", "ports"}
    grace = WorkerSettings.model_fields["shutdown_grace_seconds"].default
    assert int(worker["stop_grace_period"].removesuffix("s")) > grace + HAND_BACK_SECONDS


def test_compose_and_kubernetes_give_an_api_the_time_to_stop() -> None:
    assert int(COMPOSE["services"]["api"]["stop_grace_period"].removesuffix("s")) > STOP_SECONDS
    pod = _find("Deployment", "api")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > STOP_SECONDS


def test_compose_and_kubernetes_give_a_worker_the_memory_of_its_codec_processes() -> None:
    worker = COMPOSE["services"]["worker"]
    processes = _default(worker["environment"]["HALFTONE_CODEC_PROCESSES"])
    assert _bytes(_default(worker["mem_limit"])) >= _worst_memory_bytes(int(processes))
    (container,) = _find("Deployment", "worker")["spec"]["template"]["spec"]["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    limit = container["resources"]["limits"]["memory"]
    assert _bytes(limit) >= _worst_memory_bytes(int(variables["HALFTONE_CODEC_PROCESSES"]))


def _default(value: str) -> str:
    """The value that Compose uses for ${NAME:-default} when NAME is not set."""
    return value.partition(":-")[2].removesuffix("}")


def _bytes(size: str) -> int:
    number = re.match(r"\d+", size)
    assert number
    units = {"m": 2**20, "Mi": 2**20, "g": 2**30, "Gi": 2**30}
    return int(number[0]) * units[size.removeprefix(number[0])]


def _worst_memory_bytes(codec_processes: int) -> int:
    downloads: int = WorkerSettings.model_fields["fetch_memory_bytes"].default
    return codec_processes * MEMORY_BYTES + downloads + WORKER_BYTES


def test_compose_publishes_on_loopback_alone() -> None:
    published = [
        port for service in COMPOSE["services"].values() for port in service.get("ports", [])
    ]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_secrets_of_the_compose_file_are_the_ones_that_are_made(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "make_secrets.sh", tmp_path / "scripts")
    subprocess.run(
        ["sh", str(tmp_path / "scripts" / "make_secrets.sh")], check=True, capture_output=True
    )
    made = {f"./secrets/{path.name}" for path in (tmp_path / "secrets").iterdir()}
    wanted = {each["file"] for part in ("secrets", "configs") for each in COMPOSE[part].values()}
    assert made == wanted


def test_kustomization_names_every_manifest() -> None:
    listed = set(yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"])
    there = {path.name for path in KUBERNETES.glob("*.yaml")} - {
        "kustomization.yaml",
        "secrets.example.yaml",
    }
    assert listed == there | {"secrets.yaml"}


def test_manifests_follow_kubernetes_schemas() -> None:
    checked = []
    for document in _documents():
        if document["apiVersion"].startswith("keda.sh/"):
            continue  # the autoscaler's own kinds have no Kubernetes schema
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
        checked.append(document["kind"])
    assert {"Deployment", "Job", "Service", "Ingress", "PodDisruptionBudget"} <= set(checked)


def test_each_image_has_a_bill_of_materials(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "bills_of_materials.sh"
    subprocess.run(["sh", str(script), str(tmp_path)], check=True, capture_output=True)
    bills = {
        path.name.removesuffix(".cdx.json"): json.loads(path.read_text())
        for path in tmp_path.iterdir()
    }
    assert {image: bill["metadata"]["component"]["name"] for image, bill in bills.items()} == {
        "api": "halftone-api",
        "workers": "halftone-workers",
        "migrate": "halftone-db",
        "commands": "halftone",
    }
    assert "halftone-jpeg" in {each["name"] for each in bills["workers"]["components"]}


@pytest.mark.parametrize("workflow", [".github/workflows/ci.yml", ".gitlab-ci.yml"])
def test_workflow_builds_every_image_and_runs_the_targets_that_there_are(workflow: str) -> None:
    text = (ROOT / workflow).read_text()
    assert yaml.safe_load(text)
    stages = re.findall(r"^FROM runtime AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert f"[{', '.join(stages)}]" in text
    targets = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"make (\w+)$", text, re.MULTILINE)) <= set(targets)


def test_kubernetes_sets_only_what_the_programs_know() -> None:
    names = {*_find("ConfigMap", "halftone")["data"], *_find("Secret", "halftone")["stringData"]}
    names |= {entry["name"] for pod in _pods() for entry in pod["containers"][0].get("env", [])}
    assert {name for name in names if not name.startswith("AWS_")} <= SETTINGS


def test_kubernetes_runs_without_privileges() -> None:
    assert len(_pods()) == 3
    for pod in _pods():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]


def test_kubernetes_gives_a_worker_the_time_to_stop() -> None:
    pod = _find("Deployment", "worker")["spec"]["template"]["spec"]
    variables = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}
    grace = int(variables["HALFTONE_SHUTDOWN_GRACE_SECONDS"])
    assert pod["terminationGracePeriodSeconds"] > grace + HAND_BACK_SECONDS


def test_page_without_docker_sets_only_what_the_programs_know() -> None:
    named = set(re.findall(r"^(HALFTONE_\w+)=", WITHOUT_DOCKER, re.M))
    assert {"HALFTONE_DATABASE_URL", "HALFTONE_RABBITMQ_URL", "HALFTONE_STORAGE_URL"} <= named
    assert named <= SETTINGS


def test_page_without_docker_gives_the_services_the_time_to_stop() -> None:
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", WITHOUT_DOCKER, re.M)
    grace = WorkerSettings.model_fields["shutdown_grace_seconds"].default
    assert int(seconds) > max(STOP_SECONDS, grace + HAND_BACK_SECONDS + CLOSE_SECONDS)


def test_commands_of_the_page_without_docker_are_shell() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", WITHOUT_DOCKER, re.M | re.S)
    assert len(blocks) > 8
    subprocess.run(["sh", "-n"], input="\n".join(blocks), text=True, check=True)


def test_settings_of_the_page_without_docker_reach_the_programs_as_they_are_written(
    tmp_path: Path,
) -> None:
    """The script of the page, without the change of user."""
    value = """a value with spaces, "quotes" and $signs"""
    settings = tmp_path / "halftone.env"
    settings.write_text(f"# a comment\n\nHALFTONE_USER_AGENT={value}\nAWS_REGION=here")
    (script,) = re.findall(r"/halftone-as-service <<'END'\n(.*?)^END$", WITHOUT_DOCKER, re.M | re.S)
    script = script.replace("/etc/halftone/halftone.env", str(settings))
    assert "runuser -u halftone -- " in script
    told = subprocess.run(
        ["sh", "-c", script.replace("runuser -u halftone -- ", ""), "sh", "env"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert f"HALFTONE_USER_AGENT={value}" in told
    assert "AWS_REGION=here" in told


def test_ingress_keeps_the_metrics_inside() -> None:
    paths = _find("Ingress", "api")["spec"]["rules"][0]["http"]["paths"]
    assert [
        path
        for path in paths
        if "/metrics".startswith(path["path"]) and path["pathType"] == "Prefix"
    ] == []


def test_scaling_counts_the_products_that_have_not_ended(engine: Engine) -> None:
    (trigger,) = _find("ScaledObject", "worker")["spec"]["triggers"]
    statement = trigger["metadata"]["query"]
    assert query(engine, statement) == [(0,)]
    large = store_request(engine, 200)
    for seq in (1, 2, 65):
        settle(engine, claimed(engine, large, seq))
    finish(engine, store_request(engine, 3), 3)
    assert query(engine, statement) == [(197,)]
