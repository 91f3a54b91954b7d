"""Cancel, retry and the webhook's log, on a running service."""

import itertools
from datetime import datetime

from standardwebhooks import Webhook

from tests.support.csv_files import HEADER
from tests.support.halftone import WEBHOOK_SECRET, Service, wait_for
from tests.support.images import jpeg
from tests.support.origin import Answer, Origin


def test_cancel_while_workers_run(service: Service, origin: Origin) -> None:
    quick = origin.serve("/quick.jpg", jpeg((64, 48)))
    slow = origin.serve("/slow.jpg", Answer(jpeg((64, 48)), delay_seconds=0.5))
    hook = origin.serve("/hook", Answer(status=204))
    rows = f"1,SKU1,{quick}\n" + "".join(f"{n},SKU{n},{slow}\n" for n in range(2, 202))
    request_id = service.accepted(HEADER + rows, webhook_url=hook)
    wait_for(lambda: service.status(request_id)["processed_products"] >= 1, what="first product")

    answer = service.http.post(f"/api/cancel/{request_id}")
    assert (answer.status_code, answer.json()["status"]) == (202, "CANCELLED")
    status = service.status(request_id)
    assert status["progress"] == 100
    assert status["cancelled_products"] >= 150
    assert status["processed_products"] + status["cancelled_products"] == 201
    *_, last = products = service.products(request_id)
    assert (last["status"], last["outcome"]) == ("CANCELLED", None)
    finished = [product for product in products if product["status"] == "COMPLETED"]
    assert len(finished) == status["processed_products"]
    assert service.http.get(finished[0]["output_image_urls"][0]).status_code == 200
    assert service.download(request_id).count("/api/image/") == status["processed_images"]

    wait_for(lambda: origin.posts, what="webhook")
    assert (
        Webhook(WEBHOOK_SECRET).verify(origin.posts[0][2], origin.posts[0][1])["type"]
        == "request.cancelled"
    )
    assert service.status(request_id)["processed_products"] == status["processed_products"]


def test_retry_fetches_only_what_failed(service: Service, origin: Origin) -> None:
    good = origin.serve("/good.jpg", jpeg(seed=1))
    answers = itertools.chain([Answer(status=404)], itertools.repeat(Answer(jpeg(seed=2))))
    late = origin.serve("/late.jpg", lambda: next(answers))
    hook = origin.serve("/hook", Answer(status=204))
    request_id = service.accepted(
        f'{HEADER}1,SKU1,"{good},{late}"\n2,SKU2,{good}\n', webhook_url=hook
    )
    assert service.ended(request_id)["outcome"] == "partial"
    before = [product["output_image_urls"] for product in service.products(request_id)]
    hits = origin.hits["/good.jpg"]

    answer = service.http.post(f"/api/retry/{request_id}")
    assert answer.status_code == 202
    assert answer.json()["request_id"] == request_id
    assert service.ended(request_id)["outcome"] == "succeeded"
    after = [product["output_image_urls"] for product in service.products(request_id)]
    assert (before[0][1], after[0][1] is None) == (None, False)
    assert (after[0][0], after[1]) == (before[0][0], before[1])
    assert origin.hits["/good.jpg"] == hits

    wait_for(lambda: len(origin.posts) == 2, what="an event for each ending")
    assert len({headers["webhook-id"] for _, headers, _ in origin.posts}) == 2
    assert service.http.post(f"/api/retry/{request_id}").json()["code"] == "nothing_to_retry"
    assert service.http.post(f"/api/cancel/{request_id}").json()["code"] == "already_ended"


