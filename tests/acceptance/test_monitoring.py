"""The shipped monitoring works: every alert can fire, every panel shows data, every name exists."""

import json
import math
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support import prometheus
from tests.support.csv_files import HEADER
from tests.support.halftone import (
    PYTHON,
    Service,
    environment,
    free_port,
    running_separately,
    running_up,
    wait_for,
)
from tests.support.images import jpeg
from tests.support.origin import Answer, Origin, running_origin
from tests.support.postgres import TestPostgres
from tests.support.prometheus import MONITORING, ROOT, TestPrometheus, promtool, running_prometheus
from tests.support.rabbitmq import TestRabbitmq

METRIC = re.compile(r"\b(?:halftone|rabbitmq|process)_[a-z_]+\b|\bup\b")
RULES: list[dict[str, Any]] = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0][
    "rules"
]
PANELS: list[dict[str, Any]] = [
    panel
    for panel in json.loads((MONITORING / "grafana" / "dashboards" / "halftone.json").read_text())[
        "panels"
    ]
    if panel["type"] != "row"
]
PANEL_EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
EXPRESSIONS = PANEL_EXPRESSIONS + [rule["expr"] for rule in RULES]


@dataclass
class Monitored:
    """A service under load, and the Prometheus that scrapes it."""

    service: Service
    prometheus: TestPrometheus
    worker_url: str


@pytest.fixture(scope="session")
def programs() -> None:
    if prometheus.is_installed():
        return
    reason = "Prometheus is not installed: run `apt-get install prometheus` (as root, on Debian)"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def monitored(
    programs: None,
    postgres: TestPostgres,
    broker: TestRabbitmq,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Monitored]:
    folder = tmp_path_factory.mktemp("monitored")
    worker = f"127.0.0.1:{free_port()}"
    with (
        running_origin() as origin,
        running_separately(
            folder,
            postgres.new_database(),
            broker.new_vhost(),
            metrics_port=worker.rpartition(":")[2],
        ) as service,
    ):
        broker_metrics = f"127.0.0.1:{broker.metrics_port}"
        targets = {
            "halftone-api": service.url.removeprefix("http://"),
            "halftone-worker": worker,
            "rabbitmq": broker_metrics,
            "rabbitmq-queues": broker_metrics,
        }
        with running_prometheus(folder / "prometheus", targets) as server:
            # A rate needs two samples, and a series that calls create starts at the first call.
            for number in range(2):
                _work(service, origin, number)
                _wait_for_scrape(server)
            yield Monitored(service, server, f"http://{worker}")


def _work(service: Service, origin: Origin, number: int) -> None:
    """Images that succeed, fail, and succeed at the second attempt; webhooks that are delivered and
    webhooks that are not. URLs are new for each number: unchanged images are not compressed again.
    """
    again = iter([Answer(status=503), Answer(jpeg())])
    urls = [
        origin.serve(f"/good-{number}.jpg", jpeg((640, 480))),
        origin.serve(f"/again-{number}.jpg", lambda: next(again, Answer(jpeg()))),
        f"{origin.url}/missing-{number}.jpg",
    ]
    csv = HEADER + f'1,SKU1,"{",".join(urls)}"\n2,SKU2,{urls[0]}\n'
    hooks = (origin.serve("/hook", Answer(status=204)), origin.serve("/broken", Answer(status=500)))
    requests = [service.accepted(csv, webhook_url=hook) for hook in hooks]
    for request_id in requests:
        service.ended(request_id)
        wait_for(partial(_attempted, service, request_id), what="webhook")


def _attempted(service: Service, request_id: str) -> bool:
    return bool(service.status(request_id)["webhook"]["last_status_code"])


def _wait_for_scrape(server: TestPrometheus) -> None:
    """Wait until every target has been scraped twice more, so that the database figures are new
    too.
    """
    scrapes = 'sum(increase(halftone_http_requests_total{route="/metrics"}[1h]))'
    before = _number(server, scrapes)
    wait_for(lambda: _number(server, scrapes) >= before + 7, 60, "scrapes")


