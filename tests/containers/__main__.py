"""`make containers`: builds the images, runs docker-compose.yml with them, and runs the main job.

Needs podman, buildah, debootstrap and root. Leaves only the images behind.
"""

import json
import os
import signal
import time
from functools import partial
from typing import Any

import httpx

from tests.containers.project import TARGETS, Project, build_images, new_project, run
from tests.support.csv_files import HEADER
from tests.support.halftone import wait_for

# Our distributions in each image, and packages of the other side that it must not contain.
MEMBERS = {
    "api": {"halftone-api", "halftone-shared"},
    "workers": {"halftone-workers", "halftone-shared"},
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
import importlib.metadata, importlib.util, json, os
names = {each.metadata["Name"] for each in importlib.metadata.distributions()}
def is_there(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
print(json.dumps({
    "members": sorted(name for name in names if name.startswith("halftone")),
    "packages": [name for name in MODULES if is_there(name)],
    "user": os.getuid(),
    "capabilities": status["CapEff"].strip(),
    "writable": os.access("/", os.W_OK) or os.access("/app", os.W_OK),
}))
"""


def main() -> None:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    print(run("sh", "scripts/containers/bases.sh"), end="")
    say("base images are there")
    build_images()
    for target in TARGETS:
        say(f"halftone-{target}: {_megabytes(target)} MB, holds {_check_image(target)}")
    with new_project() as project:
        project.start(workers=2)
        with httpx.Client(base_url=project.url, timeout=30, trust_env=False) as http:
            _wait_until_ready(http)
            _wait_for_workers(http, 2)
            say("ready, with two workers")
            _set_key(project, http)
            _do_main_job(project, http, "first.csv")
            say("main job done: upload, progress, images, output file, webhook")
            project.start_programs("--no-recreate", workers=4)
            _wait_for_workers(http, 4)
            say("four workers")
            _check_restart_of_a_killed_worker(project, http, say)
            assert project.is_healthy("api")
            say("the API's health check passes")
            first = _requests(http)
            _stop_in_time(project, say)
            project.compose("start")
            _wait_until_ready(http)
            assert _requests(http) == first
            _do_main_job(project, http, "second.csv")
            say("stopped and started: the requests are still there, and new ones are done")
            _upgrade_under_load(project, http, say)
    say("nothing is left behind")


def _megabytes(target: str) -> int:
    form = ("--format", "{{.Size}}")
    return round(
        int(run("podman", "image", "inspect", *form, f"localhost/halftone-{target}")) / 1e6
    )


def _check_image(target: str) -> str:
    """The image contains only its own distribution, and works as user 10001 without write
    access.
    """
    modules = f"MODULES = {NOT_IN.get(target, [])!r}\n"
    command = ("podman", "run", *UNPRIVILEGED, f"localhost/halftone-{target}")
    found = json.loads(run(*command, "-c", modules + LOOK_INSIDE))
    assert set(found.pop("members")) == MEMBERS[target], (target, found)
    assert found == {
        "packages": [],
        "user": 10001,
        "capabilities": "0" * 16,
        "writable": False,
    }, (target, found)
    return ", ".join(sorted(MEMBERS[target]))


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


def _set_key(project: Project, http: httpx.Client) -> None:
    """Uploads need a key. The commands image creates it."""
    assert http.get("/api/requests").status_code == 401
    said = project.compose("run", "--rm", "--no-deps", "commands", "keys", "create", "acceptance")
    key = next(word for word in said.split() if word.startswith("ht_"))
    http.headers["Authorization"] = f"Bearer {key}"


def _do_main_job(project: Project, http: httpx.Client, filename: str) -> None:
    """Twenty products with two images and one with a missing image; ordered output; one webhook."""
    shop = "http://shop:8080"
    rows = [f'{n},SKU{n},"{shop}/{n}.jpg,{shop}/{n}-back.jpg"' for n in range(1, 21)]
    csv = HEADER + "\n".join([*rows, f'21,SKU21,"{shop}/a.jpg,{shop}/missing,{shop}/b.jpg"']) + "\n"
    request_id = _upload(http, filename, csv, webhook_url=f"{shop}/hook")
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


def _check_restart_of_a_killed_worker(project: Project, http: httpx.Client, say: Any) -> None:
    """Kill the first process of a worker's container, as the kernel does when memory runs out."""
    container = project.containers("worker")[0]
    state = json.loads(run("podman", "inspect", container["Id"]))[0]["State"]
    os.kill(state["Pid"], signal.SIGKILL)

    def is_back() -> bool:
        now = json.loads(run("podman", "inspect", container["Id"]))[0]["State"]
        return bool(now["Running"]) and now["Pid"] != state["Pid"]

    wait_for(is_back, 30, "restart of the killed worker", 0.5)

    def works_again() -> bool:  # the killed worker's row still counts for 30 s
        said = run("sh", "-c", f"podman logs {container['Id']} 2>&1")
        return said.count("worker started") == 2

    wait_for(works_again, 60, "start of the killed worker", 1)
    say("a worker that was killed is started again by its policy")


def _stop_in_time(project: Project, say: Any) -> None:
    began = time.monotonic()
    project.compose("stop")
    for service in ("api", "worker"):
        for container in project.containers(service):
            assert container["ExitCode"] == 0, container
    say(f"stopped in {time.monotonic() - began:.1f} s, API and workers with exit code 0")


def _upgrade_under_load(project: Project, http: httpx.Client, say: Any) -> None:
    """New images replace API and workers while a request runs. Nothing of the request is lost."""
    build_images("next", version="0.1.1")
    shop = "http://shop:8080"
    rows = [f"{n},SKU{n},{shop}/{n}.jpg" for n in range(1, 601)]
    request_id = _upload(http, "load.csv", HEADER + "\n".join(rows) + "\n")
    began = time.monotonic()
    project.start_programs("--force-recreate", workers=4, tag="next")
    _wait_until_ready(http)
    say(f"upgraded under load in {time.monotonic() - began:.1f} s")
    ended = _ended(http, request_id)
    assert ended["outcome"] == "succeeded", ended
    assert ended["processed_images"] == 600, ended
    images = {container["Image"] for container in project.containers("worker")}
    assert images == {"localhost/halftone-workers:next"}, images


if __name__ == "__main__":
    main()