def test_webhook_is_tried_again_with_the_same_id_and_body(service: Service, origin: Origin) -> None:
    photo = origin.serve("/a.jpg", jpeg())
    answers = itertools.chain([Answer(status=500)], itertools.repeat(Answer(status=200)))
    hook = origin.serve("/hook", lambda: next(answers))
    request_id = service.accepted(f"{HEADER}1,SKU1,{photo}\n", webhook_url=hook)
    wait_for(
        lambda: service.status(request_id)["webhook"]["status"] == "delivered",
        what="second attempt",
    )

    (_, first, first_body), (_, second, second_body) = origin.posts
    assert first["webhook-id"] == second["webhook-id"]
    assert first_body == second_body
    assert first["webhook-signature"] != second["webhook-signature"]
    assert Webhook(WEBHOOK_SECRET).verify(second_body, second)["data"]["output_csv_url"]

    log = service.http.get(f"/api/webhooks/{request_id}").json()
    (event,) = log["events"]
    assert (event["webhook_id"], event["status"], event["attempts"]) == (
        first["webhook-id"],
        "delivered",
        2,
    )
    assert [attempt["status_code"] for attempt in event["log"]] == [500, 200]
    first_start, second_start = (
        datetime.fromisoformat(attempt["started_at"]) for attempt in event["log"]
    )
    pause = second_start - first_start
    assert 4.5 < pause.total_seconds() < 15


def test_webhook_can_be_sent_again_on_demand(service: Service, origin: Origin) -> None:
    photo, hook = origin.serve("/a.jpg", jpeg()), origin.serve("/hook", Answer(status=204))
    request_id = service.accepted(f"{HEADER}1,SKU1,{photo}\n", webhook_url=hook)
    wait_for(
        lambda: service.status(request_id)["webhook"]["status"] == "delivered", what="delivery"
    )
    assert service.http.post(f"/api/webhooks/{request_id}/replay").status_code == 202
    wait_for(lambda: len(origin.posts) == 2, what="second delivery")
    (_, first, first_body), (_, second, second_body) = origin.posts
    assert (first["webhook-id"], first_body) == (second["webhook-id"], second_body)
    without = service.accepted(f"{HEADER}1,SKU1,{photo}\n")
    assert service.http.post(f"/api/webhooks/{without}/replay").json()["code"] == "no_webhook"


def test_gone_receiver_is_not_asked_again(service: Service, origin: Origin) -> None:
    photo, hook = origin.serve("/a.jpg", jpeg()), origin.serve("/hook", Answer(status=410))
    request_id = service.accepted(f"{HEADER}1,SKU1,{photo}\n", webhook_url=hook)
    wait_for(
        lambda: service.status(request_id)["webhook"]["status"] == "failed",
        what="the end of the schedule",
    )
    webhook = service.status(request_id)["webhook"]
    assert (webhook["attempts"], webhook["last_status_code"], webhook["next_attempt_at"]) == (
        1,
        410,
        None,
    )


def test_redirecting_receiver_counts_as_failing(service: Service, origin: Origin) -> None:
    photo = origin.serve("/a.jpg", jpeg())
    target = origin.serve("/elsewhere", Answer(status=204))
    hook = origin.serve("/hook", Answer(status=307, headers={"Location": target}))
    request_id = service.accepted(f"{HEADER}1,SKU1,{photo}\n", webhook_url=hook)
    wait_for(
        lambda: service.status(request_id)["webhook"]["last_status_code"] == 307,
        what="failed attempt",
    )
    assert service.status(request_id)["webhook"]["status"] == "pending"
    assert origin.hits["/elsewhere"] == 0


def test_receiver_that_asks_for_time_gets_it(service: Service, origin: Origin) -> None:
    photo = origin.serve("/a.jpg", jpeg())
    hook = origin.serve("/hook", Answer(status=503, headers={"Retry-After": "600"}))
    request_id = service.accepted(f"{HEADER}1,SKU1,{photo}\n", webhook_url=hook)
    wait_for(
        lambda: service.status(request_id)["webhook"]["last_status_code"] == 503,
        what="failed attempt",
    )
    webhook = service.status(request_id)["webhook"]
    wait = datetime.fromisoformat(webhook["next_attempt_at"]) - datetime.now().astimezone()
    assert 500 < wait.total_seconds() <= 600
