"""`make containers`: builds the images, runs docker-compose.yml with them, and runs the main job.

Needs podman, buildah, debootstrap and root. Leaves only the images behind.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx

from tests.containers.callers import calling
from tests.containers.images import (
    TARGETS,
    build_image,
    build_images,
    check_image,
    check_labels,
    layers,
    megabytes,
)
from tests.containers.kube import create_key, pods
from tests.containers.podman import run
from tests.containers.project import Project, new_project
from tests.containers.proxy import proxied
from tests.containers.registry import check_pinning
from tests.support.csv_files import HEADER
from tests.support.halftone import wait_for

SHOP = "http://shop:8080"
Say = Callable[[str], None]


def main() -> None:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    print(run("sh", "scripts/containers/bases.sh"), end="", flush=True)
    say("base images are there")
    say(f"a registry's digests pin {check_pinning()} base images and are renewed")
    build_images()
    for target in TARGETS:
        check_labels(target, version="0.1.0")
        say(f"halftone-{target}: {megabytes(target)} MB, holds {check_image(target)}")
    with new_project() as project:
        project.start(workers=2)
        with httpx.Client(base_url=project.url, timeout=30, trust_env=False) as http:
            _wait_until_ready(http)
            _wait_for_workers(http, 2)
            say("ready, with two workers")
            _check_running_containers(project)
            say("API and workers run without privileges, with the memory of the file")
            key = _set_key(project, http)
            _check_accelerator(project)
            say("the doctor finds the JPEG accelerator in every worker")
            _do_main_job(project, http, "first.csv")
            say("main job done: upload, progress, images, output file, webhook")
            project.start_workers(4, "--no-recreate")
            _wait_for_workers(http, 4)
            say("four workers")
            _check_restarts(project, http, say)
            assert project.is_healthy("api")
            say("the API's health check passes")
            first = _requests(http)
            _stop_in_time(project, say)
            project.start_again()
            _wait_until_ready(http)
            assert _requests(http) == first
            _do_main_job(project, http, "second.csv")
            say("stopped and started: the requests are still there, and new ones are done")
            build_images("next", version="0.1.1")
            _check_layers()
            say("all images built again without a cache: their layers are the same")
            _upgrade_under_load(project, http, key, say)
        _check_pods(project, say)
    say("nothing is left behind")


def _wait_until_ready(http: httpx.Client) -> None:
    def is_ready() -> bool:
        try:
            return http.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    wait_for(is_ready, 120, "readiness", 0.2)


def _wait_for_workers(http: httpx.Client, count: int) -> None:
    line = f"halftone_workers {float(count)}"
    wait_for(lambda: line in http.get("/metrics").text.splitlines(), 90, f"{count} workers", 0.5)


def _check_running_containers(project: Project) -> None:
    """The containers have what docker-compose.yml gives them."""
    for service, megabytes_of_memory in (("api", 512), ("worker", 4608)):
        for container in project.containers(service):
            record = json.loads(run("podman", "inspect", container["Id"]))[0]
            assert record["HostConfig"]["ReadonlyRootfs"] is True
            assert record["HostConfig"]["Memory"] == megabytes_of_memory * 2**20
            status = run("podman", "exec", container["Id"], "cat", "/proc/self/status").splitlines()
            lines = dict(line.split(":\t", 1) for line in status)
            assert (lines["CapBnd"], lines["NoNewPrivs"]) == ("0" * 16, "1")
            assert lines["Uid"].split() == ["10001"] * 4


def _set_key(project: Project, http: httpx.Client) -> str:
    """Uploads need a key. The commands image creates it."""
    assert http.get("/api/requests").status_code == 401
    said = project.compose("run", "--rm", "--no-deps", "commands", "keys", "create", "acceptance")
    key = next(word for word in said.split() if word.startswith("ht_"))
    http.headers["Authorization"] = f"Bearer {key}"
    return key


def _check_accelerator(project: Project) -> None:
    said = project.compose(
        *("run", "--rm", "--no-deps", "commands", "doctor", "--url", "http://api:8000")
    )
    assert said.count("halftone-jpeg") == 2, said


def _do_main_job(project: Project, http: httpx.Client, filename: str) -> None:
    """Twenty products with two images and one with a missing image; ordered output; one webhook."""
    rows = [f'{n},SKU{n},"{SHOP}/{n}.jpg,{SHOP}/{n}-back.jpg"' for n in range(1, 21)]
    csv = HEADER + "\n".join([*rows, f'21,SKU21,"{SHOP}/a.jpg,{SHOP}/missing,{SHOP}/b.jpg"']) + "\n"
    request_id = _upload(http, filename, csv, webhook_url=f"{SHOP}/hook")
    ended = _ended(http, request_id)
    assert (ended["status"], ended["outcome"]) == ("COMPLETED", "partial"), ended
    assert (ended["processed_images"], ended["failed_images"]) == (42, 1), ended
    output = http.get(f"/api/download/{request_id}").raise_for_status().text.splitlines()
    assert [line.split(",")[1] for line in output[1:]] == [f"SKU{n}" for n in range(1, 22)]
    urls = output[-1].rpartition('","')[2].strip('"').split(",")
    assert len(urls) == 3
    assert urls[1] == ""
    image = http.get("/api/image/" + urls[0].partition("/api/image/")[2])
    assert image.headers["content-type"] == "image/jpeg"
    assert image.content.startswith(b"\xff\xd8")
    wait_for(partial(_was_told, project, request_id), 30, "webhook")


def _upload(http: httpx.Client, filename: str, csv: str, **fields: str) -> str:
    answer = http.post("/api/upload", files={"file": (filename, csv, "text/csv")}, data=fields)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["request_id"])


def _ended(http: httpx.Client, request_id: str) -> dict[str, Any]:
    def status_at_the_end() -> dict[str, Any] | None:
        try:
            answer = http.get(f"/api/status/{request_id}")
        except httpx.HTTPError:  # while the API is replaced
            return None
        if answer.status_code == 503:
            return None
        status: dict[str, Any] = answer.raise_for_status().json()
        return status if status["completed_at"] else None

    return wait_for(status_at_the_end, 240, "the request's end", 0.2)


def _was_told(project: Project, request_id: str) -> bool:
    bodies = httpx.get(f"{project.shop_url}/received", trust_env=False).json()
    return any(json.loads(body)["data"]["request_id"] == request_id for body in bodies)


def _requests(http: httpx.Client) -> list[str]:
    listed = http.get("/api/requests").raise_for_status().json()["requests"]
    return [each["request_id"] for each in listed]


def _check_restarts(project: Project, http: httpx.Client, say: Say) -> None:
    """Kill the first process of a container of each service, as the kernel does when memory runs
    out.
    """
    for service in ("worker", "api", "postgres", "rabbitmq"):
        container = project.containers(service)[0]["Id"]
        killed = _pid(container)
        os.kill(killed, signal.SIGKILL)
        wait_for(partial(_runs_again, container, killed), 30, f"restart of {service}", 0.5)
        say(f"{service}: killed, and started again by its policy")
    _wait_until_ready(http)
    _do_main_job(project, http, "after-the-kills.csv")
    say("main job done after the kills")


def _pid(container: str) -> int:
    """The container's first process. 0 if it does not run."""
    state = json.loads(run("podman", "inspect", container))[0]["State"]
    return int(state["Pid"]) if state["Running"] else 0


