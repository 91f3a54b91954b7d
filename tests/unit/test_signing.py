"""Webhook secrets and signatures, checked with the specification's own library and by hand."""

import base64
import hashlib
import hmac
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from halftone_shared.model.signing import new_secret, secret_problem, signed_headers

DOCUMENT = Path(__file__).parents[2] / "docs" / "how-to" / "receive-webhooks.md"
EVENT = UUID("8243ff57-0000-4000-8000-000000000001")
BODY = json.dumps(
    {"type": "request.completed", "data": {"csv_filename": "Straße 名前.csv"}}, ensure_ascii=False
)


def encoded(count: int) -> str:
    return base64.b64encode(bytes(range(count))).decode()


def test_receiver_verifies_what_was_signed() -> None:
    secret = new_secret()
    headers = signed_headers(secret, EVENT, BODY)
    assert Webhook(secret).verify(BODY.encode(), headers) == json.loads(BODY)
    assert headers.keys() == {"webhook-id", "webhook-timestamp", "webhook-signature"}
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 5


@pytest.fixture(params=["python", "js"])
def documented_verdict(request: pytest.FixtureRequest) -> Callable[[str, dict[str, str], str], str]:
    """The result of the code in docs/how-to/receive-webhooks.md for a call: the file name in it, or
    the reason for the refusal.
    """
    found = re.search(rf"```{request.param}\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found
    ending, ask = {
        "python": ([sys.executable, "-c"], PYTHON_CALLER),
        "js": ([shutil.which("node") or "", "-e"], JS_CALLER),
    }[request.param]
    if not ending[0]:
        pytest.skip("Node is not installed")  # only readers of this page need Node

    def verdict(secret: str, headers: dict[str, str], body: str) -> str:
        call = json.dumps({"secret": secret, "headers": headers, "body": body})
        answer = subprocess.run(
            [*ending, found.group(1) + ask], input=call.encode(), capture_output=True, check=True
        )
        return answer.stdout.decode().strip()

    return verdict


PYTHON_CALLER = """
import sys
call = json.loads(sys.stdin.buffer.read())
try:
    answer = verify(call["secret"], call["headers"], call["body"].encode())["data"]["csv_filename"]
except ValueError as error:
    answer = str(error)
sys.stdout.buffer.write(answer.encode())
"""
JS_CALLER = """
const call = JSON.parse(require("node:fs").readFileSync(0));
try {
  console.log(verify(call.secret, call.headers, Buffer.from(call.body)).data.csv_filename);
} catch (error) {
  console.log(error.message);
}
"""


def test_documented_receiver_tells_ours_from_others(
    documented_verdict: Callable[[str, dict[str, str], str], str],
) -> None:
    for size in (24, 25, 26):  # with and without padding
        secret = "whsec_" + encoded(size).rstrip("=")
        headers = signed_headers(secret, EVENT, BODY)
        assert documented_verdict(secret, headers, BODY) == "Straße 名前.csv"
    rotated = {**headers, "webhook-signature": f"v1,AAAA {headers['webhook-signature']}"}
    assert documented_verdict(secret, rotated, BODY) == "Straße 名前.csv"
    for forged in (
        (new_secret(), headers, BODY),
        (secret, headers, BODY + " "),
        (secret, {**headers, "webhook-id": "msg_other"}, BODY),
        (
            secret,
            {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)},
            BODY,
        ),
    ):
        assert documented_verdict(*forged) == "not signed with this secret"
    for seconds in (-310, 310):
        moment = datetime.now(UTC) + timedelta(seconds=seconds)
        signature = Webhook(secret).sign("msg_1", moment, BODY)
        late = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": signature,
        }
        assert documented_verdict(secret, late, BODY) == "too old, or from the future"


def test_signature_is_hmac_sha256_of_id_time_and_body() -> None:
    secret = "whsec_" + encoded(32)
    headers = signed_headers(secret, EVENT, BODY)
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{BODY}".encode()
    digest = hmac.new(bytes(range(32)), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


def test_id_is_the_events_on_every_attempt() -> None:
    first, second = (signed_headers(new_secret(), EVENT, BODY)["webhook-id"] for _ in range(2))
    assert first == second
    assert first != signed_headers(new_secret(), UUID(int=1), BODY)["webhook-id"]
    assert "." not in first, "the specification parts the signed text by dots"


@pytest.mark.parametrize(
    "part", ["body", "webhook-id", "webhook-timestamp", "webhook-signature", "secret"]
)
def test_whatever_is_changed_the_receiver_refuses(part: str) -> None:
    secret = new_secret()
    headers = signed_headers(secret, EVENT, BODY)
    body = BODY + " " if part == "body" else BODY
    changed = {
        "webhook-id": "msg_other",
        "webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1),
        "webhook-signature": "v1," + base64.b64encode(bytes(32)).decode(),
    }
    if part in changed:
        headers[part] = changed[part]
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Webhook(new_secret() if part == "secret" else secret).verify(body, headers)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles", "UTC"])
def test_time_is_utc_in_every_zone(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    secret = new_secret()
    with monkeypatch.context() as environment:
        environment.setenv("TZ", zone)
        time.tzset()
        headers = signed_headers(secret, EVENT, BODY)
    time.tzset()
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 5
    Webhook(secret).verify(BODY, headers)


def test_new_secrets_are_good_and_differ() -> None:
    secrets = {new_secret() for _ in range(20)}
    assert len(secrets) == 20
    assert {secret_problem(secret) for secret in secrets} == {None}


@pytest.mark.parametrize(
    "secret",
    [
        "whsec_" + encoded(24),
        "whsec_" + encoded(25),
        "whsec_" + encoded(25).rstrip("="),
        "whsec_" + encoded(26),
        "whsec_" + encoded(32),
        "whsec_" + encoded(64),
        "whsec_" + "+/" * 16,
    ],
)
def test_secret_of_24_bytes_or_more_is_taken(secret: str) -> None:
    assert secret_problem(secret) is None
    assert Webhook(secret).verify(BODY, signed_headers(secret, EVENT, BODY))


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_====",
        "whsec_" + encoded(23),
        encoded(32),
        "WHSEC_" + encoded(32),
        "whsec-" + encoded(32),
        "whsec_" + encoded(32) + " ",
        "whsec_ " + encoded(32),
        "whsec_" + encoded(32)[:20] + "\n" + encoded(32)[20:],
        "whsec_" + "-_" * 20,
        "whsec_" + "é" * 40,
        "whsec_" + "A" * 41,
        "whsec_" + "A" * 20 + "=" + "A" * 23,
        "whsec_" + "my own passphrase, forty characters long!",
    ],
)
def test_other_secret_is_refused_without_repeating_it(secret: str) -> None:
    problem = secret_problem(secret)
    assert problem is not None
    assert "24 bytes" in problem
    assert len(secret) < 8 or secret not in problem


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=70), st.integers(0, 4))
def test_exactly_what_decodes_to_24_bytes_is_taken_and_signs(key: bytes, padding: int) -> None:
    secret = "whsec_" + base64.b64encode(key).decode().rstrip("=") + "=" * padding
    assert (secret_problem(secret) is None) is (len(key) >= 24)
    if len(key) >= 24:
        assert Webhook(secret).verify(BODY, signed_headers(secret, EVENT, BODY))