def _number(server: TestPrometheus, expression: str) -> float:
    found = server.query(expression)
    return float(found[0]["value"][1]) if found else 0.0


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_accepts(arguments: tuple[str, ...]) -> None:
    answer = promtool(*arguments)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_every_alert_is_made_to_fire_by_a_rule_test() -> None:
    tests = yaml.safe_load((MONITORING / "alerts_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    fired = {case["alertname"] for case in cases if case["exp_alerts"]}
    silent = {case["alertname"] for case in cases if not case["exp_alerts"]}
    assert fired == silent == {rule["alert"] for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alert_leads_to_its_entry_in_the_runbook(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^## (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert rule["alert"] in headings
    assert anchor == rule["alert"].lower()


def test_dashboard_answers_its_five_questions_in_order() -> None:
    dashboard = json.loads((MONITORING / "grafana" / "dashboards" / "halftone.json").read_text())
    rows = [panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"]
    assert rows == [
        "Is it well?",
        "How far behind?",
        "Where does the time go?",
        "What fails?",
        "Is it saturated?",
    ]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    cells = [
        (x + right, y + down) for h, w, x, y in places for right in range(w) for down in range(h)
    ]
    assert len(set(cells)) == len(cells), "panels overlap"


def test_grafana_is_provisioned_with_what_the_dashboard_asks_for() -> None:
    provisioning = MONITORING / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    assert {panel["datasource"]["uid"] for panel in PANELS} == {source["uid"]}
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "halftone.yml").read_text())[
        "providers"
    ]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    mounts = dict(
        volume.split(":")[:2]
        for volume in compose["services"]["grafana"]["volumes"]
        if volume[0] == "."
    )
    assert mounts["./monitoring/grafana/dashboards"] == provider["options"]["path"]


@pytest.mark.broker
@pytest.mark.parametrize(
    "name", sorted({name for text in EXPRESSIONS for name in METRIC.findall(text)})
)
def test_metric_that_is_asked_for_exists(monitored: Monitored, name: str) -> None:
    # By now the series of the worker, RabbitMQ and the API have all been scraped.
    assert monitored.prometheus.query(name), f"nothing called {name} is scraped"


@pytest.mark.broker
@pytest.mark.parametrize("expression", PANEL_EXPRESSIONS)
def test_panel_shows_something_after_a_run(monitored: Monitored, expression: str) -> None:
    asked = expression.replace("$__rate_interval", "5m")

    def numbers() -> list[float]:
        values = [float(series["value"][1]) for series in monitored.prometheus.query(asked)]
        return [value for value in values if math.isfinite(value)]

    wait_for(numbers, 20, asked)


@pytest.mark.broker
def test_no_alert_fires_while_all_is_well(monitored: Monitored) -> None:
    assert monitored.prometheus.query("ALERTS") == []


@pytest.mark.broker
def test_promtool_finds_nothing_to_mend_in_our_metrics(monitored: Monitored) -> None:
    for url in (f"{monitored.service.url}/metrics", f"{monitored.worker_url}/metrics"):
        answer = promtool("check", "metrics", stdin=httpx.get(url, trust_env=False).text)
        ours = [
            line
            for line in (answer.stdout + answer.stderr).splitlines()
            if line.startswith("halftone_")
        ]
        assert ours == []
        assert "error while linting" not in answer.stderr


@pytest.mark.broker
def test_worker_counts_what_it_did(monitored: Monitored) -> None:
    """Two runs of two uploads with four images each: two good ones, one that succeeds at the second
    attempt, one missing.
    """

    def counted(name: str) -> int:
        return round(_number(monitored.prometheus, f"sum({name})"))

    assert counted('halftone_images_total{outcome="failed"}') == 4
    assert counted("halftone_images_total") == 16
    assert counted('halftone_image_errors_total{code="http_error"}') == 4
    assert counted("halftone_products_settled_total") == 8
    assert counted('halftone_products_postponed_total{reason="retry"}') >= 2
    assert counted('halftone_webhook_attempts_total{outcome="delivered"}') == 2
    assert counted('halftone_webhook_attempts_total{outcome="postponed"}') >= 2
    assert counted("halftone_uploaded_images_total") == 16
    assert (
        0
        < counted("halftone_image_output_bytes_total")
        < counted("halftone_image_input_bytes_total")
    )


@pytest.mark.broker
def test_worker_is_seen_while_it_lives(monitored: Monitored) -> None:
    assert _number(monitored.prometheus, "halftone_workers") == 1


def test_metrics_port_in_use_is_said(tmp_path: Path, origin: Origin) -> None:
    port = origin.url.rpartition(":")[2]
    answer = _worker_with_metrics(tmp_path, port=port)
    assert answer.returncode == 2
    assert f"HALFTONE_METRICS_PORT={port}: Address already in use" in answer.stderr


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b"])
def test_metrics_host_that_is_not_of_this_machine_is_said(tmp_path: Path, host: str) -> None:
    answer = _worker_with_metrics(tmp_path, port=str(free_port()), host=host)
    assert answer.returncode == 2
    assert f"HALFTONE_METRICS_HOST={host!r}" in answer.stderr


def _worker_with_metrics(
    tmp_path: Path, *, port: str, host: str = "127.0.0.1"
) -> "subprocess.CompletedProcess[str]":
    variables = environment(
        tmp_path,
        database_url="postgresql://nobody@127.0.0.1:1/none",
        rabbitmq_url="in-process",
        metrics_host=host,
        metrics_port=port,
    )
    command = [PYTHON, "-m", "halftone_workers"]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def test_each_worker_of_one_machine_has_a_port_of_its_own(tmp_path: Path) -> None:
    port = free_port(2)
    with running_up(tmp_path, "--workers", "2", metrics_port=str(port)) as service:

        def both_seen() -> bool:
            return "halftone_workers 2.0" in service.http.get("/metrics").text

        wait_for(both_seen, 40, "two workers")
        for each in (port, port + 1):
            answer = httpx.get(f"http://127.0.0.1:{each}/metrics", trust_env=False)
            assert "halftone_codec_processes_busy 0.0" in answer.text


@pytest.mark.broker
@pytest.mark.usefixtures("programs")
def test_figures_agree_with_the_database_after_a_load(
    tmp_path: Path, postgres: TestPostgres, broker: TestRabbitmq, origin: Origin
) -> None:
    """2,000 products, one image in ten missing, on four worker processes."""
    database_url, first_port = postgres.new_database(), free_port(4)
    good = [origin.serve(f"/{number}.jpg", jpeg((64, 48), seed=number)) for number in range(9)]
    urls = [*good, f"{origin.url}/missing.jpg"]
    csv = HEADER + "".join(f"{n},SKU{n},{urls[n % 10]}\n" for n in range(2000))
    settings = {"database_url": database_url, "rabbitmq_url": broker.new_vhost(), "auth": "off"}
    # Other tests share the broker.
    vhost = settings["rabbitmq_url"].rpartition("/")[2]
    ready = f'rabbitmq_detailed_queue_messages_ready{{vhost="{vhost}"}}'
    with running_up(
        tmp_path, "--workers", "4", metrics_port=str(first_port), codec_processes="1", **settings
    ) as service:
        broker_metrics = f"127.0.0.1:{broker.metrics_port}"
        targets = {
            "halftone-api": service.url.removeprefix("http://"),
            "halftone-worker": ",".join(f"127.0.0.1:{first_port + number}" for number in range(4)),
            "rabbitmq": broker_metrics,
            "rabbitmq-queues": broker_metrics,
        }
        with running_prometheus(tmp_path / "prometheus", targets) as server:
            # The API is ready before the last worker has started.
            wait_for(lambda: _number(server, "max(halftone_workers)") == 4, what="four workers")
            status = service.ended(service.accepted(csv), 150)
            _wait_for_scrape(server)

            def shown(expression: str) -> int:
                return round(_number(server, expression))

            assert (
                shown('sum(halftone_products_settled_total{status="COMPLETED"})')
                == status["processed_products"]
            )
            assert (
                shown('sum(halftone_products_settled_total{status="FAILED"})')
                == status["failed_products"]
                == 200
            )
            assert shown("sum(halftone_images_total)") == status["total_images"] == 2000
            assert (
                shown('sum(halftone_image_errors_total{code="http_error"})')
                == status["failed_images"]
            )
            assert shown("sum(halftone_image_input_bytes_total)") == status["bytes_in"]
            assert shown("sum(halftone_image_output_bytes_total)") == status["bytes_out"]
            assert shown("max(sum by (state) (max by (state) (halftone_products)))") == 0
            assert shown(f"sum({ready})") == 0
            assert shown("sum(halftone_uploaded_products_total)") == 2000
            assert shown("count(count by (instance) (halftone_products_settled_total) > 0)") == 4
            # The values of the throughput panel, summed over the run.
            drawn = _number(
                server, "sum_over_time(sum(rate(halftone_products_settled_total[4s]))[3m:1s])"
            )
            assert drawn == pytest.approx(2000, rel=0.2)