def _runs_again(container: str, killed: int) -> bool:
    return _pid(container) not in (0, killed)


def _stop_in_time(project: Project, say: Say) -> None:
    began = time.monotonic()
    project.stop()
    for service in ("api", "worker"):
        for container in project.containers(service):
            assert (container["Exited"], container["ExitCode"]) == (True, 0), container
    say(f"stopped in {time.monotonic() - began:.1f} s, API and workers with exit code 0")


def _check_layers() -> None:
    for target in TARGETS:
        build_image(target, "again", cached=False)
        assert layers(target, "again") == layers(target, "latest"), target


def _upgrade_under_load(project: Project, http: httpx.Client, key: str, say: Say) -> None:
    """New images replace API and workers while a request runs and clients call. Nothing of the
    request is lost, and no call of a client fails.
    """
    rows = [f"{n},SKU{n},{SHOP}/{n}.jpg" for n in range(1, 601)]
    request_id = _upload(http, "load.csv", HEADER + "\n".join(rows) + "\n")
    began = time.monotonic()
    with (
        proxied(project.url) as proxy_url,
        calling(project.url, proxy_url, key, f"{SHOP}/u.jpg") as calls,
    ):
        project.upgrade("next", workers=4)
        _wait_until_ready(http)
        _wait_for_workers(http, 4)
    say(f"upgraded under load in {time.monotonic() - began:.1f} s")
    assert calls.failed == [], calls
    assert calls.uploaded
    for each in (request_id, *calls.uploaded):
        assert _ended(http, each)["outcome"] == "succeeded"
    listed = http.get("/api/requests", params={"limit": 100}).json()["requests"]
    named = [each for each in listed if each["csv_filename"].startswith("upload-")]
    assert sorted(each["request_id"] for each in named) == sorted(calls.uploaded)
    assert _ended(http, request_id)["processed_images"] == 600
    say(
        f"the API was away for {calls.away_seconds:.1f} s; none of {calls.answered} calls failed,"
        f" of the library and through HAProxy; the slowest took {calls.longest_seconds:.1f} s"
    )
    images = {container["Image"] for container in project.containers("worker")}
    assert images == {"localhost/halftone-workers:next"}, images


def _check_pods(project: Project, say: Say) -> None:
    """The pods of the Kubernetes manifests do the main job, through either API."""
    with pods(project) as urls:
        headers = {"Authorization": f"Bearer {create_key(project)}"}
        for number, url in enumerate(urls, 1):
            with httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as http:
                _wait_until_ready(http)
                _do_main_job(project, http, f"pod-{number}.csv")
        say(f"pods of deploy/kubernetes: main job done through each of {len(urls)} APIs")


if __name__ == "__main__":
    main()
