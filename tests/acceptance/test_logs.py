"""One ID to grep for: the upload's X-Request-Id is in the logs of every process that handles a
product, up to its webhook.
"""

from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.support.csv_files import HEADER
from tests.support.halftone import Service, log_lines, running_separately, running_up, wait_for
from tests.support.images import jpeg
from tests.support.origin import Answer, Origin
from tests.support.stored import execute


def _upload(service: Service, trace_id: str, csv: str, **fields: str) -> str:
    uploaded = service.http.post(
        "/api/upload",
        files={"file": ("products.csv", csv.encode(), "text/csv")},
        data=fields,
        headers={"X-Request-Id": trace_id},
    )
    assert uploaded.status_code == 202
    assert uploaded.headers["x-request-id"] == trace_id
    request_id: str = uploaded.json()["request_id"]
    return request_id


def test_upload_s_id_is_in_every_line_from_the_upload_to_the_webhook(
    service: Service, origin: Origin
) -> None:
    answers = iter([Answer(status=503), Answer(jpeg())])
    again = origin.serve("/again.jpg", lambda: next(answers, Answer(jpeg())))
    hook = origin.serve("/hook", Answer(status=204))
    request_id = _upload(
        service, "shop-2026-11-24.7", f"{HEADER}1,SKU1,{again}\n", webhook_url=hook
    )
    service.ended(request_id)
    wait_for(
        lambda: service.status(request_id)["webhook"]["status"] == "delivered", what="delivery"
    )
    lines = wait_for(
        lambda: _lines_with(service, "webhook attempted", "shop-2026-11-24.7"), what="last line"
    )
    assert lines == [
        "request accepted",
        "product postponed",
        "product settled",
        "request ended",
        "webhook attempted",
    ]


def _lines_with(service: Service, last: str, wanted: str) -> list[str]:
    """The events of the log lines that contain a text, once the `last` one is among them."""
    events = [_event(line) for line in service.log.read_text().splitlines() if wanted in line]
    return events if last in events else []


def _event(line: str) -> str:
    known = (
        "request accepted",
        "product postponed",
        "product settled",
        "request ended",
        "webhook attempted",
    )
    return next((event for event in known if event in line), line)


def test_lines_name_request_product_and_attempt(service: Service, origin: Origin) -> None:
    request_id = _upload(service, "fields-1", f"{HEADER}1,SKU1,{origin.serve('/a.jpg', jpeg())}\n")
    service.ended(request_id)
    accepted, settled = (_line(service, event) for event in ("request accepted", "product settled"))
    assert (accepted["service"], accepted["request_id"]) == ("api", request_id)
    assert (settled["service"], settled["request_id"], settled["seq"], settled["attempt"]) == (
        "worker",
        request_id,
        1,
        1,
    )


def _line(service: Service, event: str) -> dict[str, Any]:
    """The log line of an event about the upload `fields-1`."""

    def found() -> dict[str, Any] | None:
        lines = (line for line in log_lines(service) if line.get("x_request_id") == "fields-1")
        return next((line for line in lines if line["event"] == event), None)

    return wait_for(found, what=event)


def test_what_clients_do_to_a_request_is_in_the_log_and_a_cancelled_one_is_no_warning(
    service: Service, origin: Origin
) -> None:
    slow = origin.serve("/slow.jpg", Answer(jpeg(), delay_seconds=0.5))
    request_id = _upload(
        service, "shop-8", f"{HEADER}1,SKU1,{slow}\n", webhook_url=f"{origin.url}/hook"
    )
    wait_for(lambda: origin.hits["/slow.jpg"], what="image under way")
    for change in ("cancel", "retry"):
        service.http.post(f"/api/{change}/{request_id}").raise_for_status()
    service.ended(request_id)
    service.http.post(f"/api/webhooks/{request_id}/replay").raise_for_status()

    def events() -> list[str]:
        return [
            line["event"] for line in log_lines(service) if line.get("request_id") == request_id
        ]

    wait_for(
        lambda: events().count("request ended") == 2 and "product not settled" in events(),
        what="both endings",
    )
    assert {"cancellation accepted", "retry accepted", "webhook replay accepted"} <= set(events())
    loud = [
        line
        for line in log_lines(service)
        if line["level"] != "info" and line.get("request_id") == request_id
    ]
    assert loud == []


def test_programs_say_when_they_start_and_stop(tmp_path: Path) -> None:
    with running_up(tmp_path) as service:
        wait_for(lambda: "worker started" in service.log.read_text(), what="worker")
    events = {(line["service"], line["event"]) for line in log_lines(service)}
    assert {
        (name, f"{name} {what}") for name in ("api", "worker") for what in ("started", "stopped")
    } <= events


@pytest.mark.parametrize("retried", [False, True], ids=["deleted", "retried"])
def test_download_that_is_overtaken_breaks_off_with_a_line(
    tmp_path: Path, database_url: str, engine: Engine, retried: bool
) -> None:
    with running_separately(tmp_path, database_url, "in-process", workers=0) as service:
        name = "SKU" * 300
        request_id = service.accepted(
            HEADER + "".join(f"{n},{name},http://x.example/\n" for n in range(1, 25_001))
        )

        def is_cancelled() -> bool:
            # No other process continues the cancellation: each call cancels as many as it has time
            # for.
            service.http.post(f"/api/cancel/{request_id}").raise_for_status()
            return service.status(request_id)["completed_at"] is not None

        wait_for(is_cancelled, 120, "the end of the cancellation")
        with service.http.stream("GET", f"/api/download/{request_id}") as answer:
            assert answer.status_code == 200
            pieces = answer.iter_raw()
            next(pieces)
            if retried:
                service.http.post(f"/api/retry/{request_id}").raise_for_status()
            else:
                execute(engine, "UPDATE requests SET expired_at = now()")
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
                list(pieces)

        def found() -> dict[str, Any] | None:
            return next(
                (line for line in log_lines(service) if line["event"] == "download broken off"),
                None,
            )

        line = wait_for(found, what="its line")
        assert line["level"] == "info"
        assert request_id in line["reason"]
        assert "Traceback" not in service.log.read_text()


def test_no_log_holds_a_secret_or_a_password(service: Service, origin: Origin) -> None:
    """Secrets in URLs that answer, that do not answer and that break the rules, in the webhook's
    URL, and the webhook's own secret.
    """
    good = origin.serve("/good.jpg", jpeg())
    hook = origin.serve("/hook", Answer(status=500))
    secret = "whsec_" + "C" * 40

    def with_password(url: str) -> str:
        return url.replace("http://", "http://shopper:hunter2@")

    urls = [
        with_password(url)
        for url in (good, f"{origin.url}/missing.jpg", "http://127.0.0.1:1/refused.jpg")
    ]
    request_id = _upload(
        service,
        "secrets-1",
        f'{HEADER}1,SKU1,"{",".join(urls)}"\n',
        webhook_url=with_password(hook),
        webhook_secret=secret,
    )
    service.http.post(f"/api/cancel/{request_id}")
    service.ended(request_id)
    wait_for(
        lambda: service.status(request_id)["webhook"]["last_status_code"] == 500,
        what="failed delivery",
    )
    wait_for(lambda: _lines_with(service, "webhook attempted", "secrets-1"), what="last line")
    log = service.log.read_text()
    assert "hunter2" not in log
    assert secret not in log
