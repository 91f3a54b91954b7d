"""The load: clients that upload, cancel and retry continuously, and repeat each call until it is
answered.
"""

import json
import random
import threading
import uuid
from collections import Counter

import httpx

from tests.chaos.world import IMAGES, World
from tests.support.csv_files import HEADER

UPLOADERS = 2
# Requests that a client has running: enough to keep every part busy, few enough to end soon after
# the last fault.
OPEN_REQUESTS = 3


VARIANTS = json.dumps([{"name": "thumb", "mode": "scale", "scale": 0.25}])


class Load:
    """Uploads until stopped. `accepted` holds the requests answered 202. Each upload creates one
    request even when its response is lost, thanks to its Idempotency-Key.
    """

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._stopping = threading.Event()
        self.accepted: list[str] = []
        # Requests with an image of a host that never answers: they end later.
        self.slow: set[str] = set()
        self.counts: Counter[str] = Counter()
        self._known: list[str] = []
        self._threads = [
            threading.Thread(
                target=self._run, args=(random.Random(f"{seed}-{number}"),), daemon=True
            )
            for number in range(UPLOADERS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Start no new upload, and repeat those in progress until they are answered."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive(), "an upload got no answer"

    def _run(self, rng: random.Random) -> None:
        mine: list[str] = []
        with httpx.Client(base_url=self._world.url, timeout=20, trust_env=False) as http:
            while not self._stopping.is_set():
                mine = [request_id for request_id in mine if not self._has_ended(http, request_id)]
                if len(mine) < OPEN_REQUESTS:
                    mine.append(self._upload(http, rng))
                if self.accepted and len(mine) < OPEN_REQUESTS and rng.random() < 0.3:
                    mine += self._change(http, rng)
                self._stopping.wait(rng.uniform(0.1, 1.0))

    def _has_ended(self, http: httpx.Client, request_id: str) -> bool:
        try:
            answer = http.get(f"/api/status/{request_id}")
        except httpx.HTTPError:
            return False
        return answer.status_code == 200 and answer.json()["completed_at"] is not None

    def _upload(self, http: httpx.Client, rng: random.Random) -> str:
        csv, key = self._csv_or_known(rng), str(uuid.UUID(int=rng.getrandbits(128)))
        files = {"file": ("products.csv", csv.encode(), "text/csv")}
        fields = {"webhook_url": self._world.webhook_url}
        if rng.random() < 0.15:
            fields["webhook_url"] = self._world.hanging_receiver.url + "/hook"
        if rng.random() < 0.25:
            fields["variants"] = VARIANTS
        while True:
            try:
                answer = http.post(
                    "/api/upload", files=files, data=fields, headers={"Idempotency-Key": key}
                )
            except httpx.HTTPError:
                self.counts["uploads without an answer, sent again"] += 1
            else:
                if answer.status_code == 202:
                    request_id: str = answer.json()["request_id"]
                    self.accepted.append(request_id)
                    if "tarpit" in csv:
                        self.slow.add(request_id)
                    return request_id
                assert answer.status_code >= 500, answer.text
                self.counts[f"uploads answered {answer.status_code}, sent again"] += 1
            threading.Event().wait(0.3)

    def _change(self, http: httpx.Client, rng: random.Random) -> list[str]:
        """Cancel or retry a request of this client or another. Returns the ID of one that runs
        again.
        """
        what, request_id = rng.choice(("cancel", "retry", "retry")), rng.choice(self.accepted)
        try:
            answer = http.post(f"/api/{what}/{request_id}")
        except httpx.HTTPError:
            return [request_id]  # unknown outcome: the status will show it
        self.counts[f"{what} answered {answer.status_code}"] += 1
        return [request_id] if what == "retry" and answer.status_code == 202 else []

    def _csv_or_known(self, rng: random.Random) -> str:
        """A new file, or an earlier one again, whose images have not changed."""
        if self._known and rng.random() < 0.3:
            self.counts["files uploaded again"] += 1
            return rng.choice(self._known)
        csv = self._csv(rng)
        if "tarpit" not in csv:
            self._known.append(csv)
        return csv

    def _csv(self, rng: random.Random) -> str:
        base = self._world.origin.url
        rows = []
        for serial in range(1, rng.choice((1, 5, 20, 60)) + 1):
            urls = [f"{base}/{rng.randrange(IMAGES)}.jpg" for _ in range(rng.choice((1, 2, 3)))]
            if rng.random() < 0.08:
                special = rng.choice(
                    ("slow.jpg", "moody.jpg", "missing.jpg", "slow.jpg", "moody.jpg", "poison.png")
                )
                urls.insert(rng.randrange(len(urls) + 1), f"{base}/{special}")
            if rng.random() < 0.01:
                urls.append(f"{self._world.resetting_shop.url}/reset.jpg")
            if serial == 1 and rng.random() < 0.05:
                urls.append(self._world.tarpit_url(rng))
            rows.append(f'{serial},SKU{serial},"{",".join(urls)}"\n')
        return HEADER + "".join(rows)
